"""The loop of `fit`: epochs of steps, with order, progress, validation, history and callbacks."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ranvier.callbacks import Callback, hears_batches
from ranvier.data import Data, has_classes
from ranvier.history import Evaluation, History
from ranvier.losses import CustomLoss, Loss
from ranvier.optimizers import Optimizer
from ranvier.training import Report, Sums, Training, added, evaluate, run_batches
from ranvier.types import Array, Labels

__all__ = ["Plan", "fit"]


class Plan(NamedTuple):
    """What `fit` was asked for, checked."""

    data: Data
    validation: Data | None
    loss: Loss | CustomLoss
    optimizer: Optimizer
    epochs: int
    batch_size: int
    callbacks: Sequence[Callback]
    shuffle: bool
    on_nonfinite: str
    progress: bool

    def quantities(self) -> list[str]:
        """Return what the history will have of the losses and accuracies."""
        own = ["loss", "accuracy"] if has_classes(self.loss, self.data.y) else ["loss"]
        return own if self.validation is None else own + [f"val_{name}" for name in own]


class _Progress:
    """A bar over the samples of one epoch, with the loss so far, and the accuracy if there is one."""

    def __init__(self, label: str, samples: int, visible: bool, with_accuracy: bool) -> None:
        from tqdm import tqdm  # here, so that a script that only predicts does not load it

        self._bar = tqdm(total=samples, desc=label, unit=" samples", disable=not visible, leave=True)
        self._text = ""
        self._with_accuracy = with_accuracy

    def report(self, loss: float, right: int, used: int, done: int) -> None:
        self._text = f"loss={loss:.4f}"
        if self._with_accuracy:
            self._text += f", accuracy={right / max(used, 1):.4f}"
        self._bar.set_postfix_str(self._text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self, validation: Evaluation | None = None) -> None:
        if validation:
            self._text += f", val_loss={validation.loss:.4f}"
            if validation.accuracy is not None:
                self._text += f", val_accuracy={validation.accuracy:.4f}"
            self._bar.set_postfix_str(self._text, refresh=True)
        self._bar.close()


def _tell(fault: str, epoch: int, skipped: int, on_nonfinite: str) -> None:
    where = f"epoch {epoch}, {fault} gave numbers that are infinite or NaN"
    if on_nonfinite == "raise":
        raise FloatingPointError(f"{where}; the parameters are those from before that batch")
    warnings.warn(f"{where}; {skipped} samples in such batches were left out", RuntimeWarning, stacklevel=4)


def fit(network: Any, training: Training, plan: Plan) -> History:
    """Train for a number of epochs; ``network`` is what callbacks are given."""
    engine, data = training.engine, plan.data
    shows_accuracy = "accuracy" in plan.quantities()
    updates_per_epoch = math.ceil(len(data.x) / plan.batch_size)
    history = training.history = training.history or History()
    straight = np.arange(len(data.x), dtype=np.int64)
    for epoch in range(1, plan.epochs + 1):
        training.epochs += 1
        state = training.use(plan.optimizer)  # a callback may have used another one
        order = engine.order(training.epochs, len(data.x)) if plan.shuffle else straight
        rates = plan.optimizer.learning_rates(state.steps, updates_per_epoch, updates_per_epoch)
        bar = _Progress(f"Epoch {epoch}/{plan.epochs}", len(data.x), plan.progress, shows_accuracy)
        evaluation = None
        started = time.perf_counter()
        try:
            report = bar.report if plan.progress else None
            sums, stopped = _epoch(network, training, plan, order, rates, report)
            seconds = time.perf_counter() - started
            rate = training.use(plan.optimizer).learning_rate
            used = sums.samples - sums.skipped
            bar.report(sums.loss, sums.hits, used, sums.samples)
            if sums.fault:
                _tell(sums.fault, epoch, sums.skipped, plan.on_nonfinite)
            if plan.validation:
                evaluation = evaluate(engine, plan.validation, plan.loss)
        finally:
            bar.close(evaluation)
        history.append(
            loss=sums.loss if used else math.nan,
            accuracy=(sums.hits / used if used else math.nan) if shows_accuracy else None,
            val_loss=evaluation.loss if evaluation else None,
            val_accuracy=evaluation.accuracy if evaluation else None,
            learning_rate=rate,
            seconds=seconds,
        )
        wishes = [callback.on_epoch_end(network, epoch, history) for callback in plan.callbacks]  # each is called
        if stopped or any(wishes):
            break
    return history


def _epoch(
    network: Any, training: Training, plan: Plan, order: Labels, rates: Array, report: Report | None
) -> tuple[Sums, bool]:
    """Train on the batches of an epoch; return their sums, and whether a callback ended the training."""
    data, size = plan.data, plan.batch_size

    def run(order: Labels, rates: Array, report: Report | None) -> Sums:
        state, rates = training.use(plan.optimizer), training.factor * rates
        return run_batches(training.engine, data, order, size, plan.loss, state, rates, plan.on_nonfinite, report)

    listeners = [callback for callback in plan.callbacks if hears_batches(callback)]
    if not listeners:
        return run(order, rates, report), False
    sums = Sums(math.nan, 0, 0, 0, "", 0.0, 0.0)
    for batch, first in enumerate(range(0, len(order), size), start=1):
        part = run(order[first : first + size], rates[batch - 1 : batch], None)
        if part.fault:  # in batch 1 of its own
            part = part._replace(fault=f"batch {batch}:{part.fault.partition(':')[2]}")
        sums = added(training.engine, data, plan.loss, sums, part)
        if report is not None:
            report(sums.loss, sums.hits, sums.samples - sums.skipped, sums.samples)
        if part.fault and plan.on_nonfinite == "raise":
            break
        loss = math.nan if part.skipped else part.loss
        wishes = [callback.on_batch_end(network, batch, loss) for callback in listeners]  # each is called
        if any(wishes):
            return sums, True
    return sums, False
