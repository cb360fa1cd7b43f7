"""Fully connected layers."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ranvier.checks import boolean, integer, nonnegative, positive, set_fields
from ranvier.layers.activation import Sigmoid
from ranvier.layers.base import Layer, Spec, checked_initializer, starting_values

if TYPE_CHECKING:
    from ranvier.initializers import Initializer


@dataclass(repr=False, eq=False)
class Linear(Layer):
    """Fully connected layer, ``x @ weight.T + bias``.

    Parameters
    ----------
    in_features, out_features : int
        Sizes of the last axis of input and output. ``weight`` is (out_features, in_features).
    bias : bool
        Whether there is a ``bias`` of (out_features,).
    l1, l2 : float
        Penalties on the weight: training adds ``l1 * sum(|weight|) + l2 / 2 * sum(weight**2)`` to the loss that it
        makes small, though not to the loss that it reports.
    init : Initializer, optional
        Of the weight; the bias then starts at 0. Without one they start as in PyTorch, or as the network says.
    max_norm : float, optional
        Above 0: after each update, the weights that lead to an output are scaled to this Euclidean norm where theirs is
        larger (Srivastava et al. 2014).
    """

    in_features: int
    out_features: int
    bias: bool = True
    l1: float = 0.0
    l2: float = 0.0
    init: Initializer | None = None
    max_norm: float | None = None
    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        set_fields(
            self,
            in_features=integer(self.in_features, "in_features", 1),
            out_features=integer(self.out_features, "out_features", 1),
            bias=boolean(self.bias, "bias"),
            l1=nonnegative(self.l1, "l1"),
            l2=nonnegative(self.l2, "l2"),
            init=checked_initializer(self.init),
            max_norm=None if self.max_norm is None else positive(self.max_norm, "max_norm"),
        )

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it."""
        kind, fields = super().spec()
        return kind, fields | {"max_norm": self.max_norm or 0.0}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from U(-1/sqrt(in_features), 1/sqrt(in_features)), or by the initializer."""
        shape = (self.out_features, self.in_features)
        biases = self.out_features if self.bias else 0
        return starting_values(rng, self.init, shape, biases, self.in_features, self.out_features)


def layers_of_sizes(sizes: Sequence[Any]) -> list[Layer]:
    """Return the layers of the notes' network.

    Raises
    ------
    ValueError
        If there are fewer than two sizes, or one is below 1.
    """
    if len(sizes) < 2 or any(isinstance(size, bool) or size < 1 for size in sizes):
        raise ValueError(f"layers: expected at least two sizes, each at least 1, got {list(sizes)}")
    layers: list[Layer] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [Linear(inputs, outputs), Sigmoid()]
    return layers
