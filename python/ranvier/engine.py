"""The compiled side of a network: its layers as stacks that the core runs, and custom layers between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ranvier import _core
from ranvier.layers import CustomLayer, Layer
from ranvier.optimizers import Optimizer
from ranvier.types import Array

__all__ = ["Engine"]

# Samples that a plan for prediction takes at a time.
PREDICTION_CAPACITY = 256


class _Stack:
    """Neighbouring layers of the library: one set of parameters, and a plan for the samples' shape."""

    def __init__(self, layers: Sequence[Layer], first: int, dtype: str, seed: int) -> None:
        self.first = first  # position of the first layer in the network
        self.parameters = _core.Parameters([layer.spec() for layer in layers], dtype)
        self._seed = seed
        self.latest_plan: _core.Plan | None = None

    def plan(self, sample_shape: tuple[int, ...], capacity: int) -> _core.Plan:
        if (
            self.latest_plan is None
            or self.latest_plan.input_shape != sample_shape
            or self.latest_plan.capacity < capacity
        ):
            plan = _core.Plan(self.parameters, sample_shape, capacity, self._seed + self.first)
            if self.latest_plan is not None:
                plan.training_passes = self.latest_plan.training_passes  # no mask comes twice
            self.latest_plan = plan
        return self.latest_plan

    def forward(self, x: Array, training: bool) -> Array:
        return self.plan(x.shape[1:], len(x)).forward(x, training)

    def backward(self, x: Array, grad: Array) -> Array:
        grad_x = self.plan(x.shape[1:], len(x)).backward(x, grad, True)
        assert grad_x is not None
        return grad_x


class Engine:
    """The stacks of a network, in order.

    Parameters
    ----------
    layers : sequence of Layer or CustomLayer
    dtype : {"float32", "float64"}
    seed : int
        Of the random layers.
    """

    def __init__(self, layers: Sequence[Layer | CustomLayer], dtype: str, seed: int) -> None:
        self.dtype = np.dtype(dtype)
        self.parts: list[_Stack | CustomLayer] = []
        self._output_shapes: dict[tuple[int, ...], tuple[int, ...]] = {}  # found by trial, with custom layers
        run: list[Layer] = []
        for position, layer in enumerate(layers):
            if isinstance(layer, Layer):
                run.append(layer)
                continue
            if run:
                self.parts.append(_Stack(run, position - len(run), dtype, seed))
                run = []
            self.parts.append(layer)
        if run:
            self.parts.append(_Stack(run, len(layers) - len(run), dtype, seed))
        # The only part, if the core can run the whole network.
        only = self.parts[0] if len(self.parts) == 1 else None
        self.single = only if isinstance(only, _Stack) else None

    @property
    def stacks(self) -> list[_Stack]:
        """The parts that have parameters."""
        return [part for part in self.parts if isinstance(part, _Stack)]

    def parameters(self) -> Iterator[tuple[str, Array]]:
        """Yield each parameter's name, by the layer's position in the network, and a view of it."""
        for stack in self.stacks:
            for name in stack.parameters.names:
                position, field = name.split(".")
                yield f"{int(position) + stack.first}.{field}", stack.parameters.value(name)

    def gradient(self, layer: int, field: str) -> Array:
        """Return a view of a parameter's gradient."""
        stack = next(stack for stack in reversed(self.stacks) if stack.first <= layer)
        return stack.parameters.gradient(f"{layer - stack.first}.{field}")

    def optimizers(self, optimizer: Optimizer) -> list[_core.Optimizer]:
        """Make the optimizer's state for each stack."""
        return [optimizer.create(stack.parameters) for stack in self.stacks]

    def output_shape(self, sample_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of one sample's output."""
        if self.single:
            return self.single.plan(sample_shape, 1).output_shape
        if sample_shape not in self._output_shapes:
            self._output_shapes[sample_shape] = self.predict(np.zeros((1, *sample_shape), self.dtype)).shape[1:]
        return self._output_shapes[sample_shape]

    def predict(self, x: Array) -> Array:
        """Return the outputs in evaluation mode."""
        if self.single:
            return self.single.plan(x.shape[1:], min(max(len(x), 1), PREDICTION_CAPACITY)).predict(x)
        for part in self.parts:
            if isinstance(part, _Stack):
                x = part.plan(x.shape[1:], min(max(len(x), 1), PREDICTION_CAPACITY)).predict(x)
            else:
                x = self._custom(part, "forward", x)
        return x

    def step(self, x: Array, gradient: Callable[[Array], Array], optimizers: list[_core.Optimizer]) -> Array:
        """Train on one batch part by part; ``gradient`` maps the output to the loss's gradient. Return the output."""
        inputs = [x]
        for part in self.parts:
            x = part.forward(x, True) if isinstance(part, _Stack) else self._custom(part, "forward", x)
            inputs.append(x)
        grad = np.ascontiguousarray(gradient(x), dtype=self.dtype)
        for part, part_x in zip(reversed(self.parts), reversed(inputs[:-1]), strict=True):
            grad = part.backward(part_x, grad) if isinstance(part, _Stack) else self._custom(part, "backward", grad)
        for optimizer in optimizers:
            optimizer.step()
        return x

    def _custom(self, layer: CustomLayer, method: str, x: Array) -> Array:
        result: Any = getattr(layer, method)(x)
        if not isinstance(result, np.ndarray) or result.ndim < 1 or len(result) != len(x):
            raise ValueError(f"{type(layer).__name__}.{method}: expected an array of {len(x)} samples back")
        return np.ascontiguousarray(result, dtype=self.dtype)
