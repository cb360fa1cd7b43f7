"""Training step by step (forward, backward, update), and the state that goes from one step to the next."""

from __future__ import annotations

import contextlib
import copy
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ranvier import _core
from ranvier.batches import ArrayBatches, Batches
from ranvier.checks import as_values, integer, nonnegative
from ranvier.custom_losses import gradient_of, value_of
from ranvier.data import Data, has_classes
from ranvier.engine import Engine
from ranvier.epoch_metrics import Metrics, Tally
from ranvier.history import Evaluation, History
from ranvier.joint_losses import JointLoss, LossOfRows
from ranvier.layers import Layer, Linear, PlainLayer, Sigmoid, Softmax
from ranvier.losses import (
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    CustomLoss,
    FocalLoss,
    Loss,
    NLLLoss,
    SumSquaredResidualsLoss,
)
from ranvier.optimizers import Optimizer, checked_optimizer
from ranvier.types import Array, Labels, Weights

if TYPE_CHECKING:  # loaded where somebody trains together
    from ranvier.distributed import DataParallel

__all__ = [
    "Report",
    "Sums",
    "Training",
    "added",
    "count_hits",
    "evaluate",
    "loss_gradients",
    "run_batches",
    "warn_of_last_layer",
]

Report = Callable[[float, int, int, int], object]  # mean loss, hits, of how many samples, samples done

# What a schedule is asked for at a time.
_RATES_AHEAD = 512


def count_hits(prediction: Array, target: Any) -> int:
    """Count the samples whose largest output is the target's; for one output, those on the right side of 1/2."""
    rows = prediction.reshape(len(prediction), -1)
    if rows.shape[1] == 1:
        return int(np.sum((rows[:, 0] > 0.5) == (target.reshape(-1) > 0.5)))
    best = target if target.ndim == 1 else target.reshape(len(target), -1).argmax(axis=1)
    return int(np.sum(rows.argmax(axis=1) == best))


def _in_core(loss: Loss | CustomLoss, data: Data) -> Any:
    """Return the loss as a trainer takes it: a specification, or a function of predictions and sample numbers."""
    if isinstance(loss, Loss):
        return loss.spec()

    def compare(prediction: Array, samples: Labels) -> tuple[float, float, int, Array]:
        target = data.y[samples]
        weights = None if data.weights is None else data.weights[samples]
        weight = len(samples) if weights is None else float(weights.sum())
        if isinstance(loss, LossOfRows) and weight:
            value, gradient = loss.with_gradient(prediction, target, weights)
        else:
            value = value_of(loss, prediction, target, weights)
            gradient = gradient_of(loss, prediction, target, weights)
        outputs = math.prod(prediction.shape[1:])
        hits = count_hits(prediction, target) if has_classes(loss, target, outputs) else 0
        return value * weight, weight, hits, gradient

    return compare


def _weights_in_core(loss: Loss | CustomLoss, data: Data) -> Weights | None:
    """Return the weights as a trainer takes them; a loss of your own has them already."""
    return data.weights if isinstance(loss, Loss) else None


class Sums(NamedTuple):
    """What passes over batches come to."""

    loss: float  # the mean
    hits: int
    samples: int
    skipped: int  # of these, in batches that made no update
    fault: str  # where the first batch that is not finite went bad
    total: float  # the sum that the mean is of, and the weight of its samples
    weight: float


def run_batches(
    engine: Engine,
    data: Data,
    order: Labels,
    batch_size: int,
    loss: Loss | CustomLoss,
    optimizer: _core.Optimizer,
    learning_rates: Array | None = None,
    on_nonfinite: str = "raise",
    report: Report | None = None,
    losses: Array | None = None,
    tally: Tally | None = None,
    accumulation: _core.GradientAccumulation | None = None,
    together: DataParallel | None = None,
    is_own: bool = False,
) -> Sums:
    """Train on the samples in that order, with learning rates for each update or the optimizer's own.

    ``losses``, if given, receives the mean loss of each batch, and ``tally`` what its metrics need. With an
    ``accumulation``, which may have batches already, an update is made whenever it has as many as it wants. The samples
    are all that those take who train ``together``, or, if ``is_own``, this rank's alone; sums are over all.
    """
    numbers, positions, bounds = order, None, None
    if together is not None:
        share = together.share_of_own if is_own else together.share
        positions, bounds = share(len(order), batch_size)
        numbers = order[positions]
    batch_size = min(batch_size, len(data.x))
    trainer = engine.trainer(data.x.shape[1:], batch_size)
    record = _Record(tally, loss, (len(numbers), *trainer.output_shape), engine.dtype)
    with contextlib.nullcontext() if together is None else together.sharing(engine, trainer, optimizer) as core:
        sums = Sums(
            *trainer.train_epoch(
                data.x,
                data.y,
                numbers,
                batch_size,
                _in_core(loss, data),
                optimizer,
                learning_rates,
                on_nonfinite,
                report,
                _weights_in_core(loss, data),
                losses,
                record.predictions,
                record.errors,
                accumulation,
                core,
                bounds,
            )
        )
    done = sums.samples
    if together is not None:
        done = len(numbers)
        if sums.fault:
            sums = sums._replace(fault=together.fault(sums.fault))
    record.finish(done, sums.samples - sums.skipped, lambda: data.y[numbers[:done]], positions)
    return sums


class _Record:
    """What the core writes down of outputs, for a tally."""

    def __init__(
        self, tally: Tally | None, loss: Loss | CustomLoss, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._tally, self._loss = tally, loss
        self.predictions = None if tally is None or not tally.wants_predictions(loss) else np.empty(shape, dtype)
        self.errors = tally.errors if tally is not None and isinstance(loss, Loss) else None

    def finish(self, samples: int, used: int, targets: Callable[[], Array], numbers: Labels | None = None) -> None:
        """Add up what samples came to, of which so many were used; the numbers say what order they are in."""
        if self._tally is None:
            return
        self._tally.add(used)
        if self.predictions is not None:
            self._tally.add_predictions(targets(), self.predictions[:samples], self._loss, numbers)


def added(engine: Engine, data: Data, loss: Loss | CustomLoss, one: Sums, other: Sums) -> Sums:
    """Return what two passes over these data come to, one behind the other."""
    total, weight = one.total + other.total, one.weight + other.weight
    return Sums(
        loss=engine.trainer(data.x.shape[1:], 1).mean_loss(_in_core(loss, data), total, weight),
        hits=one.hits + other.hits,
        samples=one.samples + other.samples,
        skipped=one.skipped + other.skipped,
        fault=one.fault or other.fault,
        total=total,
        weight=weight,
    )


def loss_gradients(engine: Engine, data: Data, loss: Loss | CustomLoss) -> dict[str, Array]:
    """Return the gradients of one batch's loss with the layers' penalties, by parameter name."""
    trainer, weights = engine.trainer(data.x.shape[1:], len(data.x)), _weights_in_core(loss, data)
    _, _, flat = trainer.gradients(data.x, data.y, _in_core(loss, data), weights)
    parts = engine.parts(flat)
    return {name: np.array(parts[name], order="C") for name in engine.trained}


def evaluate(
    engine: Engine,
    batches: Batches,
    loss: Loss | CustomLoss,
    metrics: Metrics,
    together: DataParallel | None = None,
) -> Evaluation:
    """Return the mean loss of all samples in evaluation mode, their accuracy if they have classes, and metrics.

    Those who train ``together`` share out the samples, but for streams, of which each has its own.
    """
    tally = metrics.tally()
    if together is None:
        parts = [_evaluate(engine, part.data, loss, metrics, tally) for part in batches.parts()]
    else:
        parts = _evaluate_together(engine, batches, loss, metrics, tally, together)
    means, hits, weights, samples = (list(column) for column in zip(*parts, strict=True))
    accuracy = sum(hits) / sum(samples) if metrics.has_classes else None
    return Evaluation(_mean(means, weights, loss), accuracy, tally.results())


def _evaluate_together(
    engine: Engine, batches: Batches, loss: Loss | CustomLoss, metrics: Metrics, tally: Tally, together: DataParallel
) -> list[tuple[float, int, float, int]]:
    """Return what each part of the samples comes to, also those of others."""
    own_parts: list[Batches] = [batches]
    if isinstance(batches, ArrayBatches):
        own_parts = [batches.block(block) for block in together.blocks(batches.samples)]
    rows = np.zeros((len(own_parts), 4))
    for row, own in zip(rows, own_parts, strict=True):
        sums = [_evaluate(engine, part.data, loss, metrics, tally) for part in own.parts() if len(part.data.x)]
        if sums:
            means, hits, weights, samples = (list(column) for column in zip(*sums, strict=True))
            row[:] = _mean(means, weights, loss), sum(hits), sum(weights), sum(samples)
    together.join(tally, counts_are_own=True)
    return [
        (mean, int(hits), weight, int(samples))
        for mean, hits, weight, samples in together.gathered_parts(rows).tolist()
    ]


def _evaluate(
    engine: Engine, data: Data, loss: Loss | CustomLoss, metrics: Metrics, tally: Tally
) -> tuple[float, int, float, int]:
    """Return the mean loss of samples, their hits, their weight and their number."""
    samples = len(data.x)
    if isinstance(loss, Loss):
        predictor = engine.predictor(data.x.shape[1:])
        record = _Record(tally, loss, (samples, *predictor.output_shape), engine.dtype)
        mean, hits, _, weight = predictor.evaluate(
            data.x, data.y, loss.spec(), data.weights, record.predictions, record.errors
        )
        record.finish(samples, samples, lambda: data.y)
        return mean, hits, weight, samples
    prediction = engine.predict(data.x)
    tally.add(samples)
    if tally.wants_predictions(loss):
        tally.add_predictions(data.y, prediction, loss)
    hits = count_hits(prediction, data.y) if metrics.has_classes else 0
    weight = float(samples) if data.weights is None else float(data.weights.sum())
    return value_of(loss, prediction, data.y, data.weights), hits, weight, samples


def _mean(means: list[float], weights: list[float], loss: Loss | CustomLoss) -> float:
    """Return what the mean losses of parts are as a whole."""
    if len(means) == 1:
        return means[0]
    if isinstance(loss, SumSquaredResidualsLoss):
        return sum(means)
    parts = [(mean * weight, weight) for mean, weight in zip(means, weights, strict=True) if weight]
    return sum(total for total, _ in parts) / sum(weight for _, weight in parts) if parts else math.nan


def warn_of_last_layer(last: Layer | PlainLayer | None, loss: Loss | CustomLoss) -> None:
    """Warn if the network ends with a function that the loss applies itself, or without one that it needs."""
    if isinstance(loss, NLLLoss) and isinstance(last, Linear | Softmax):
        warnings.warn(
            "NLLLoss takes logarithms of probabilities, which the network's last layer does not give; end it with "
            "LogSoftmax, or take CrossEntropyLoss without a last softmax",
            UserWarning,
            stacklevel=3,
        )
    for layer, own in ((Softmax, CrossEntropyLoss), (Sigmoid, BCEWithLogitsLoss), (Sigmoid, FocalLoss)):
        if isinstance(last, layer) and isinstance(loss, own):
            warnings.warn(
                f"{own.__name__} takes outputs from before a {layer.__name__} and applies one itself, so the network's "
                f"last layer makes it two; leave that layer out",
                UserWarning,
                stacklevel=3,
            )


class _ReadyStep(NamedTuple):
    """A training step with everything made ready but the arrays."""

    loss: object  # as the caller gave it, likewise the optimizer
    optimizer: object
    trainer: _core.Trainer
    run: _core.TrainStep

    def is_for(self, loss: object, optimizer: object, trainer: _core.Trainer | None) -> bool:
        """Return whether it is that of these objects."""
        return self.loss is loss and self.optimizer is optimizer and self.trainer is trainer


class Training:
    """What a network's training goes on with from one step to the next.

    Parameters
    ----------
    engine : Engine

    Attributes
    ----------
    engine : Engine
    optimizer : Optimizer or None
        The settings used last.
    state : _core.Optimizer or None
        The state that belongs to them.
    loss : Loss, CustomLoss, JointLoss or None
        The loss used last; a JointLoss alone if it comes from a file.
    epochs : int
        The number of epochs that `fit` has begun, by which the orders of the samples are numbered.
    history : History or None
        The history of these epochs.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.optimizer: Optimizer | None = None
        self.state: _core.Optimizer | None = None
        self.loss: Loss | CustomLoss | JointLoss | None = None
        self.epochs = 0
        self.history: History | None = None
        self._factor = 1.0
        self._added = False  # whether a backward pass has added gradients that no step has used
        self._shown = False  # whether the user may have written to the gradients
        self._ready: _ReadyStep | None = None
        self._ahead: tuple[int, list[list[float]]] = 0, []  # learning rates from that update on

    @property
    def factor(self) -> float:
        """What multiplies the optimizer's learning rate."""
        return self._factor

    @factor.setter
    def factor(self, factor: float) -> None:
        self._factor = nonnegative(factor, "learning_rate_factor")
        self._ahead = 0, []

    def use(self, optimizer: Any) -> _core.Optimizer:
        """Return the state for an optimizer: the last one's, if they differ at most in a rate that is a number."""
        if self.state is not None and optimizer is self.optimizer:
            return self.state
        checked, last = checked_optimizer(optimizer), self.optimizer
        self.require_trained(checked)
        differs = last is None or last != checked
        if self.state is None or last is None or (differs and not last.differs_in_rate(checked)):
            self.state = checked.create(self.engine.parameters)
        if differs:
            self.factor = 1.0  # and no rates ahead
        self.optimizer = checked
        self._ready = None
        return self.state

    def require_trained(self, optimizer: Optimizer) -> None:
        """Raise unless the optimizer fits the parameters, of which one at least is not frozen."""
        names = self.engine.parameters.names
        optimizer.grouped(names)
        if names and not self.engine.trained:
            raise RuntimeError("training: expected parameters to train, but all are frozen; unfreeze() some")

    def learning_rates(self) -> float | list[float]:
        """Return the learning rates of the next update, in a loop that has no epochs: a number if it is one."""
        optimizer, state = self.optimizer, self.state
        assert optimizer is not None
        assert state is not None
        rate = optimizer.lr
        if isinstance(rate, float) and not optimizer.groups:
            return self._factor * rate
        update = state.steps
        first, rates = self._ahead
        if not first <= update < first + len(rates):
            rates = (self._factor * optimizer.all_rates(update, _RATES_AHEAD, None)).tolist()
            first = update
            self._ahead = first, rates
        return rates[update - first]

    # --- steps ----------------------------------------------------------------------------------------------

    def forward(self, x: Any) -> Array:
        """Return the outputs in training mode."""
        return self.engine.trainer(x.shape[1:], len(x)).forward(x, True)

    def backward(self, grad: Array, input_gradient: bool) -> Array | None:
        """Add to the gradients those that belong to the last forward pass."""
        trainer = self.engine.latest_trainer
        if trainer is None:
            raise RuntimeError("backward: expected a forward pass before it, got none")
        if not input_gradient and self.engine.parameters.names and not self.engine.trained:
            raise RuntimeError(
                "backward: expected parameters to train, but all are frozen; unfreeze() some, or ask for the "
                "input_gradient"
            )
        grad_x = trainer.backward(grad, input_gradient, self._added or self._shown)
        self._added = True
        return grad_x

    def gradients(self) -> dict[str, Array]:
        """Return views of what backward passes have added up."""
        self._shown = True
        parts = self.engine.parts(self.engine.parameters.flat_accumulated)
        return {name: parts[name] for name in self.engine.trained}

    def zero_gradients(self) -> None:
        """Forget what backward passes have added up."""
        if self._added or self._shown:
            self.engine.parameters.flat_accumulated[...] = 0
        self._added = self._shown = False

    def require_no_gradients(self) -> None:
        """Raise unless backward passes have left nothing behind."""
        if self._added:
            raise RuntimeError(
                "gradients: expected none, but backward() has added some that no step() has used; call step(), or "
                "zero_grad() to forget them"
            )

    def step(self, optimizer: Optimizer) -> None:
        """Update the parameters from what backward passes have added up."""
        trainer = self.engine.latest_trainer
        if trainer is None or not (self._added or self._shown):
            raise RuntimeError("step: expected gradients, got none since the last step; call backward() before it")
        state = self.use(optimizer)
        state.set_learning_rates(self.learning_rates())
        if name := trainer.step(state):
            raise FloatingPointError(f"gradients: {name} has numbers that are infinite or NaN; nothing has changed")
        self._added = self._shown = False

    def ready_step(self, x: Any, y: Any, loss: object, optimizer: object, sample_weight: Any) -> float | None:
        """Return the loss of a training step, or None if it is not like the last one, or something must be checked."""
        ready = self._ready
        if ready is None or self._added or not ready.is_for(loss, optimizer, self.engine.latest_trainer):
            return None
        return ready.run(x, y, sample_weight, self.learning_rates())

    def train_step(
        self, data: Data, loss: Loss | CustomLoss, optimizer: Optimizer, given: tuple[object, object]
    ) -> float:
        """Train on a batch, and return its loss; ``given`` are loss and optimizer as a caller will give them again."""
        self.require_no_gradients()
        state = self.use(optimizer)
        rates = self.learning_rates()
        trainer = self.engine.trainer(data.x.shape[1:], len(data.x))
        ready, value = self._ready, None
        if ready is not None and ready.is_for(*given, trainer):
            value = ready.run(data.x, data.y, data.weights, rates)
        if value is None:
            ready = _ReadyStep(*given, trainer, _core.TrainStep(trainer, state, _in_core(loss, data)))
            value = ready.run(data.x, data.y, data.weights, rates)
            self._ready = ready if isinstance(loss, Loss) else None
        assert value is not None
        self.loss = loss
        return value

    # --- state ----------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Return all that a training needs to go on, with copies of the arrays."""
        with self.engine.parameters.reading():  # all of one moment
            core = self.state
            state: dict[str, Any] = {
                "epochs": self.epochs,
                "training_passes": self.engine.training_passes,
                "optimizer": self.optimizer,
                "updates": 0 if core is None else core.steps,
                "learning_rate_factor": self.factor,
                "frozen": self.engine.parameters.frozen,
                "missed_updates": {} if core is None else core.missed_updates,
            }
            return state | {name: np.array(value, order="C") for name, value in self._moments(core).items()}

    def averages(self) -> dict[str, Array]:
        """Return the exponential moving average of each parameter: itself, if it has not been updated or is frozen."""
        optimizer, state = self.optimizer, self.state
        if optimizer is None or state is None or optimizer.ema_decay is None:
            raise RuntimeError("averaged: expected a training by an optimizer with ema_decay before it, got none")
        missed, parts = state.missed_updates, self.engine.parts(state.state["average"])
        averages = {}
        for name in self.engine.trained:
            if updates := state.steps - missed.get(name, 0):
                averages[name] = parts[name] / (1 - optimizer.ema_decay**updates)  # it began at 0
        return {name: value for name, value in self.engine.values() if name not in averages} | averages

    def _moments(self, state: _core.Optimizer | None) -> dict[str, Array]:
        """Return views of what an optimizer keeps of each parameter."""
        kept = {} if state is None else state.state
        return {f"{part}.{name}": value for part in kept for name, value in self.engine.parts(kept[part]).items()}

    def load_state_dict(self, given: Mapping[str, Any]) -> None:
        """Take over what `state_dict` returned, or nothing if something is wrong with it."""
        numbers = {name: given[name] for name in self.state_dict_numbers() if name in given}
        if missing := self.state_dict_numbers() - numbers.keys():
            raise ValueError(f"state: missing {sorted(missing)}")
        optimizer, state = numbers["optimizer"], None
        if optimizer is not None:
            state = checked_optimizer(optimizer).create(self.engine.parameters)
            state.steps = integer(numbers["updates"], "state: updates", 0)
            state.missed_updates = _missed_updates(numbers["missed_updates"], self.engine.parameters.names)
        frozen = _frozen(numbers["frozen"], [name for name, _ in self.engine.values()])
        own = self._moments(state)
        arrays = {name: value for name, value in given.items() if name not in numbers}
        if arrays.keys() != own.keys():
            raise ValueError(f"state: expected the optimizer's {sorted(own)}, got {sorted(arrays)}")
        for name, value in own.items():
            value[...] = as_values(arrays[name], value.shape, value.dtype, f"state: {name}")
        epochs, passes = (integer(numbers[name], f"state: {name}", 0) for name in ("epochs", "training_passes"))
        factor = nonnegative(numbers["learning_rate_factor"], "state: learning_rate_factor")
        with self.engine.parameters.changing():
            self.factor = factor
            self.epochs, self.optimizer, self.state, self._ready = epochs, optimizer, state, None
            self.engine.set_frozen(frozen)
            self.engine.training_passes = passes

    def copy(self, engine: Engine) -> Training:
        """Return one for a copy of the engine, that goes on likewise."""
        twin = Training(engine)
        twin.load_state_dict(self.state_dict())
        twin.loss = self.loss
        twin.history = copy.deepcopy(self.history)
        return twin

    @staticmethod
    def state_dict_numbers() -> set[str]:
        """Return the names of what is no array in a `state_dict`."""
        return {
            "epochs",
            "training_passes",
            "optimizer",
            "updates",
            "learning_rate_factor",
            "frozen",
            "missed_updates",
        }


def _frozen(given: Any, names: Sequence[str]) -> list[str]:
    if not isinstance(given, list | tuple) or not all(isinstance(name, str) for name in given):
        raise TypeError(f"state: frozen: expected a list of names, got {given!r}")
    if unknown := set(given) - set(names):
        raise ValueError(f"state: frozen: unknown {sorted(unknown)}")
    return [name for name in names if name in given]


def _missed_updates(given: Any, names: Sequence[str]) -> dict[str, int]:
    if not isinstance(given, Mapping):
        raise TypeError(f"state: missed_updates: expected a mapping of names to numbers, got {given!r}")
    if unknown := given.keys() - set(names):
        raise ValueError(f"state: missed_updates: unknown {sorted(unknown)}")
    return {name: integer(count, f"state: missed_updates: {name}", 0) for name, count in given.items()}
