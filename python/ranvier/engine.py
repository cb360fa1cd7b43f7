"""The compiled side of a network: its parameters, and the plan that runs it for samples of one shape."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ranvier import _core
from ranvier.layers import CustomLayer, Layer, layer_spec
from ranvier.types import Array

__all__ = ["Engine"]

# Samples that a plan for prediction takes at a time.
PREDICTION_CAPACITY = 256


def _no_plan(x: Any, out: Any) -> None:
    """Stand in for `predict_few` of a plan."""


class Engine:
    """Parameters and plan of a network.

    Parameters
    ----------
    layers : sequence of Layer or CustomLayer
    dtype : {"float32", "float64"}
    seed : int
        Of the random layers.

    Attributes
    ----------
    parameters : _core.Parameters
    latest_plan : _core.Plan or None
    predict_few : function
        The latest plan's, kept at hand because to look it up would take as long as a small product.
    """

    def __init__(self, layers: Sequence[Layer | CustomLayer], dtype: str, seed: int) -> None:
        self.parameters = _core.Parameters([layer_spec(layer) for layer in layers], dtype)
        self.latest_plan: _core.Plan | None = None
        self.predict_few: Callable[[Any, Any], Array | None] = _no_plan
        self._layers = tuple(layers)
        self._seed = seed
        self._passes = 0

    def plan(self, sample_shape: tuple[int, ...], capacity: int) -> _core.Plan:
        """Return a plan for samples of that shape and batches of at least that many."""
        plan = self.latest_plan
        if plan is None or plan.input_shape != sample_shape or plan.capacity < capacity:
            plan = _core.Plan(self.parameters, sample_shape, capacity, self._seed)
            plan.training_passes = self.training_passes  # no mask comes twice
            self.latest_plan = plan
            self.predict_few = plan.predict_few
        return plan

    @property
    def training_passes(self) -> int:
        """The batches trained on so far, which number the masks of the random layers."""
        return self._passes if self.latest_plan is None else self.latest_plan.training_passes

    @training_passes.setter
    def training_passes(self, passes: int) -> None:
        self._passes = passes
        if self.latest_plan is not None:
            self.latest_plan.training_passes = passes

    def values(self) -> Iterator[tuple[str, Array]]:
        """Yield the name of each parameter and of each running statistic, and a view of it."""
        for name in [*self.parameters.names, *self.parameters.statistics]:
            yield name, self.parameters.value(name)

    def copy(self) -> Engine:
        """Return an engine with copies of the parameters and running statistics, and the random layers' position."""
        engine = Engine(self._layers, self.parameters.flat_values.dtype.name, self._seed)
        for (_, to), (_, value) in zip(engine.values(), self.values(), strict=True):
            to[...] = value
        engine.training_passes = self.training_passes
        return engine

    @contextlib.contextmanager
    def restored(self) -> Iterator[None]:
        """Put parameters, running statistics and the random layers' position back at the end."""
        before = {name: np.array(value) for name, value in self.values()}
        passes = self.training_passes
        try:
            yield
        finally:
            for name, value in self.values():
                value[...] = before[name]
            self.training_passes = passes

    def output_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one sample's output."""
        return self.plan(sample_shape, 1).output_shape

    def predict(self, x: Array, out: Array | None = None) -> Array:
        """Return the outputs in evaluation mode."""
        return self.plan(x.shape[1:], min(max(len(x), 1), PREDICTION_CAPACITY)).predict(x, out)
