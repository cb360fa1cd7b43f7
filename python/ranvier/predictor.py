"""Prediction with weights that no longer change: from a network as it is, from a file, from a pickle."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ranvier import _core, files, serialization
from ranvier.checks import integer
from ranvier.data import as_samples, require_apart
from ranvier.engine import Engine
from ranvier.layers import Layer, PlainLayer, require_layers
from ranvier.types import Array
from ranvier.wiring import Wiring, wiring_from_json

__all__ = ["Predictor", "load_predictor"]

_MOST_SHAPES = 32  # of samples, each of which takes memory for the weights as its kernels read them


def _not_compiled(x: Any, out: Any) -> None:
    """Stand in for `predict_few` before the first samples."""


class Predictor:
    """A network frozen at one moment, which only predicts: ``p(x)``.

    `Network.predictor` and `load_predictor` make it. Nothing that happens to the network afterwards changes it, and
    any number of threads may call it at once, without a lock, while the network is trained on. The weights are folded
    and packed once for each shape of samples: at the first samples of that shape, unless the network knew it.

    A layer of your own is the same object as in the network, so what changes that layer changes this. It may be called
    by several threads at once.

    Notes
    -----
    Networks of convolutions and global pooling take samples of several shapes. A predictor keeps what it made ready
    for the latest 32.

    ``pickle`` and ``copy.deepcopy`` go through the contents of a file, as `save` writes it, so the copy is made ready
    anew, for the machine that it comes to, and gives the same bits on the same kind of machine. They raise a ValueError
    if a layer is your own.

    Examples
    --------
    >>> net = rv.Network([784, 30, 10], seed=0)
    >>> p = net.predictor()
    >>> p(np.zeros((5, 784))).shape
    (5, 10)
    """

    __slots__ = (
        "__weakref__",
        "_compiled",
        "_dtype",
        "_few",
        "_latest",
        "_layers",
        "_lock",
        "_parameters",
        "_threads",
        "_wiring",
    )

    def __init__(
        self,
        layers: tuple[Layer | PlainLayer, ...],
        parameters: _core.Parameters,
        dtype: np.dtype[Any],
        shapes: Iterable[tuple[int, ...]],
        threads: int | None,
        wiring: Wiring | None = None,
    ) -> None:
        """Take frozen parameters, and make them ready for samples of these shapes, of which the last counts as seen."""
        self._threads = None if threads is None else integer(threads, "threads", 1)
        self._layers = layers
        self._wiring = wiring
        self._parameters = parameters
        self._dtype = dtype
        self._compiled: dict[tuple[int, ...], _core.Predictor] = {}
        self._lock = os.getpid(), threading.RLock()
        self._latest: _core.Predictor | None = None
        self._few: Callable[[Any, Any], Array | None] = _not_compiled
        for shape in shapes:
            self._use(self._compile(shape))

    @property
    def layers(self) -> tuple[Layer | PlainLayer, ...]:
        """The layers, as the network has them."""
        return self._layers

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the arithmetic and the outputs: float32 or float64."""
        return self._dtype

    @property
    def threads(self) -> int | None:
        """The threads of a prediction at most; None stands for `num_threads` at the time."""
        return self._threads

    @property
    def input_shape(self) -> tuple[int, ...] | None:
        """The shape of the samples seen last; None if there were none and the network knew of none."""
        latest = self._latest
        return None if latest is None else latest.input_shape

    def __repr__(self) -> str:
        """Return the layers, and the threads if they were given."""
        threads = "" if self.threads is None else f", threads={self.threads}"
        return f"Predictor({list(self.layers)}{threads})"

    def __call__(self, x: Any, out: Array | None = None) -> Array:
        """Return the outputs for samples.

        Parameters
        ----------
        x : array_like, shape (n, ...), or dict of such
            Real numbers; converted to `dtype` if need be. Bytes (uint8) are pixels, which count as fractions of 255.
        out : ndarray, optional
            Of the outputs' shape and dtype, C-contiguous; filled and returned. It must not overlap x.

        Returns
        -------
        ndarray, shape (n, ...), or dict of such
            A row's bits do not depend on the other rows, nor on the number of threads.

        Raises
        ------
        ValueError
            If a layer does not fit the samples, or ``out`` the outputs.
        TypeError
            If x is not of real numbers, or ``out`` is of another dtype.
        """
        outputs = self._few(x, out)
        if outputs is not None:
            return outputs
        wiring = self._wiring
        if wiring is None:
            return self._predict(x, out)
        if not wiring.outputs.is_one and out is not None:
            raise TypeError("out: expected None, since there are several outputs")
        y: Array = wiring.outputs.unpacked(self._predict(wiring.inputs.packed(x, self._dtype, "x"), out))
        return y

    def _predict(self, x: Any, out: Array | None) -> Array:
        samples = as_samples(x, self._dtype)
        shape = samples.shape[1:]
        compiled = self._compiled.get(shape) or self._compile(shape)
        require_apart(out, samples)
        outputs = compiled.predict(samples, out)
        if compiled is not self._latest:
            self._use(compiled)
        return outputs

    def _use(self, compiled: _core.Predictor) -> None:
        self._latest = compiled
        if self._wiring is not None and not (self._wiring.inputs.is_one and self._wiring.outputs.is_one):
            return
        self._few = compiled.predict_few  # kept at hand: to look it up would take as long as a small product

    def _compile(self, shape: tuple[int, ...]) -> _core.Predictor:
        process, lock = self._lock
        if process != os.getpid():  # in a child of fork another thread, which is not there, may hold it
            lock = threading.RLock()
            self._lock = os.getpid(), lock
        with lock:
            compiled = self._compiled.get(shape)
            if compiled is None:
                compiled = _core.Predictor(self._parameters, shape, frozen=True, threads=self._threads or 0)
                if len(self._compiled) >= _MOST_SHAPES:
                    del self._compiled[next(iter(self._compiled))]
                self._compiled[shape] = compiled
            return compiled

    # --- files ----------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the predictor to a safetensors file, from which `load_predictor` restores it, and `load` a network.

        The shapes of samples that it is ready for are in the file; ``threads`` is not.

        Parameters
        ----------
        path : path-like
            Replaced in one step if it exists.

        Raises
        ------
        ValueError
            If a layer is of your own.
        """
        files.replace(os.fspath(path), self._to_bytes())

    def _to_bytes(self) -> bytes:
        names = [*self._parameters.names, *self._parameters.statistics]
        input_shape = self.input_shape
        # The latest shape is the last, so that it is the latest again.
        shapes = sorted(self._compiled, key=lambda shape: shape == input_shape)
        config = {
            "dtype": self.dtype.name,
            "seed": None,
            "sizes": None,
            "input_shape": input_shape,
            "shapes": shapes,
            "epochs_trained": 0,
            "layers": serialization.layers_to_json(self.layers),
            "wiring": None if self._wiring is None else self._wiring.to_json(),
            "init": None,
        }
        return serialization.to_bytes(config, {name: self._parameters.value(name) for name in names})

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what restores it: the contents of a file, and the threads."""
        return _unpickled, (self._to_bytes(), self.threads)


def _unpickled(contents: bytes, threads: int | None) -> Predictor:
    return _restored(serialization.File(io.BytesIO(contents), len(contents)), threads)


def _restored(file: serialization.File, threads: int | None) -> Predictor:
    config = file.configuration()
    layers = require_layers(serialization.layers_from_json(config["layers"]), "layers")
    values, _ = file.tensors(serialization.parameter_shapes(layers))
    dtype = serialization.dtype_from_json(config["dtype"])
    wiring = wiring_from_json(config.get("wiring"), layers)
    engine = Engine(layers, dtype, seed=0, wiring=wiring)
    engine.load(values)
    shapes = [serialization.shape_from_json(shape) for shape in config.get("shapes", [config["input_shape"]])]
    if len(shapes) > _MOST_SHAPES:
        raise ValueError(f"shapes: expected at most {_MOST_SHAPES}, got {len(shapes)}")
    known = [shape for shape in shapes if shape is not None]
    return Predictor(layers, engine.parameters.frozen_copy(), np.dtype(dtype), known, threads, wiring)


def load_predictor(path: str | os.PathLike[str], threads: int | None = None) -> Predictor:
    """Read a predictor that `Predictor.save` wrote, or one of a network that `Network.save` did.

    Parameters
    ----------
    path : path-like
        A training state in the file is left out.
    threads : int, optional
        As in `Network.predictor`.

    Returns
    -------
    Predictor
        Made ready for the shapes of samples that the file knows of.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    TypeError, ValueError
        If ``threads`` is not an int of at least 1.
    ValueError
        If the file is truncated, of another format, or not of a ranvier network.
    """
    threads = None if threads is None else integer(threads, "threads", 1)
    with serialization.opened(os.fspath(path)) as file:
        return _restored(file, threads)
