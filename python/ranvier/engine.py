"""The compiled side of a network: its parameters, and what trains it and predicts with it for samples of one shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.checks import as_values
from ranvier.layers import Layer, PlainLayer, layer_spec
from ranvier.types import Array, Labels
from ranvier.wiring import Ends, Wiring

__all__ = ["Engine", "IncompatibleKeys"]


class IncompatibleKeys(NamedTuple):
    """The names in which a state and a network differ.

    Attributes
    ----------
    missing_keys : list of str
        What the network has and the state has not: it stayed as it was.
    unexpected_keys : list of str
        What the state has and the network has not.
    """

    missing_keys: list[str]
    unexpected_keys: list[str]


def _is_batch_count(name: str, own: Mapping[str, Any]) -> bool:
    """Return whether PyTorch counts the batches of one of the network's batch normalizations under that name.

    It needs the number only for averages over all batches (``momentum=None``), which the network has not.
    """
    path, _, last = name.rpartition(".")
    return last == "num_batches_tracked" and f"{path}.running_mean" in own


def _no_predictor(x: Any, out: Any) -> None:
    """Stand in for `predict_few` of a predictor."""


class Engine:
    """Parameters of a network, with the latest trainer and predictor.

    Parameters
    ----------
    layers : sequence of Layer or PlainLayer
    dtype : {"float32", "float64"}
    seed : int
        Of the random layers, and of the order of the samples.
    wiring : Wiring, optional
        How the layers are connected, unless each reads the one before.

    Attributes
    ----------
    layers : tuple of Layer or PlainLayer
    dtype : numpy.dtype
        Of the parameters.
    wiring : Wiring or None
    parameters : _core.Parameters
    predict_few : function
        The latest predictor's, kept at hand because to look it up would take as long as a small product.
    latest_trainer : _core.Trainer or None
    """

    def __init__(
        self, layers: Sequence[Layer | PlainLayer], dtype: str, seed: int, wiring: Wiring | None = None
    ) -> None:
        self.layers = tuple(layers)
        self.wiring = wiring
        self.seed = seed
        self.dtype = np.dtype(dtype)
        wired = None if wiring is None else wiring.core()
        self.parameters = _core.Parameters([layer_spec(layer) for layer in layers], dtype, wired)
        self.predict_few: Callable[[Any, Any], Array | None] = _no_predictor
        self.latest_trainer: _core.Trainer | None = None
        self._predictor: _core.Predictor | None = None
        self._passes = 0

    def trainer(self, sample_shape: tuple[int, ...], capacity: int) -> _core.Trainer:
        """Return a trainer for samples of that shape and batches of at least that many."""
        trainer = self.latest_trainer
        if trainer is None or trainer.input_shape != sample_shape or trainer.capacity < capacity:
            trainer = _core.Trainer(self.parameters, sample_shape, capacity, self.seed)
            trainer.training_passes = self.training_passes  # no mask comes twice
            self.latest_trainer = trainer
        return trainer

    def predictor(self, sample_shape: tuple[int, ...]) -> _core.Predictor:
        """Return a predictor for samples of that shape, by the weights at each call."""
        predictor = self._predictor
        if predictor is None or predictor.input_shape != sample_shape:
            predictor = _core.Predictor(self.parameters, sample_shape, frozen=False)
            self._predictor = predictor
            self.predict_few = predictor.predict_few
        return predictor

    @property
    def training_passes(self) -> int:
        """The batches trained on so far, which number the masks of the random layers."""
        trainer = self.latest_trainer
        return self._passes if trainer is None else trainer.training_passes

    @training_passes.setter
    def training_passes(self, passes: int) -> None:
        self._passes = passes
        if self.latest_trainer is not None:
            self.latest_trainer.training_passes = passes

    @property
    def trained(self) -> list[str]:
        """The names of the parameters that are not frozen."""
        frozen = set(self.parameters.frozen)
        return [name for name in self.parameters.names if name not in frozen]

    def freeze(self, names: Sequence[str], frozen: bool) -> None:
        """Set whether training leaves these parameters and running statistics as they are.

        Raises
        ------
        RuntimeError
            In the middle of a pass of the same thread.
        """
        with self.parameters.changing():
            self.parameters.freeze(names, frozen)
            self._forget_trainer()

    def set_frozen(self, names: Sequence[str]) -> None:
        """Freeze these and no others, in ``with parameters.changing()``."""
        if names != self.parameters.frozen:
            self.parameters.freeze(self.parameters.frozen, False)
            self.parameters.freeze(names, True)
            self._forget_trainer()

    def _forget_trainer(self) -> None:
        """Have another trainer made: what one goes back through depends on what is frozen."""
        self._passes = self.training_passes
        self.latest_trainer = None

    def order(self, epoch: int, n: int) -> Labels:
        """Return the order of n samples for the epoch of that number: a function of it and the seed alone."""
        return _core.random_permutation(self.seed, epoch, n)

    def values(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each parameter and of each running statistic, and a view of it.

        Who reads them all does so in ``with parameters.reading()``, and who writes in ``with parameters.changing()``:
        another thread may be training.
        """
        for name in [*self.parameters.names, *self.parameters.statistics]:
            yield name, self.parameters.value(name)

    def parts(self, flat: Array) -> dict[str, Array]:
        """Return views of the parts of an array like ``parameters.flat_values`` that belong to each parameter."""
        return {name: self.parameters.part(name, flat) for name in self.parameters.names}

    def state(self) -> dict[str, Array]:
        """Return copies of all parameters and running statistics, as they are between two batches."""
        with self.parameters.reading():
            return {name: np.array(value, order="C") for name, value in self.values()}

    def require_adapted(self) -> None:
        """Raise a RuntimeError if a layer was never told the mean and the standard deviation of its data."""
        for name in self.parameters.statistics:
            if name.endswith(".std") and not self.parameters.value(name).any():
                raise RuntimeError(
                    f"layer {name.removesuffix('.std')} (Standardize): expected the mean and std of data; call "
                    f"adapt(x) of the network before"
                )

    def load(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Set parameters and running statistics, or nothing if something is wrong with the arrays.

        Raises
        ------
        TypeError
            If an array is not of real numbers.
        ValueError
            If a shape differs, or, unless ``strict`` is False, a name is missing or unknown.
        RuntimeError
            In the middle of a pass of the same thread.
        """
        own = dict(self.values())
        keys = IncompatibleKeys(
            missing_keys=[name for name in own if name not in state],
            unexpected_keys=[name for name in state if name not in own and not _is_batch_count(name, own)],
        )
        if strict and keys.missing_keys:
            raise ValueError(f"state: missing {sorted(keys.missing_keys)}")
        if strict and keys.unexpected_keys:
            raise ValueError(f"state: unknown {sorted(keys.unexpected_keys)}")
        arrays = {
            name: as_values(state[name], value.shape, value.dtype, f"state: {name}")
            for name, value in own.items()
            if name in state
        }
        with self.parameters.changing():
            for name, array in arrays.items():
                own[name][...] = array
        return keys

    def _take(self, other: Engine) -> None:
        """Take over the parameters and running statistics of an engine that has the same."""
        for (_, to), (_, value) in zip(self.values(), other.values(), strict=True):
            to[...] = value

    def copy(self, layers: Sequence[Layer | PlainLayer] | None = None) -> Engine:
        """Return an engine with copies of the parameters and running statistics, and the random layers' position.

        The layers, which may be copies, must have the same parameters.
        """
        own = self.layers if layers is None else layers
        engine = Engine(own, self.dtype.name, self.seed, self.wiring)
        with self.parameters.reading():
            engine._take(self)
            engine.training_passes = self.training_passes
            engine.parameters.freeze(self.parameters.frozen, True)
        return engine

    def ending_with(self, position: int) -> Engine:
        """Return an engine whose one output is that of the layer at that position, with copies of the parameters."""
        assert self.wiring is not None
        shapes = self.predictor(self.wiring.sample_shape).shapes
        outputs = Ends((None,), (shapes[position],))
        engine = Engine(
            self.layers, self.dtype.name, self.seed, self.wiring._replace(outputs=outputs, ends=(position,))
        )
        with self.parameters.reading():
            engine._take(self)
        return engine

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Put parameters, running statistics and the random layers' position back at the end."""
        before, passes = self.state(), self.training_passes
        try:
            yield
        finally:
            self.load(before)
            self.training_passes = passes

    def output_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one sample's output."""
        return self.predictor(sample_shape).output_shape

    def predict(self, x: Array, out: Array | None = None) -> Array:
        """Return the outputs in evaluation mode."""
        return self.predictor(x.shape[1:]).predict(x, out)
