"""Where the time of training goes: seconds of each layer, forward and backward, against the machine's peak."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ranvier import _core
from ranvier.engine import Engine
from ranvier.losses import Loss
from ranvier.optimizers import Optimizer
from ranvier.tables import Table
from ranvier.types import Array

__all__ = ["BATCHES", "LayerTime", "Profile", "profile"]

BATCHES = 64  # of an epoch at most


@dataclass(frozen=True)
class LayerTime:
    """What one layer took for a sample.

    Attributes
    ----------
    path : str
        The layer's position; "3.layers.0" for one within layer 3, whose time includes it.
    name : str
        Its kind, with the activation that is taken in one go with it.
    forward, backward : float
        Seconds a sample.
    flops : float
        Multiplications and additions of the forward pass; 0 for layers that do little for each element.
    backward_flops : float
        Those of the backward pass: twice as many, or as many for the first layer that is trained, which makes
        no gradient to its input.
    """

    path: str
    name: str
    forward: float
    backward: float
    flops: float
    backward_flops: float


@dataclass(frozen=True)
class Profile:
    """Seconds a sample of each part of training; as text and in notebooks, a table.

    Attributes
    ----------
    layers : tuple of LayerTime
    gather, loss, update : float
        Seconds a sample for collecting a batch, for the loss with its gradient, and for the optimizer.
    total : float
        Seconds a sample, all in all.
    peak : float
        Multiplications and additions a second that the processor reaches in registers, on all threads.
    samples : int
        That were measured.
    """

    layers: tuple[LayerTime, ...]
    gather: float
    loss: float
    update: float
    total: float
    peak: float
    samples: int

    def __str__(self) -> str:
        """Return the table."""
        return str(self._table())

    def _repr_html_(self) -> str:
        """Return the table for a notebook."""
        return self._table()._repr_html_()

    def _table(self) -> Table:
        rows = [
            (
                layer.path,
                layer.name,
                f"{layer.forward * 1e6:.2f} us",
                self._of_peak(layer.flops, layer.forward),
                f"{layer.backward * 1e6:.2f} us",
                self._of_peak(layer.backward_flops, layer.backward),
                f"{(layer.forward + layer.backward) / self.total:.0%}",
            )
            for layer in self.layers
        ]
        for name, seconds in (("gather", self.gather), ("loss", self.loss), ("update", self.update)):
            rows.append(("", name, f"{seconds * 1e6:.2f} us", "", "", "", f"{seconds / self.total:.0%}"))
        rate = f"{self.total * 1e6:.2f} us a sample over {self.samples} samples"
        foot = f"{rate}, peak {self.peak / 1e9:.0f} GFLOP/s on {_core.num_threads()} threads"
        return Table(("", "layer", "forward", "of peak", "backward", "of peak", "of all"), rows, 2, foot)

    def _of_peak(self, flops: float, seconds: float) -> str:
        return f"{flops / seconds / self.peak:.0%}" if flops and seconds else ""


def profile(
    original: Engine, x: Array, y: Any, batch_size: int, loss: Loss, optimizer: Optimizer, seconds: float
) -> Profile:
    """Train a copy for some time, on whole epochs of at most `BATCHES` batches."""
    engine = original.copy()
    trainer = engine.trainer(x.shape[1:], batch_size)
    state = optimizer.create(engine.parameters)
    order = engine.order(0, len(x))[: BATCHES * batch_size]
    trainer.profile(x, y, order, batch_size, loss.spec(), state, 0.0)  # to warm up
    rows, gather, loss_seconds, update, samples, spent = trainer.profile(
        x, y, order, batch_size, loss.spec(), state, seconds
    )
    first = next((position for position, row in enumerate(rows) if row[4] > 0), None)  # makes no gradient to its input
    layers = tuple(
        LayerTime(path, name, forward / n, backward / n, flops, flops if position == first else 2 * flops)
        for position, (path, name, flops, forward, backward, n) in enumerate(rows)
    )
    return Profile(
        layers=layers,
        gather=gather / samples,
        loss=loss_seconds / samples,
        update=update / samples,
        total=spent / samples,
        peak=_core.peak_flops(engine.parameters.flat_values.dtype.name),
        samples=samples,
    )
