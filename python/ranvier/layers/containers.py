"""Layers that hold others: residual blocks and parallel branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from ranvier.checks import set_fields
from ranvier.layers.base import Layer, PlainLayer, Spec, layer_spec, require_layers


@dataclass(repr=False, eq=False)
class Residual(Layer):
    """layers(x) + shortcut(x), the residual block (He et al. 2016).

    Parameters
    ----------
    layers : sequence of layers
        One behind the other.
    shortcut : sequence of layers
        Those of the other path; x itself if there are none. Both must give samples of one shape.
    """

    layers: tuple[Layer | PlainLayer, ...]
    shortcut: tuple[Layer | PlainLayer, ...] = ()
    kind: ClassVar[str] = "residual"

    def __post_init__(self) -> None:
        set_fields(
            self,
            layers=require_layers(self.layers, "layers"),
            shortcut=require_layers(self.shortcut, "shortcut"),
        )

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it."""
        return self.kind, {name: [layer_spec(layer) for layer in path] for name, path in self.inner().items()}

    def inner(self) -> dict[str, tuple[Layer | PlainLayer, ...]]:
        """Return both paths."""
        return {"layers": self.layers, "shortcut": self.shortcut}


@dataclass(repr=False, eq=False)
class Parallel(Layer):
    """Branches that all get x; their outputs stand one behind the other along a sample's first axis.

    Parameters
    ----------
    branches : sequence of sequences of layers
        A branch without layers gives x itself. Their outputs may differ in the first size of a sample only
        (the channels, or the features).
    """

    branches: tuple[tuple[Layer | PlainLayer, ...], ...]
    kind: ClassVar[str] = "parallel"

    def __post_init__(self) -> None:
        if isinstance(self.branches, Layer) or not isinstance(self.branches, Sequence) or not self.branches:
            raise ValueError(f"branches: expected at least one sequence of layers, got {self.branches!r}")
        set_fields(self, branches=tuple(require_layers(branch, "branches") for branch in self.branches))

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it."""
        return self.kind, {"branches": [[layer_spec(layer) for layer in branch] for branch in self.branches]}

    def inner(self) -> dict[str, tuple[Layer | PlainLayer, ...]]:
        """Return the branches."""
        return {f"branches.{position}": branch for position, branch in enumerate(self.branches)}
