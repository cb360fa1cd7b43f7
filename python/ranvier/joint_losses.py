"""The loss of a network with several outputs: a weighted sum of one for each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.checks import nonnegative
from ranvier.custom_losses import gradient_of, require_weighable, value_of
from ranvier.data import checked_targets
from ranvier.labels import is_text
from ranvier.losses import CustomLoss, Loss, checked_loss
from ranvier.types import Array, Weights
from ranvier.wiring import Ends

__all__ = ["JointLoss", "LossOfRows", "Part", "mean_of"]


class JointLoss:
    """The weighted sum of a loss for each output, ``sum(weights[k] * losses[k](prediction[k], target[k]))``.

    Parameters
    ----------
    losses : dict of str to losses
        One of the library or of your own for each output of the network, by its name.
    weights : dict of str to float, optional
        From 0. What is not there counts 1.

    Examples
    --------
    >>> import ranvier as rv
    >>> loss = rv.JointLoss({"digit": rv.CrossEntropyLoss(), "age": rv.MSELoss()}, weights={"age": 0.1})
    >>> predictions = {"digit": np.zeros((1, 2)), "age": np.array([[3.0]])}
    >>> round(loss(predictions, {"digit": np.array([1]), "age": np.array([[1.0]])}), 4)
    1.0931
    """

    def __init__(self, losses: Mapping[str, Any], weights: Mapping[str, float] | None = None) -> None:
        if not isinstance(losses, Mapping) or not losses:
            raise TypeError(f"losses: expected a dict of losses by the names of outputs, got {losses!r}")
        weights = {} if weights is None else weights
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights: expected a dict of numbers by the names of outputs, got {weights!r}")
        if unknown := [name for name in weights if name not in losses]:
            raise ValueError(f"weights: expected {list(losses)}, got {unknown[0]!r}")
        self.losses: dict[str, Loss | CustomLoss] = {}
        for name, loss in losses.items():
            try:
                self.losses[name] = checked_loss(loss)
            except TypeError as error:
                raise TypeError(f"losses[{name!r}]: {error}") from None
        self.weights = {name: nonnegative(weights.get(name, 1.0), f"weights[{name!r}]") for name in losses}

    def __repr__(self) -> str:
        """Return the call that makes it."""
        weights = {name: weight for name, weight in self.weights.items() if weight != 1}
        return f"JointLoss({self.losses}{f', weights={weights}' if weights else ''})"

    def __eq__(self, other: object) -> bool:
        """Return whether other has equal losses and weights."""
        return isinstance(other, JointLoss) and (self.losses, self.weights) == (other.losses, other.weights)

    __hash__ = None  # type: ignore[assignment]

    def __call__(self, prediction: Mapping[str, Array], target: Mapping[str, Any]) -> float:
        """Return the loss of a batch, whose predictions and targets come in dicts."""
        return sum(
            weight * value_of(self.losses[name], prediction[name], target[name])
            for name, weight in self.weights.items()
        )

    def gradient(self, prediction: Mapping[str, Array], target: Mapping[str, Any]) -> dict[str, Array]:
        """Return its gradient to the predictions, for `Network.backward`."""
        return {
            name: weight * gradient_of(self.losses[name], prediction[name], target[name])
            for name, weight in self.weights.items()
        }


class Part(NamedTuple):
    """What one output contributes to a joint loss."""

    name: str
    loss: Loss | CustomLoss
    weight: float
    prediction: Array
    target: Any

    def mean(self, weights: Weights | None = None) -> float:
        """Return the mean loss of samples."""
        return mean_of(self.loss, self.prediction, self.target, weights)[0]

    def gradient(self, weights: Weights | None) -> Array:
        """Return its gradient to the predictions, before it is multiplied by the weight of this output."""
        if isinstance(self.loss, Loss):
            return _core.loss_gradient(self.loss.spec(), self.prediction, self.target, weights)
        return gradient_of(self.loss, self.prediction, self.target, weights)


def mean_of(loss: Loss | CustomLoss, prediction: Array, target: Any, weights: Weights | None) -> tuple[float, int]:
    """Return the mean loss of samples, and the hits if it is a loss of the library."""
    if isinstance(loss, Loss):
        return _core.loss_value(loss.spec(), prediction, target, weights)
    return value_of(loss, prediction, target, weights), 0


class _Targets(NamedTuple):
    """Where the targets of an output lie in rows, and what they are."""

    place: slice
    shape: tuple[int, ...]  # of a sample
    are_integers: bool


class LossOfRows:
    """A joint loss of the rows in which the core has outputs, and of targets in rows likewise.

    Parameters
    ----------
    joint : JointLoss
    outputs : Ends
        Those of the network.
    """

    def __init__(self, joint: JointLoss, outputs: Ends) -> None:
        self.joint, self.outputs = joint, outputs
        self._places = outputs.places
        self._shapes: dict[Any, tuple[int, ...]] = dict(zip(outputs.names, outputs.shapes, strict=True))
        self._targets: dict[str, _Targets] = {}  # of each output, once there are some
        if missing := [name for name in outputs.names if name not in joint.losses]:
            raise ValueError(f"loss: expected one for each of {list(outputs.names)}, got none for {missing[0]!r}")
        if unknown := [name for name in joint.losses if name not in outputs.names]:
            raise ValueError(f"loss: expected losses for {list(outputs.names)}, got one for {unknown[0]!r}, too")

    def packed_targets(self, y: Any, samples: int, dtype: np.dtype[Any], what: str) -> Array:
        """Return the targets of all outputs, checked, as rows."""
        targets = {}
        for name, given in self.outputs.by_name(y, what).items():
            of = f"{what}[{name!r}]"
            if is_text(np.asarray(given)):
                raise ValueError(f"{of}: expected numbers, since there are several outputs, got text")
            targets[name] = checked_targets(given, samples, self.joint.losses[name], dtype, self._shapes[name], of)
        ends = Ends(tuple(targets), tuple(array.shape[1:] for array in targets.values()))
        found = {
            name: _Targets(place, targets[name].shape[1:], targets[name].dtype == np.int64)
            for name, place in ends.places.items()
        }
        self._targets = self._targets or found
        if found != self._targets:
            raise ValueError(
                f"{what}: expected for each output targets of one kind and shape everywhere, labels or rows"
            )
        rows = np.empty((samples, ends.size), dtype)
        largest = 2 ** (np.finfo(dtype).nmant + 1)
        for name, array in targets.items():
            if found[name].are_integers and array.size and np.abs(array).max() > largest:
                raise ValueError(f"{what}[{name!r}]: expected integers up to {largest}, which {dtype} can hold")
            rows[:, found[name].place] = array.reshape(samples, -1)
        return rows

    def parts(self, prediction: Array, target: Array) -> Iterator[Part]:
        """Yield what each output contributes."""
        samples = len(prediction)
        for name, of_target in self._targets.items():
            own = np.ascontiguousarray(prediction[:, self._places[name]]).reshape(samples, *self._shapes[name])
            dtype = np.int64 if of_target.are_integers else target.dtype
            wanted = np.ascontiguousarray(target[:, of_target.place], dtype).reshape(samples, *of_target.shape)
            yield Part(name, self.joint.losses[name], self.joint.weights[name], own, wanted)

    def __call__(self, prediction: Array, target: Array, sample_weight: Weights | None = None) -> float:
        """Return the loss of a batch."""
        return math.fsum(part.weight * part.mean(sample_weight) for part in self.parts(prediction, target))

    def with_gradient(
        self, prediction: Array, target: Array, sample_weight: Weights | None = None
    ) -> tuple[float, Array]:
        """Return the loss of a batch, and its gradient to rows of predictions."""
        gradients, values = np.empty_like(prediction), []
        for part in self.parts(prediction, target):
            values.append(part.weight * part.mean(sample_weight))
            own = part.gradient(sample_weight).reshape(len(prediction), -1)
            gradients[:, self._places[part.name]] = prediction.dtype.type(part.weight) * own
        return math.fsum(values), gradients

    def gradient(self, prediction: Array, target: Array, sample_weight: Weights | None = None) -> Array:
        """Return its gradient to rows of predictions."""
        return self.with_gradient(prediction, target, sample_weight)[1]

    def require_weighable(self) -> None:
        """Raise a TypeError unless the losses of all outputs take weights of samples."""
        for loss in self.joint.losses.values():
            require_weighable(loss)
