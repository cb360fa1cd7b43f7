"""Symbolic values: what layers give before there are numbers, from which a network of any wiring is made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ranvier import _core
from ranvier.checks import sizes

__all__ = ["Input", "Value", "call"]


class Value:
    """What a layer will give for samples to come: `ranvier.Input` makes the first ones, and calls of layers the others.

    Attributes
    ----------
    shape : tuple of int
        Of a sample.
    layer : Layer or None
        The layer that gives it; None for a `ranvier.Input`.
    sources : tuple of Value
        What that layer was called with.
    """

    __slots__ = ("layer", "shape", "sources")

    def __init__(self, shape: tuple[int, ...], layer: Any = None, sources: tuple[Value, ...] = ()) -> None:
        self.shape, self.layer, self.sources = shape, layer, sources

    def __repr__(self) -> str:
        """Return the layer and the shape of a sample."""
        return f"<what {self.layer!r} gives, samples of shape {self.shape}>"


class Input(Value):
    """The beginning of a network: samples that its user will hand over.

    Parameters
    ----------
    shape : tuple of int
        Of a sample, without the axis of the batch.

    Examples
    --------
    >>> import ranvier as rv
    >>> left, right = rv.Input((3,)), rv.Input((2,))
    >>> joined = rv.Concat()([left, right])
    >>> joined.shape
    (5,)
    >>> net = rv.Network(inputs={"left": left, "right": right}, outputs=rv.Linear(5, 1)(joined), seed=0)
    >>> net.predict({"left": np.zeros((4, 3)), "right": np.ones((4, 2))}).shape
    (4, 1)
    """

    __slots__ = ()

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(sizes(shape, "shape"))

    def __repr__(self) -> str:
        """Return the call that makes it."""
        return f"Input({self.shape})"


def call(layer: Any, x: Value | Sequence[Value]) -> Value:
    """Return what a layer gives for one or several symbolic values.

    Raises
    ------
    TypeError
        If they are none.
    ValueError
        If the layer does not fit them.
    """
    sources = tuple(x) if isinstance(x, list | tuple) else (x,)
    for source in sources:
        if not isinstance(source, Value):
            raise TypeError(
                f"{type(layer).__name__}: expected an Input or what another layer gives for one, got "
                f"{type(source).__name__}; a network computes with arrays: Network([...]).predict(x)"
            )
    shape = _core.output_shape(layer.spec(), [source.shape for source in sources])
    return Value(tuple(shape), layer, sources)
