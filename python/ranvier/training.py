"""The training loop: epochs, order, progress, validation. Everything inside a batch is the core's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ranvier import _core
from ranvier.history import Evaluation, History
from ranvier.losses import CustomLoss, Loss
from ranvier.types import Array, Labels

if TYPE_CHECKING:
    from ranvier.network import Network

__all__ = ["Callback", "evaluate", "run_epoch", "train"]

Report = Callable[[float, int, int], object]


class Callback(Protocol):
    """Called after each epoch; training ends if it returns True."""

    def __call__(self, network: Network, epoch: int, history: History) -> bool | None:
        """React to the epoch of that number, counted from 1."""


def hits(prediction: Array, target: Any) -> int:
    """Count the samples whose largest output is the target's; for one output, those on the right side of 1/2."""
    rows = prediction.reshape(len(prediction), -1)
    if rows.shape[1] == 1:
        return int(np.sum((rows[:, 0] > 0.5) == (target.reshape(-1) > 0.5)))
    best = target if target.ndim == 1 else target.reshape(len(target), -1).argmax(axis=1)
    return int(np.sum(rows.argmax(axis=1) == best))


def _divisor(loss: Loss | CustomLoss, samples: int, outputs: int) -> float:
    return _core.loss_divisor(loss.kind, samples, outputs) if isinstance(loss, Loss) else samples


def _gradient(loss: Loss | CustomLoss, target: Any, prediction: Array) -> Array:
    return loss.gradient(prediction, target)


def run_epoch(
    network: Network,
    x: Array,
    y: Any,
    order: Labels,
    batch_size: int,
    loss: Loss | CustomLoss,
    optimizers: list[_core.Optimizer],
    report: Report | None,
) -> tuple[float, int, int]:
    """Run one pass over the samples in that order; return the sum of losses, the hits and the samples done."""
    stack = network.engine.single
    if stack and isinstance(loss, Loss):
        plan = stack.plan(x.shape[1:], min(batch_size, len(x)))
        return plan.train_epoch(x, y, order, min(batch_size, len(x)), loss.kind, optimizers[0], report)
    total, right, done = 0.0, 0, 0
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        target = y[batch]
        output = network.engine.step(x[batch], partial(_gradient, loss, target), optimizers)
        outputs = output[0].size
        total += loss(output, target) * _divisor(loss, len(batch), outputs)
        right += hits(output, target)
        done += len(batch)
        if report:
            report(total, right, done)
    return total, right, done


def evaluate(network: Network, x: Array, y: Any, loss: Loss | CustomLoss) -> Evaluation:
    """Return the mean loss and the accuracy of some samples in evaluation mode."""
    stack = network.engine.single
    if stack and isinstance(loss, Loss):
        plan = stack.plan(x.shape[1:], min(len(x), 256))
        total, right = plan.evaluate(x, y, loss.kind)
        outputs = int(np.prod(plan.output_shape))
        return Evaluation(total / _divisor(loss, len(x), outputs), right / len(x))
    prediction = network.engine.predict(x)
    return Evaluation(float(loss(prediction, y)), hits(prediction, y) / len(x))


class _Progress:
    """A bar over the samples of one epoch, with the loss and accuracy so far."""

    def __init__(self, label: str, samples: int, loss: Loss | CustomLoss, outputs: int, visible: bool) -> None:
        from tqdm import tqdm  # here, so that a script that only predicts does not load it

        self._bar = tqdm(total=samples, desc=label, unit=" samples", disable=not visible, leave=True)
        self._loss = loss
        self._outputs = outputs
        self._text = ""

    def report(self, loss_sum: float, right: int, done: int) -> None:
        mean = loss_sum / _divisor(self._loss, done, self._outputs)
        self._text = f"loss={mean:.4f}, accuracy={right / done:.4f}"
        self._bar.set_postfix_str(self._text, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self, validation: Evaluation | None = None) -> None:
        if validation:
            self._text += f", val_loss={validation.loss:.4f}, val_accuracy={validation.accuracy:.4f}"
            self._bar.set_postfix_str(self._text, refresh=True)
        self._bar.close()


def train(
    network: Network,
    x: Array,
    y: Any,
    *,
    epochs: int,
    batch_size: int,
    loss: Loss | CustomLoss,
    optimizers: list[_core.Optimizer],
    validation: tuple[Array, Any] | None,
    callbacks: Iterable[Callback],
    shuffle: bool,
    progress: bool,
    history: History,
) -> None:
    """Train for a number of epochs, adding to the history."""
    outputs = int(np.prod(network.engine.output_shape(x.shape[1:])))
    straight = np.arange(len(x), dtype=np.int64)
    for epoch in range(1, epochs + 1):
        network.epochs_trained += 1
        order = network.shuffled(len(x)) if shuffle else straight
        bar = _Progress(f"Epoch {epoch}/{epochs}", len(x), loss, outputs, progress)
        evaluation = None
        started = time.perf_counter()
        try:
            total, right, done = run_epoch(
                network, x, y, order, batch_size, loss, optimizers, bar.report if progress else None
            )
            seconds = time.perf_counter() - started
            bar.report(total, right, done)
            if validation:
                evaluation = evaluate(network, *validation, loss)
        finally:
            bar.close(evaluation)
        history.loss.append(total / _divisor(loss, done, outputs))
        history.accuracy.append(right / done)
        history.seconds.append(seconds)
        if evaluation:
            history.val_loss.append(evaluation.loss)
            history.val_accuracy.append(evaluation.accuracy)
        wishes = [callback(network, epoch, history) for callback in callbacks]  # each is called
        if any(wishes):
            return
