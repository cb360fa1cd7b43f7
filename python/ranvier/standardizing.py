"""Means and standard deviations of data for `Standardize` layers, from blocks of samples that are read one by one."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from ranvier.checks import integer, real_array
from ranvier.data import as_samples, is_stream
from ranvier.engine import Engine
from ranvier.layers import Layer, PlainLayer, Standardize
from ranvier.rows import Rows, is_read_by_rows
from ranvier.types import Array

__all__ = ["adapt"]

_BLOCK = 1 << 20  # elements that are looked at at a time

Blocks = Callable[[], Iterator[Array]]


def adapt(engine: Engine, x: Any, steps: int | None) -> tuple[int, ...]:
    """Set the statistics of all `Standardize` layers from data; return the shape of a sample."""
    positions = [i for i, layer in enumerate(engine.layers) if isinstance(layer, Standardize)]
    if nested := next(_nested(engine.layers, ""), None):
        raise ValueError(f"layer {nested} (Standardize): expected it outside of branches, where adapt(x) reaches it")
    if not positions:
        raise ValueError("adapt: expected a network with a Standardize layer, got none")
    if is_stream(x):
        if len(positions) > 1 and iter(x) is x:
            raise ValueError("x: expected batches that can be gone through for each Standardize layer, got an iterator")
        count = None if steps is None else integer(steps, "steps", 1)
        blocks = _of_stream(x, count)
    elif steps is not None:
        raise TypeError("steps: expected None with an array, which is taken as a whole")
    else:
        blocks = _of_array(x)
    statistics: dict[str, Array] = {}
    shape: tuple[int, ...] = ()
    for position in positions:
        shape, mean, std = _moments(engine, position, blocks, statistics)
        statistics |= {f"{position}.mean": mean, f"{position}.std": std}
    with engine.parameters.changing():
        for name, value in statistics.items():
            engine.parameters.value(name)[...] = value
    return shape


def _nested(layers: Iterable[Layer | PlainLayer], path: str) -> Iterator[str]:
    """Yield the paths of `Standardize` layers within branches."""
    for position, layer in enumerate(layers):
        own = f"{path}{position}"
        if path and isinstance(layer, Standardize):
            yield own
        if isinstance(layer, Layer):
            for name, branch in layer.inner().items():
                yield from _nested(branch, f"{own}.{name}.")


def _samples(x: Any, name: str = "x") -> Any:
    """Return samples as they are given, whatever the network will make of them: in float64, or as bytes."""
    return as_samples(x, np.dtype(np.float64), name)


def _of_array(x: Any) -> Blocks:
    if is_read_by_rows(x, (np.float64, np.uint8), "x"):
        return Rows(x, _samples).blocks
    array = real_array(x, "x")
    if array.ndim < 1:
        raise ValueError("x: expected an array of shape (samples, ...), got shape ()")
    rows = max(1, _BLOCK // max(1, array[:1].size))
    return lambda: (_samples(array[first : first + rows]) for first in range(0, len(array), rows))


def _of_stream(stream: Iterable[Any], steps: int | None) -> Blocks:
    def blocks() -> Iterator[Array]:
        for number, batch in enumerate(itertools.islice(stream, steps), start=1):
            x = batch[0] if isinstance(batch, tuple | list) else batch
            yield _samples(x, f"x, batch {number}: x")

    return blocks


def _moments(
    engine: Engine, position: int, blocks: Blocks, statistics: dict[str, Array]
) -> tuple[tuple[int, ...], Array, Array]:
    """Return the shape of a sample, and mean and standard deviation of what comes to a layer."""
    reaching = _reaching(engine, position, statistics)
    features = engine.layers[position].num_features  # type: ignore[union-attr]
    shape: tuple[int, ...] | None = None
    count, mean, squares = 0.0, np.zeros(features), np.zeros(features)
    for block in blocks():
        if shape is None:
            shape = block.shape[1:]
            engine.output_shape(shape)  # a misfit is told before all is read
        if block.shape[1:] != shape:
            raise ValueError(f"x: expected samples of shape {shape} as before, got {block.shape[1:]}")
        values = reaching(block)
        values = values.reshape(len(values), features, -1).astype(np.float64, copy=False)
        if not np.isfinite(values).all():
            feature = int(np.flatnonzero(~np.isfinite(values).all(axis=(0, 2)))[0])
            raise ValueError(f"x: expected finite numbers for layer {position} (Standardize), got others in {feature}")
        own = values.shape[0] * values.shape[2]
        if own == 0:
            continue
        own_mean = values.mean(axis=(0, 2))
        distance = own_mean - mean  # Chan, Golub and LeVeque 1979
        squares += ((values - own_mean[:, None]) ** 2).sum(axis=(0, 2)) + distance**2 * (count * own / (count + own))
        mean += distance * (own / (count + own))
        count += own
    if shape is None or count == 0:
        raise ValueError("x: expected at least one sample, got none")
    return shape, mean, _deviations(mean, np.sqrt(squares / count), engine.dtype)


def _as_numbers(block: Array) -> Array:
    return block / 255 if block.dtype == np.uint8 else block


def _deviations(mean: Array, std: Array, dtype: np.dtype[Any]) -> Array:
    """Return the standard deviations, 1 where there is none but rounding; warn where the dtype hardly shows any."""
    varies = std > 10 * np.finfo(np.float64).eps * np.abs(mean)
    coarse = varies & (std < 1000 * np.finfo(dtype).eps * np.abs(mean))
    if coarse.any():
        feature = int(np.flatnonzero(coarse)[0])
        warnings.warn(
            f"adapt: feature {feature} has the mean {mean[feature]:g} and the standard deviation {std[feature]:g}, of "
            f"which {dtype} keeps less than 3 digits; subtract a constant from it before, or take dtype='float64'",
            UserWarning,
            stacklevel=5,
        )
    return np.where(varies, std, 1.0)


def _reaching(engine: Engine, position: int, statistics: dict[str, Array]) -> Callable[[Array], Array]:
    """Return a function that gives, for a block of samples, what comes to the layer at that position."""
    wiring = engine.wiring
    source = position - 1 if wiring is None else wiring.sources[position][0]
    if source < 0:
        return lambda block: _as_numbers(block if wiring is None else wiring.inputs.part(block, -1 - source))
    if wiring is None:
        before = Engine(engine.layers[:position], engine.dtype.name, engine.seed)
    else:
        before = engine.ending_with(source)
    values = engine.state() | statistics
    for name, value in before.values():
        value[...] = values[name]
        if name.endswith(".std") and not value.any():  # of a layer that comes later, whose output nobody reads
            value[...] = 1
    return lambda block: before.predict(as_samples(block, engine.dtype))
