"""The command line: ``ranvier train``, ``ranvier predict``, ``ranvier info``.

Exit codes: 0 done; 1 something went wrong on the way; 2 the command made no sense; 130 interrupted by Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import ranvier
from ranvier import kernels
from ranvier.layers import Softmax
from ranvier.models import DATASETS, MODELS
from ranvier.network import Network
from ranvier.optimizers import SGD, Adam, Optimizer
from ranvier.types import Array

__all__ = ["main"]

_CLASSES = "classes"  # the file's metadata entry with the classes' names, as JSON


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Leave with one line instead of the whole usage."""
        self.exit(2, f"{self.prog}: {message}\n")


def _at_least(least: float, kind: type[int] | type[float]) -> Callable[[str], Any]:
    def convert(text: str) -> int | float:
        value = kind(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"expected at least {least}, got {text}")
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
    train.add_argument("--epochs", type=_at_least(1, int), help="default: what suits the data set")
    train.add_argument("--batch-size", type=_at_least(1, int), help="default: what suits the data set")
    train.add_argument("--lr", type=_at_least(0, float), help="learning rate; default: 0.001 (adam), 0.1 (sgd)")
    train.add_argument("--optimizer", choices=("adam", "sgd"), default="adam")
    train.add_argument("--seed", type=_at_least(0, int), default=0)
    train.add_argument("--threads", type=_at_least(1, int), help="default: one for each core")
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
    if arguments.threads:
        ranvier.set_num_threads(arguments.threads)
    task = DATASETS[arguments.dataset]
    name = f"{arguments.dataset}-{arguments.model}"
    model_path = Path(arguments.save or f"{name}.safetensors")
    plot_path = Path(arguments.plot or f"{name}.png")
    for path in (model_path, plot_path):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    train, test = task.load(arguments.data)
    network = Network(task.mlp if arguments.model == "mlp" else task.cnn, seed=arguments.seed)
    network.summary(train[0].shape[1:])
    interrupted = False
    try:
        network.fit(
            *train,
            epochs=arguments.epochs or task.epochs,
            batch_size=arguments.batch_size or task.batch_size,
            optimizer=_optimizer(arguments),
            validation_data=test,
            callbacks=[_print_accuracy],
        )
    except KeyboardInterrupt:
        interrupted = True
    network.save(model_path, {_CLASSES: json.dumps(task.classes)})
    epochs = len(network.history) if network.history else 0
    if interrupted:
        print(f"interrupted in epoch {epochs + 1}; what was trained is in {model_path}")
    else:
        print(f"model saved to {model_path}")
    _plot(network, plot_path, name)
    return 130 if interrupted else 0


def _optimizer(arguments: argparse.Namespace) -> Optimizer:
    if arguments.optimizer == "sgd":
        return SGD(0.1 if arguments.lr is None else arguments.lr)
    return Adam(1e-3 if arguments.lr is None else arguments.lr)


def _print_accuracy(network: Network, epoch: int, history: ranvier.History) -> None:
    print(f"epoch {epoch}: test accuracy {history.val_accuracy[-1]:.4f}", flush=True)


def _plot(network: Network, path: Path, title: str) -> None:
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
    if network.input_shape is None:
        raise ValueError(f"{arguments.model}: the network has seen no samples, so it does not know their shape")
    x = np.stack([_read_image(path, network.input_shape) for path in arguments.images])
    probabilities = network.predict(x)
    if not isinstance(network.layers[-1], Softmax):
        probabilities = kernels.softmax(probabilities)
    classes = json.loads(network.metadata.get(_CLASSES, "null")) or [str(i) for i in range(probabilities.shape[1])]
    for path, row in zip(arguments.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:3]
        print(f"{path}: " + ", ".join(f"{classes[i]} {row[i]:.4f}" for i in best))
    return 0


def _read_image(path: str, shape: tuple[int, ...]) -> Array:
    """Return a picture in a network's input shape, as float32 in [0, 1]."""
    if path.endswith(".npy"):
        try:
            array = np.load(path, allow_pickle=False)
        except EOFError:
            raise ValueError(f"{path}: an empty file, expected an array") from None
        if array.size != np.prod(shape):
            raise ValueError(f"{path}: expected an array of {int(np.prod(shape))} elements, got shape {array.shape}")
        return np.ascontiguousarray(array.reshape(shape), dtype=np.float32)
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
    return np.ascontiguousarray(pixels.reshape(shape[1], shape[2], shape[0]).transpose(2, 0, 1))


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
    try:
        code: int = parsed.run(parsed)
        return code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except (ImportError, OSError, ValueError) as error:
        print(f"ranvier {parsed.command}: {error}", file=sys.stderr)
        return 1
