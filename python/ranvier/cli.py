"""The command line: ``ranvier train``, ``ranvier predict``, ``ranvier info``.

Exit codes: 0 done; 2 it cannot be done, as one line tells; 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import ranvier
from ranvier import kernels
from ranvier.callbacks import Callback
from ranvier.distributed import DataParallel, processes
from ranvier.files import require_regular, require_replaceable
from ranvier.layers import Softmax
from ranvier.models import DATASETS, MODELS
from ranvier.network import Network
from ranvier.optimizers import SGD, Adam, Optimizer
from ranvier.progress import print_above
from ranvier.types import Array

__all__ = ["main"]

_CLASSES = "classes"  # the file's metadata entry with the classes' names, as JSON


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave with one line instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def _number(kind: type[int] | type[float], least: float, most: float = 2**31 - 1) -> Callable[[str], Any]:
    def convert(text: str) -> int | float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"expected a number from {least} to {most}, got {text}")
        return value

    convert.__name__ = kind.__name__  # argparse names it in "invalid int value"
    return convert


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ranvier", description="Train and use neural networks on the CPU.")
    parser.add_argument("--version", action="version", version=f"ranvier {ranvier.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)

    train = commands.add_parser("train", help="train a network on a data set")
    train.add_argument("dataset", choices=DATASETS)
    train.add_argument("--model", choices=MODELS, default="mlp")
    train.add_argument("--epochs", type=_number(int, 1), help="default: what suits the data set")
    train.add_argument("--batch-size", type=_number(int, 1), help="default: what suits the data set")
    train.add_argument("--lr", type=_number(float, 0), help="learning rate; default: 0.001 (adam), 0.1 (sgd)")
    train.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    train.add_argument("--seed", type=_number(int, 0, 2**63 - 1), default=0)
    train.add_argument("--threads", type=_number(int, 1), help="default: one for each core")
    train.add_argument(
        "--shards",
        type=_number(int, 1),
        help="under mpiexec: cut batches into so many parts, for the same bits on any number of processes",
    )
    train.add_argument("--data", metavar="DIR", help="folder of the data set's files")
    train.add_argument("--save", metavar="FILE", help="the model; default: DATASET-MODEL.safetensors")
    train.add_argument("--plot", metavar="FILE", help="the learning curves; default: DATASET-MODEL.png")
    train.set_defaults(run=_train)

    predict = commands.add_parser("predict", help="classify images with a trained network")
    predict.add_argument("model", metavar="MODEL", help="a file that 'ranvier train' wrote")
    predict.add_argument("images", metavar="IMAGE", nargs="+", help="a picture, or an array in a .npy file")
    predict.set_defaults(run=_predict)

    info = commands.add_parser("info", help="tell what the processor offers and what is used of it")
    info.set_defaults(run=_info)
    return parser


def _train(arguments: argparse.Namespace) -> int:
    together = _together(arguments)
    is_first = together is None or together.rank == 0
    if arguments.threads:
        ranvier.set_num_threads(arguments.threads)
    task = DATASETS[arguments.dataset]
    name = f"{arguments.dataset}-{arguments.model}"
    model_path = f"{name}.safetensors" if arguments.save is None else arguments.save
    plot_path = f"{name}.png" if arguments.plot is None else arguments.plot
    if is_first:
        for path in (model_path, plot_path):  # before any time is spent
            require_replaceable(path)
        _require_drawable(plot_path)
    train, test = task.load(arguments.data)
    network = Network(task.mlp if arguments.model == "mlp" else task.cnn, seed=arguments.seed)
    if is_first:
        print(network.summary(train[0].shape[1:]), flush=True)
    interrupted = False
    try:
        network.fit(
            *train,
            epochs=arguments.epochs or task.epochs,
            batch_size=arguments.batch_size or task.batch_size,
            optimizer=_optimizer(arguments),
            validation_data=test,
            callbacks=[_EpochTable()] if is_first else [],
            communicator=together,
        )
    except KeyboardInterrupt:
        interrupted = True
    if not is_first:
        return 130 if interrupted else 0
    network.save(model_path, {_CLASSES: json.dumps(task.classes)})
    epochs = len(network.history) if network.history else 0
    if interrupted:
        print(f"interrupted in epoch {epochs + 1}; what was trained is in {model_path}")
    else:
        print(f"model saved to {model_path}")
    _plot(network, plot_path, name)
    return 130 if interrupted else 0


def _together(arguments: argparse.Namespace) -> DataParallel | None:
    """Return how to train with the other processes that mpiexec has started, whose threads share the processors."""
    if not processes.is_launched() and arguments.shards is None:
        return None
    together = DataParallel(shards=arguments.shards)
    if not arguments.threads and "OMP_NUM_THREADS" not in os.environ:
        ranvier.set_num_threads(max(1, ranvier.num_threads() // together.machine.ranks))
    return together


def _optimizer(arguments: argparse.Namespace) -> Optimizer:
    if arguments.optimizer == "sgd":
        return SGD(0.1 if arguments.lr is None else arguments.lr)
    return Adam(1e-3 if arguments.lr is None else arguments.lr)


class _EpochTable(Callback):
    """Prints a line for each epoch, as it ends, with the figures of the history."""

    def on_train_begin(self, network: Network, quantities: Collection[str]) -> None:
        self._widths = {name: max(len(name), 8) for name in (*quantities, "lr", "seconds")}
        print("epoch" + "".join(f"  {name:>{width}}" for name, width in self._widths.items()), flush=True)

    def on_epoch_end(self, network: Network, epoch: int, history: ranvier.History) -> None:
        figures = (f"  {getattr(history, name)[-1]:>{width}.4g}" for name, width in self._widths.items())
        print_above(f"{epoch:>5}" + "".join(figures))


def _require_drawable(path: str) -> None:
    """Check that there is a format of pictures for a name."""
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        return  # which is told when there is something to draw
    formats = FigureCanvasBase.get_supported_filetypes()
    if Path(path).suffix.lower().removeprefix(".") not in {"", *formats}:
        raise ValueError(f"{path}: expected a picture's suffix, one of {', '.join(sorted(formats))}")


def _plot(network: Network, path: str, title: str) -> None:
    from ranvier.plot import learning_curves

    if network.history is None or not network.history.loss:
        return
    try:
        axes = learning_curves(network.history)
        axes.set_title(title)
        figure: Any = axes.figure
        figure.savefig(path)
        print(f"learning curves drawn in {path}")
    except ImportError as error:
        print(f"no learning curves: {error}")


def _predict(arguments: argparse.Namespace) -> int:
    network = ranvier.load(arguments.model)
    network.require_list(arguments.model)
    if network.input_shape is None:
        raise ValueError(f"{arguments.model}: the network has seen no samples, so it does not know their shape")
    output_shape = network.shapes(network.input_shape)[-1]
    if len(output_shape) != 1 or output_shape[0] < 2:
        raise ValueError(f"{arguments.model}: expected an output for each of several classes, got shape {output_shape}")
    classes = _classes(network, output_shape[0], arguments.model)
    x = np.stack([_read_image(path, network.input_shape) for path in arguments.images])
    probabilities = network.predict(x)
    if not isinstance(network.layers[-1], Softmax):
        probabilities = kernels.softmax(probabilities)
    for path, row in zip(arguments.images, probabilities, strict=True):
        if not np.isfinite(row).all():
            raise ValueError(f"{path}: the network's outputs are infinite or NaN")
        best = np.argsort(-row, kind="stable")[:3]
        print(f"{path}: " + ", ".join(f"{classes[i]} {row[i]:.4f}" for i in best))
    return 0


def _classes(network: Network, count: int, path: str) -> list[str]:
    """Return the names of the classes, by number if the file has none."""
    if _CLASSES not in network.metadata:
        return [str(i) for i in range(count)]
    try:
        names = json.loads(network.metadata[_CLASSES])
    except (ValueError, RecursionError):
        names = None
    if not isinstance(names, list) or len(names) != count or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path}: expected the metadata entry {_CLASSES!r} to be a list of {count} names, as JSON")
    return names


def _read_image(path: str, shape: tuple[int, ...]) -> Array:
    """Return a picture in a network's input shape, as float32 in [0, 1]."""
    if path.endswith(".npy"):
        return _read_array(path, shape)
    require_regular(path)
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise ImportError("reading pictures needs Pillow: pip install 'ranvier[examples]'") from None
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"{path}: the network takes samples of shape {shape}, which is not that of a picture")
    try:
        with Image.open(path) as image:
            fitted = image.convert("L" if shape[0] == 1 else "RGB").resize((shape[2], shape[1]))
            pixels = np.asarray(fitted, dtype=np.float32) / np.float32(255)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not a picture that can be read") from None
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # Pillow's decoders raise many kinds
        raise ValueError(f"{path}: not a picture that can be read ({error})") from None
    return np.ascontiguousarray(pixels.reshape(shape[1], shape[2], shape[0]).transpose(2, 0, 1))


def _read_array(path: str, shape: tuple[int, ...]) -> Array:
    """Return the array of a file in a network's input shape; bytes are pixels."""
    size = math.prod(shape)
    require_regular(path)
    try:
        array = np.load(path, allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # NumPy raises many kinds
        raise ValueError(f"{path}: not an array that can be read ({error})") from None
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        kind = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else "an archive of arrays"
        raise ValueError(f"{path}: expected an array of real numbers, got {kind}")
    if array.size != size:
        raise ValueError(f"{path}: expected an array of {size} elements, got shape {array.shape}")
    with np.errstate(over="ignore"):
        numbers = np.array(array, dtype=np.float32).reshape(shape)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{path}: expected finite numbers, got some that are infinite or NaN in float32")
    return numbers / np.float32(255) if array.dtype == np.uint8 else numbers


def _info(arguments: argparse.Namespace) -> int:
    info = ranvier.cpu_info()
    print(f"ranvier {ranvier.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}")
    print(f"processor         {info['model'] or 'unknown'}")
    print(f"cores             {info['physical_cores']} physical, {info['logical_cores']} logical")
    print(f"features          {' '.join(info['features']) or 'baseline'}")
    print(f"instruction sets  {' '.join(info['compiled_isas'])} compiled, {info['isa']} in use")
    built = "" if info["openmp"] else ", built without OpenMP"
    print(f"threads           {info['num_threads']} ({info['threading']}{built})")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parsed = _parser().parse_args(arguments)
    code = _code(parsed)
    if code:
        processes.end_all(code)
    return code


def _code(parsed: argparse.Namespace) -> int:
    """Run a command; return the exit code."""
    try:
        code: int = parsed.run(parsed)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # who read what this prints is gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except MemoryError:
        return _fail(parsed.command, "there is not enough memory")
    except (FloatingPointError, ImportError, OSError, ValueError) as error:
        return _fail(parsed.command, str(error))


def _fail(command: str, message: str) -> int:
    print(f"ranvier {command}: {' '.join(message.split())}", file=sys.stderr)
    return 2
