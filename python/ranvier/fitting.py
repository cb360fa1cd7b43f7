"""The loop of `fit`: epochs of steps, with order, progress, validation, history and callbacks."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ranvier.batches import Batches, Part
from ranvier.callbacks import Callback, hears_batches
from ranvier.epoch_metrics import Metrics, Tally
from ranvier.history import Evaluation, History
from ranvier.losses import CustomLoss, Loss
from ranvier.optimizers import Optimizer
from ranvier.training import Report, Sums, Training, added, evaluate, run_batches
from ranvier.types import Labels

__all__ = ["Plan", "fit"]


class Plan(NamedTuple):
    """What `fit` was asked for, checked."""

    batches: Batches
    metrics: Metrics
    validation: tuple[Batches, Metrics] | None
    loss: Loss | CustomLoss
    optimizer: Optimizer
    epochs: int
    callbacks: Sequence[Callback]
    shuffle: bool
    on_nonfinite: str
    progress: bool

    def quantities(self) -> list[str]:
        """Return what the history will have of losses and metrics."""
        own = _quantities(self.metrics)
        return own if self.validation is None else own + [f"val_{name}" for name in _quantities(self.validation[1])]


def _quantities(metrics: Metrics) -> list[str]:
    return ["loss", *(["accuracy"] if metrics.has_classes else []), *metrics.names]


class _Progress:
    """A bar over the samples of one epoch, with the loss so far, and the accuracy if there is one."""

    def __init__(self, label: str, samples: int | None, visible: bool, with_accuracy: bool) -> None:
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

    def close(self, quantities: Mapping[str, float | None]) -> None:
        """Show what the epoch came to in the end."""
        shown = [f", {name}={value:.4f}" for name, value in quantities.items() if value is not None]
        if shown:
            self._bar.set_postfix_str(self._text + "".join(shown), refresh=True)
        self._bar.close()


def _tell(fault: str, epoch: int, skipped: int, on_nonfinite: str) -> None:
    where = f"epoch {epoch}, {fault} gave numbers that are infinite or NaN"
    if on_nonfinite == "raise":
        raise FloatingPointError(f"{where}; the parameters are those from before that batch")
    warnings.warn(f"{where}; {skipped} samples in such batches were left out", RuntimeWarning, stacklevel=4)


def fit(network: Any, training: Training, plan: Plan) -> History:
    """Train for a number of epochs; ``network`` is what callbacks are given."""
    engine, batches, metrics = training.engine, plan.batches, plan.metrics
    history = training.history = training.history or History()
    for epoch in range(1, plan.epochs + 1):
        training.epochs += 1
        training.require_trained(plan.optimizer)  # a callback may have frozen all
        order = None
        if batches.samples is not None and plan.shuffle:
            order = engine.order(training.epochs, batches.samples)
        bar = _Progress(f"Epoch {epoch}/{plan.epochs}", batches.samples, plan.progress, metrics.has_classes)
        shown: dict[str, float | None] = {}
        started = time.perf_counter()
        try:
            tally = metrics.tally()
            report = bar.report if plan.progress else None
            sums, stopped = _Epoch(network, training, plan, tally, report).run(batches.parts(order))
            seconds = time.perf_counter() - started
            rate = training.use(plan.optimizer).lr
            used = sums.samples - sums.skipped
            bar.report(sums.loss, sums.hits, used, sums.samples)
            if sums.fault:
                _tell(sums.fault, epoch, sums.skipped, plan.on_nonfinite)
            shown |= tally.results()
            if plan.validation is not None:
                shown |= _validation(evaluate(engine, plan.validation[0], plan.loss, plan.validation[1]))
        finally:
            bar.close(shown)
        history.append(
            loss=sums.loss if used else math.nan,
            accuracy=(sums.hits / used if used else math.nan) if metrics.has_classes else None,
            lr=rate,
            seconds=seconds,
            **shown,
        )
        wishes = [callback.on_epoch_end(network, epoch, history) for callback in plan.callbacks]  # each is called
        if stopped or any(wishes):
            break
    return history


def _validation(evaluation: Evaluation) -> dict[str, float | None]:
    own = {"loss": evaluation.loss, "accuracy": evaluation.accuracy}
    return {f"val_{name}": value for name, value in {**own, **evaluation.metrics}.items()}


class _Epoch:
    """The training on the batches of an epoch."""

    def __init__(self, network: Any, training: Training, plan: Plan, tally: Tally, report: Report | None) -> None:
        self._network, self._training, self._plan, self._tally, self._report = network, training, plan, tally, report
        self._listeners = [callback for callback in plan.callbacks if hears_batches(callback)]
        self._first_update = training.use(plan.optimizer).steps  # a callback may have used another one
        self._sums = Sums(math.nan, 0, 0, 0, "", 0.0, 0.0)
        self._done = 0  # batches

    def run(self, parts: Iterator[Part]) -> tuple[Sums, bool]:
        """Train on the parts; return their sums, and whether a callback ended the training."""
        for part in parts:
            order = np.arange(len(part.data.x), dtype=np.int64) if part.order is None else part.order
            size = len(order) if self._listeners == [] else part.batch_size
            for first in range(0, len(order), size):
                sums = self._train(part, order[first : first + size])
                if sums.fault and self._plan.on_nonfinite == "raise":
                    return self._sums, False
                if self._listeners and self._tell_listeners(sums):
                    return self._sums, True
        return self._sums, False

    def _train(self, part: Part, order: Labels) -> Sums:
        """Train on some samples of a part, and return their sums."""
        plan, training = self._plan, self._training
        state = training.use(plan.optimizer)
        updates = math.ceil(len(order) / part.batch_size)
        rates = plan.optimizer.all_rates(self._first_update + self._done, updates, plan.batches.updates)
        is_whole = self._done == 0 and len(order) == plan.batches.samples
        sums = run_batches(
            training.engine,
            part.data,
            order,
            part.batch_size,
            plan.loss,
            state,
            training.factor * rates,
            plan.on_nonfinite,
            self._report if is_whole else None,
            tally=self._tally,
        )
        if sums.fault:
            sums = sums._replace(fault=_placed(sums.fault, self._done, part.numbers))
        self._done += updates
        self._sums = sums if is_whole else added(training.engine, part.data, plan.loss, self._sums, sums)
        if self._report is not None:
            self._report(self._sums.loss, self._sums.hits, self._sums.samples - self._sums.skipped, self._sums.samples)
        return sums

    def _tell_listeners(self, sums: Sums) -> bool:
        """Return whether one of them ends the training after this batch."""
        loss = math.nan if sums.skipped else sums.loss
        wishes = [callback.on_batch_end(self._network, self._done, loss) for callback in self._listeners]
        return any(wishes)  # each is called


def _placed(fault: str, done: int, numbers: Labels | None) -> str:
    """Return where values went bad by the numbers of batch and sample in the epoch, given those in a part of it."""
    batch, _, where = fault.partition(":")
    sample = re.fullmatch(r" sample (\d+) of the input", where)
    if sample and numbers is not None:
        where = f" sample {numbers[int(sample[1])]} of the input"
    return f"batch {int(batch.removeprefix('batch ')) + done}:{where}"
