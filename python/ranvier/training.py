"""The training loop: epochs, order, progress, validation. Everything inside a batch is the core's."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.history import Evaluation, History
from ranvier.losses import CustomLoss, Loss
from ranvier.optimizers import Optimizer
from ranvier.types import Array, Labels, Weights

if TYPE_CHECKING:
    from ranvier.callbacks import Callback
    from ranvier.network import Network

__all__ = ["evaluate", "run_epoch", "train"]

Report = Callable[[float, int, int, int], object]  # mean loss, hits, of how many samples, samples done


def hits(prediction: Array, target: Any) -> int:
    """Count the samples whose largest output is the target's; for one output, those on the right side of 1/2."""
    rows = prediction.reshape(len(prediction), -1)
    if rows.shape[1] == 1:
        return int(np.sum((rows[:, 0] > 0.5) == (target.reshape(-1) > 0.5)))
    best = target if target.ndim == 1 else target.reshape(len(target), -1).argmax(axis=1)
    return int(np.sum(rows.argmax(axis=1) == best))


def _in_core(loss: Loss | CustomLoss, y: Any) -> Any:
    """Return the loss as a trainer takes it: a specification, or a function of predictions and sample numbers."""
    if isinstance(loss, Loss):
        return loss.spec()

    def compare(prediction: Array, samples: Labels) -> tuple[float, int, Array]:
        target = y[samples]
        gradient: Any = np.ascontiguousarray(loss.gradient(prediction, target), dtype=prediction.dtype)
        return float(loss(prediction, target)) * len(samples), hits(prediction, target), gradient

    return compare


class Sums(NamedTuple):
    """What a pass over samples comes to."""

    loss: float  # the mean
    hits: int
    samples: int
    skipped: int  # of these, in batches that made no update
    fault: str  # where the first batch that is not finite went bad


def run_epoch(
    network: Network,
    x: Array,
    y: Any,
    order: Labels,
    batch_size: int,
    loss: Loss | CustomLoss,
    optimizer: _core.Optimizer,
    learning_rates: Array | None = None,
    on_nonfinite: str = "raise",
    report: Report | None = None,
    weights: Weights | None = None,
    losses: Array | None = None,
) -> Sums:
    """Run one pass over the samples in that order, with a learning rate for each batch or the optimizer's own.

    ``losses``, if given, receives the mean loss of each batch.
    """
    batch_size = min(batch_size, len(x))
    trainer = network.engine.trainer(x.shape[1:], batch_size)
    objective = _in_core(loss, y)
    return Sums(
        *trainer.train_epoch(
            x, y, order, batch_size, objective, optimizer, learning_rates, on_nonfinite, report, weights, losses
        )
    )


def gradients(
    network: Network, x: Array, y: Any, loss: Loss | CustomLoss, weights: Weights | None = None
) -> dict[str, Array]:
    """Return views of the gradients of one batch, by parameter name."""
    network.engine.trainer(x.shape[1:], len(x)).gradients(x, y, _in_core(loss, y), weights)
    return {name: network.engine.parameters.gradient(name) for name in network.engine.parameters.names}


def _learning_rates(network: Network, settings: Optimizer, updates_done: int, updates_per_epoch: int) -> Array:
    """Return the learning rate of each batch of the next epoch."""
    rates = settings.learning_rates(updates_done, updates_per_epoch, updates_per_epoch)
    return network.learning_rate_factor * rates


def evaluate(network: Network, x: Array, y: Any, loss: Loss | CustomLoss, weights: Weights | None = None) -> Evaluation:
    """Return the mean loss and the accuracy of some samples in evaluation mode."""
    if isinstance(loss, Loss):
        mean, right = network.engine.predictor(x.shape[1:]).evaluate(x, y, loss.spec(), weights)
        return Evaluation(mean, right / len(x))
    prediction = network.engine.predict(x)
    return Evaluation(float(loss(prediction, y)), hits(prediction, y) / len(x))


class _Progress:
    """A bar over the samples of one epoch, with the loss and accuracy so far."""

    def __init__(self, label: str, samples: int, visible: bool) -> None:
        from tqdm import tqdm  # here, so that a script that only predicts does not load it

        self._bar = tqdm(total=samples, desc=label, unit=" samples", disable=not visible, leave=True)
        self._text = ""

    def report(self, loss: float, right: int, used: int, done: int) -> None:
        self._text = f"loss={loss:.4f}, accuracy={right / max(used, 1):.4f}"
        self._bar.set_postfix_str(self._text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self, validation: Evaluation | None = None) -> None:
        if validation:
            self._text += f", val_loss={validation.loss:.4f}, val_accuracy={validation.accuracy:.4f}"
            self._bar.set_postfix_str(self._text, refresh=True)
        self._bar.close()


def _tell(fault: str, epoch: int, skipped: int, on_nonfinite: str) -> None:
    where = f"epoch {epoch}, {fault} gave numbers that are infinite or NaN"
    if on_nonfinite == "raise":
        raise FloatingPointError(f"{where}; the parameters are those from before that batch")
    warnings.warn(f"{where}; {skipped} samples in such batches were left out", RuntimeWarning, stacklevel=4)


def train(
    network: Network,
    x: Array,
    y: Any,
    weights: Weights | None,
    *,
    epochs: int,
    batch_size: int,
    loss: Loss | CustomLoss,
    settings: Optimizer,
    optimizer: _core.Optimizer,
    validation: tuple[Array, Any] | None,
    callbacks: Iterable[Callback],
    shuffle: bool,
    progress: bool,
    on_nonfinite: str,
    history: History,
) -> None:
    """Train for a number of epochs, adding to the history; ``optimizer`` is the state of these settings."""
    updates_per_epoch = math.ceil(len(x) / batch_size)
    straight = np.arange(len(x), dtype=np.int64)
    for epoch in range(1, epochs + 1):
        network.epochs_trained += 1
        order = network.shuffled(len(x)) if shuffle else straight
        bar = _Progress(f"Epoch {epoch}/{epochs}", len(x), progress)
        rates = _learning_rates(network, settings, optimizer.steps, updates_per_epoch)
        evaluation = None
        started = time.perf_counter()
        try:
            report = bar.report if progress else None
            sums = run_epoch(network, x, y, order, batch_size, loss, optimizer, rates, on_nonfinite, report, weights)
            seconds = time.perf_counter() - started
            used = sums.samples - sums.skipped
            bar.report(sums.loss, sums.hits, used, sums.samples)
            if sums.fault:
                _tell(sums.fault, network.epochs_trained, sums.skipped, on_nonfinite)
            if validation:
                evaluation = evaluate(network, *validation, loss)
        finally:
            bar.close(evaluation)
        history.loss.append(sums.loss if used else math.nan)
        history.accuracy.append(sums.hits / used if used else math.nan)
        history.seconds.append(seconds)
        if evaluation:
            history.val_loss.append(evaluation.loss)
            history.val_accuracy.append(evaluation.accuracy)
        wishes = [callback(network, epoch, history) for callback in callbacks]  # each is called
        if any(wishes):
            return
