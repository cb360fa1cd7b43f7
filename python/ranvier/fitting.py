"""The loop of `fit`: epochs of steps, with order, progress, validation, history and callbacks."""

from __future__ import annotations

import math
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.batches import Batches, Part
from ranvier.callbacks import Callback, hears_batches
from ranvier.data import Data
from ranvier.epoch_metrics import Metrics, Tally
from ranvier.history import Evaluation, History
from ranvier.losses import CustomLoss, Loss
from ranvier.optimizers import Optimizer
from ranvier.training import Report, Sums, Training, added, evaluate, run_batches
from ranvier.types import Array, Labels

if TYPE_CHECKING:
    from ranvier.distributed import DataParallel
    from ranvier.progress import Bar

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
    accumulate_grad_batches: int
    by_batch: bool  # a callback hears of each update
    together: DataParallel | None = None  # with whom

    @property
    def updates_per_epoch(self) -> int | None:
        """Those that an epoch makes, or None if nobody knows."""
        batches = self.batches.number
        return None if batches is None else math.ceil(batches / self.accumulate_grad_batches)

    def quantities(self) -> list[str]:
        """Return what the history will have of losses and metrics."""
        own = _quantities(self.metrics)
        return own if self.validation is None else own + [f"val_{name}" for name in _quantities(self.validation[1])]


def _quantities(metrics: Metrics) -> list[str]:
    return ["loss", *(["accuracy"] if metrics.has_classes else []), *metrics.names]


def _tell(fault: str, epoch: int, skipped: int, on_nonfinite: str) -> None:
    where = f"epoch {epoch}, {fault} gave numbers that are infinite or NaN"
    if on_nonfinite == "raise":
        raise FloatingPointError(f"{where}; the parameters are those from before that batch")
    warnings.warn(f"{where}; {skipped} samples in such batches were left out", RuntimeWarning, stacklevel=5)


def fit(network: Any, training: Training, plan: Plan) -> History:
    """Train for a number of epochs; ``network`` is what callbacks are given."""
    history = training.history = training.history or History()
    bar = _bar(plan)
    try:
        for epoch in range(1, plan.epochs + 1):
            if bar is not None:
                bar.begin(epoch)
            stopped = _epoch(network, training, plan, epoch, history, bar)
            wishes = [callback.on_epoch_end(network, epoch, history) for callback in plan.callbacks]  # each is called
            if _any(plan, stopped or any(wishes)):
                break
        if bar is not None:
            bar.finish()
    finally:
        if bar is not None:
            bar.close()
    return history


def _bar(plan: Plan) -> Bar | None:
    """Return a progress bar if it is wanted and can be seen; without one, tqdm is not even loaded."""
    if not plan.progress or plan.epochs == 0:
        return None
    from ranvier.progress import Bar, is_visible

    return Bar(plan.epochs, plan.batches.samples, plan.metrics.has_classes) if is_visible() else None


def _epoch(network: Any, training: Training, plan: Plan, epoch: int, history: History, bar: Bar | None) -> bool:
    """Train for one epoch and add it to the history; return whether a callback ended the training."""
    engine, batches, metrics = training.engine, plan.batches, plan.metrics
    training.epochs += 1
    training.require_trained(plan.optimizer)  # a callback may have frozen all
    order = None
    if batches.samples is not None and plan.shuffle:
        order = engine.order(training.epochs, batches.samples)
    started = time.perf_counter()
    tally = metrics.tally(1 if plan.together is None else plan.together.parts)
    report = None if bar is None else bar.report
    sums, stopped = _Epoch(network, training, plan, tally, report).run(batches.parts(order))
    seconds = time.perf_counter() - started
    rate = training.use(plan.optimizer).lr
    used = sums.samples - sums.skipped
    if report is not None:
        report(sums.loss, sums.hits, used, sums.samples)
    if sums.fault:
        _tell(sums.fault, epoch, sums.skipped, plan.on_nonfinite)
    if plan.together is not None:
        plan.together.finish_epoch(engine)
        plan.together.join(tally, counts_are_own=False)
    quantities: dict[str, float | None] = {**tally.results()}
    if plan.validation is not None:
        others, own_metrics = plan.validation
        quantities |= _validation(evaluate(engine, others, plan.loss, own_metrics, plan.together))
    if bar is not None:
        bar.show(quantities)
    history.append(
        loss=sums.loss if used else math.nan,
        accuracy=(sums.hits / used if used else math.nan) if metrics.has_classes else None,
        lr=rate,
        seconds=seconds,
        **quantities,
    )
    return stopped


def _any(plan: Plan, wish: bool) -> bool:
    """Return whether anybody who trains together wishes that."""
    return wish if plan.together is None else plan.together.any(wish)


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
        self._updates = 0
        self._accumulation: _core.GradientAccumulation | None = None
        if plan.accumulate_grad_batches > 1:
            parameters = training.engine.parameters
            self._accumulation = _core.GradientAccumulation(parameters, plan.accumulate_grad_batches)

    def run(self, parts: Iterator[Part]) -> tuple[Sums, bool]:
        """Train on the parts; return their sums, and whether a callback ended the training."""
        since: Sums | None = None  # what the batches since the last update come to
        last: Data | None = None
        together = self._plan.together
        if together is not None:
            parts = together.in_step(parts, self._plan.batches.is_ordered)
        for part in parts:
            order, last = np.arange(len(part.data.x), dtype=np.int64) if part.order is None else part.order, part.data
            while len(order):
                size = self._missing * part.batch_size if self._plan.by_batch else len(order)
                sums = self._train(part, order[:size])
                order = order[size:]
                if sums.fault and self._plan.on_nonfinite == "raise":
                    return self._sums, False
                since = sums if since is None else added(self._training.engine, part.data, self._plan.loss, since, sums)
                if self._pending == 0:
                    if self._plan.by_batch and self._tell_listeners(since):
                        return self._sums, True
                    since = None
        if last is None or since is None:
            return self._sums, False
        self._finish(last)
        is_over = bool(self._sums.fault) and self._plan.on_nonfinite == "raise"
        return self._sums, not is_over and self._plan.by_batch and self._tell_listeners(since)

    @property
    def _pending(self) -> int:
        """The batches since the last update."""
        return 0 if self._accumulation is None else self._accumulation.batches

    @property
    def _missing(self) -> int:
        """The batches up to the next update."""
        return self._plan.accumulate_grad_batches - self._pending

    def _rates(self, updates: int) -> Array:
        """Return the learning rates of the next updates."""
        plan = self._plan
        rates = plan.optimizer.all_rates(self._first_update + self._updates, updates, plan.updates_per_epoch)
        self._updates += updates
        return self._training.factor * rates

    def _finish(self, last: Data) -> None:
        """Make the update from the batches that remain at the end of the epoch, given data of the last one."""
        plan, training = self._plan, self._training
        assert self._accumulation is not None
        state, rates = training.use(plan.optimizer), self._rates(1)[0].tolist()
        trainer = training.engine.trainer(last.x.shape[1:], 1)
        if trainer.step_from(
            self._accumulation, state, rates if plan.optimizer.groups else rates[0], plan.on_nonfinite != "ignore"
        ):
            return
        fault = f"batch {self._done}: the sum of the gradients"
        self._sums = self._sums._replace(fault=self._sums.fault or fault)

    def _train(self, part: Part, order: Labels) -> Sums:
        """Train on some samples of a part, and return their sums."""
        plan, training, data, numbers = self._plan, self._training, part.data, part.numbers
        if len(order) < len(data.x):  # since the core looks at all targets that it gets, each time
            data, numbers = data.read(order), order if numbers is None else numbers[order]
            order = np.arange(len(order), dtype=np.int64)
        state = training.use(plan.optimizer)
        batches = math.ceil(len(order) / part.batch_size)
        rates = self._rates((self._pending + batches) // plan.accumulate_grad_batches)
        is_whole = self._done == 0 and len(order) == plan.batches.samples
        sums = run_batches(
            training.engine,
            data,
            order,
            part.batch_size,
            plan.loss,
            state,
            rates,
            plan.on_nonfinite,
            self._report if is_whole else None,
            tally=self._tally,
            accumulation=self._accumulation,
            together=plan.together,
            is_own=plan.together is not None and (plan.together.own_data or plan.batches.is_ordered),
        )
        if sums.fault:
            sums = sums._replace(fault=_placed(sums.fault, self._done, numbers))
        self._done += batches
        self._sums = sums if is_whole else added(training.engine, data, plan.loss, self._sums, sums)
        if self._report is not None:
            self._report(self._sums.loss, self._sums.hits, self._sums.samples - self._sums.skipped, self._sums.samples)
        return sums

    def _tell_listeners(self, sums: Sums) -> bool:
        """Return whether one of them ends the training after this update."""
        loss = math.nan if sums.skipped == sums.samples else sums.loss
        wishes = [callback.on_batch_end(self._network, self._updates, loss) for callback in self._listeners]
        return _any(self._plan, any(wishes))  # each is called


def _placed(fault: str, done: int, numbers: Labels | None) -> str:
    """Return where values went bad by the numbers of batch and sample in the epoch, given those in a part of it."""
    batch, _, where = fault.partition(":")
    sample = re.fullmatch(r" sample (\d+) of the input", where)
    if sample and numbers is not None:
        where = f" sample {numbers[int(sample[1])]} of the input"
    return f"batch {int(batch.removeprefix('batch ')) + done}:{where}"
