"""The outputs of inner layers: each layer is run by itself, in evaluation mode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ranvier.engine import Engine
from ranvier.layers import Layer, PlainLayer
from ranvier.types import Array

__all__ = ["layer_outputs"]

Outputs = Iterator[tuple[str, Layer | PlainLayer, Array]]


def layer_outputs(engine: Engine, x: Array, *, inner: bool) -> Outputs:
    """Yield path, layer and output of each layer, of shape (n, ...), one behind the other.

    Parameters
    ----------
    engine : Engine
        Of the network.
    x : ndarray, shape (n, ...)
        Checked samples.
    inner : bool
        Whether the layers within branches come, too, before the layer that holds them: "3.layers.0" before "3".
    """
    dtype = engine.parameters.flat_values.dtype.name
    return _outputs(engine.layers, "", x, engine.state(), dtype, inner)


def _outputs(
    layers: Sequence[Layer | PlainLayer], path: str, x: Array, values: Mapping[str, Array], dtype: str, inner: bool
) -> Outputs:
    for position, layer in enumerate(layers):
        own = f"{path}{position}"
        if inner and isinstance(layer, Layer):
            for name, branch in layer.inner().items():
                yield from _outputs(branch, f"{own}.{name}.", x, values, dtype, inner)
        x = _alone(layer, own, values, dtype).predict(x)
        yield own, layer, x


def _alone(layer: Layer | PlainLayer, path: str, values: Mapping[str, Array], dtype: str) -> Engine:
    """Return an engine of this layer only, with copies of its parameters and running statistics."""
    engine = Engine([layer], dtype, seed=0)
    for name, value in engine.values():
        value[...] = values[path + name.removeprefix("0")]
    return engine
