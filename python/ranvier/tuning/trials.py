"""The search for the settings with the best metric, trial by trial, by Optuna."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np

from ranvier import _core
from ranvier.callbacks import AnyCallback
from ranvier.checks import boolean, integer
from ranvier.history import History
from ranvier.network import Network
from ranvier.tuning.space import Dimension, checked_space
from ranvier.tuning.splits import Built, Parameters, Split, arrays, fold_indices, splits, train
from ranvier.types import Array

__all__ = ["Search", "Trial", "search"]

Metric = Literal["accuracy", "loss"]

_STATES = {
    "COMPLETE": "complete",
    "PRUNED": "pruned",
    "FAIL": "failed",
    "RUNNING": "running",
    "WAITING": "waiting",
}


@dataclass(frozen=True)
class Trial:
    """One setting that was tried.

    Attributes
    ----------
    number : int
        From 0, in the order of their starts.
    parameters : dict of str
        The value of each name of the space.
    value : float or None
        The metric: of a complete trial, the mean over its folds; of a pruned one, its last. None if it failed.
    state : {"complete", "pruned", "failed", "running", "waiting"}
        Pruned: given up early. Failed: the training met numbers that are infinite or NaN. Running and waiting are those
        of others that share the study.
    """

    number: int
    parameters: Parameters
    value: float | None
    state: str


@dataclass(frozen=True)
class Search:
    """What `search` found.

    Attributes
    ----------
    best : Trial
        The complete one with the best metric.
    trials : tuple of Trial
        All of the study, in the order of their starts.
    study : optuna.Study
        For Optuna's own analyses and plots.
    """

    best: Trial
    trials: tuple[Trial, ...]
    study: Any


class _Objective:
    """The metric of a setting, as Optuna asks for it."""

    def __init__(
        self,
        build: Callable[[Parameters], Built],
        space: dict[str, Dimension],
        splits: Callable[[], Iterator[Split]],
        metric: Metric,
        options: Parameters,
        pruning: bool,
    ) -> None:
        self._build, self._space, self._splits = build, space, splits
        self._metric, self._options, self._pruning = metric, options, pruning
        self.error: BaseException | None = None

    def __call__(self, trial: Any) -> float:
        """Return the metric; note an error that ends the search, as Optuna passes over those of its threads."""
        from optuna import TrialPruned

        try:
            return self._mean(trial)
        except (TrialPruned, FloatingPointError):
            raise
        except BaseException as error:
            self.error = error
            trial.study.stop()
            raise

    def _mean(self, trial: Any) -> float:
        """Train a network of the trial's setting on each split, and return the mean of the metric."""
        parameters = {name: dimension._suggest(trial, name) for name, dimension in self._space.items()}
        scores: list[float] = []
        steps = itertools.count(1)
        for split in self._splits():
            observe = self._observer(trial, scores, steps) if self._pruning else None
            evaluation = train(self._build(dict(parameters)), split, self._options, observe)
            scores.append(_score(getattr(evaluation, self._metric)))
        return float(np.mean(scores))

    def _observer(self, trial: Any, scores: list[float], steps: Iterator[int]) -> AnyCallback:
        """Return a callback that tells Optuna the metric after each epoch, and ends a trial without prospects."""
        from optuna import TrialPruned

        def observe(network: Network, epoch: int, history: History) -> None:
            latest = _score((getattr(history, f"val_{self._metric}") or [None])[-1])
            trial.report(float(np.mean([*scores, latest])), next(steps))
            if trial.should_prune():
                raise TrialPruned

        return observe


def _score(value: float | None) -> float:
    if value is None:
        raise ValueError("metric: expected 'loss' with targets that are numbers and not classes, got 'accuracy'")
    return value


@contextlib.contextmanager
def _threads_shared(jobs: int) -> Iterator[None]:
    """Divide the library's threads by the number of jobs."""
    if jobs == 1:
        yield
        return
    before = _core.num_threads()
    _core.set_num_threads(0)
    usual = _core.num_threads()
    _core.set_num_threads(max(1, before // jobs))
    try:
        yield
    finally:
        _core.set_num_threads(0 if before == usual else before)


@contextlib.contextmanager
def _quiet(optuna: ModuleType) -> Iterator[None]:
    """Keep Optuna from writing a line for each trial."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ImportError("the search needs Optuna: pip install 'ranvier[tune]'") from None
    return optuna


def search(
    build: Callable[[Parameters], Built],
    space: Mapping[str, Dimension],
    x: Any,
    y: Any,
    *,
    trials: int,
    folds: int | None = None,
    validation_data: tuple[Any, Any] | None = None,
    epochs: int = 1,
    batch_size: int = 32,
    metric: Metric = "accuracy",
    seed: int = 0,
    jobs: int = 1,
    pruning: bool = True,
    study: Any = None,
    **options: Any,
) -> Search:
    """Search a space for the settings with the best metric on samples that were not trained on.

    The settings come from a tree-structured Parzen estimator (Bergstra et al. 2011), Optuna's usual sampler.

    Parameters
    ----------
    build : function
        Gets a dict with a value for each name of the space. Returns a new network, or a pair of one and a dict of
        arguments for `ranvier.Network.fit`, which go before those given here. Only a network with a seed makes the
        search repeatable.
    space : mapping of str to Real, Integer or Choice
    x, y
        As in `ranvier.Network.fit`.
    trials : int
        How many settings to try, here.
    folds : int, optional
        Each trial is a cross-validation with so many folds (see `cross_validate`); 3 unless given.
    validation_data : pair (x, y), optional
        Instead of folds: each trial trains once, on all of x and y, and is measured on these.
    epochs, batch_size, **options
        As in `ranvier.Network.fit`, for each training; there is no progress bar unless ``progress`` asks for it.
        Callbacks that keep something from epoch to epoch are better made anew by ``build``.
    metric : {"accuracy", "loss"}
        What to make large, or small.
    seed : int
        Of the sampler and the division into folds. With one job, and networks with seeds, a search repeats itself.
    jobs : int
        How many trials to train at once, in threads. Each computes with the library's threads divided by the jobs: this
        is `ranvier.set_num_threads`, and holds for the whole process until the search ends. As the library's workers
        serve one caller at a time, as many jobs as there are threads go best. No result of a training depends on that,
        but which settings are tried does: the sampler knows only the trials that have ended.
    pruning : bool
        Whether to give up a trial, after five complete ones and a quarter of the epochs, if its best metric so far is
        worse than the median of the others' at that epoch.
    study : optuna.Study, optional
        In place of a new one in memory: its trials count, its sampler draws the settings, and its pruner says which
        trials are given up. Studies of one name in one storage are shared by processes and machines: each searches
        with the same data and ``seed``, which then only divides into folds. Its direction must be that of the metric.

    Returns
    -------
    Search
        With ``best``, ``trials`` and Optuna's ``study``.

    Raises
    ------
    ImportError
        If Optuna is not installed, or scikit-learn, which divides into folds.
    TypeError, ValueError
        If an argument is unfit. What ``build`` raises comes through.
    FloatingPointError
        If no trial was complete, as each met numbers that are infinite or NaN. A single such trial counts as failed.

    Examples
    --------
    >>> import ranvier as rv
    >>> from ranvier.tuning import Real
    >>> x = np.random.default_rng(0).standard_normal((90, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> def build(parameters):
    ...     net = rv.Network([rv.Linear(2, 2)], seed=0)
    ...     return net, {"optimizer": rv.SGD(parameters["lr"])}
    >>> space = {"lr": rv.tuning.Real(1e-4, 1, log=True)}
    >>> result = search(build, space, x, y, trials=8, epochs=5)
    >>> result.best.parameters["lr"] > 0.01
    True
    """
    dimensions = checked_space(space)
    samples, targets = arrays(x, y)
    trials, jobs, seed = integer(trials, "trials", 1), integer(jobs, "jobs", 1), integer(seed, "seed", 0)
    options |= {"epochs": integer(epochs, "epochs", 1), "batch_size": integer(batch_size, "batch_size", 1)}
    if metric not in ("accuracy", "loss"):
        raise ValueError(f"metric: expected 'accuracy' or 'loss', got {metric!r}")
    optuna = _optuna()
    splits = _splits_for(samples, targets, folds, validation_data, seed)
    objective = _Objective(build, dimensions, splits, metric, options, boolean(pruning, "pruning"))
    direction = "maximize" if metric == "accuracy" else "minimize"
    if study is not None:
        _require_direction(study, direction, optuna)
    with _quiet(optuna), _threads_shared(jobs):
        if study is None:
            study = optuna.create_study(
                direction=direction,
                sampler=optuna.samplers.TPESampler(seed=seed),
                pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 4),
            )
        study.optimize(objective, n_trials=trials, n_jobs=jobs, catch=(FloatingPointError,))
    if objective.error is not None:
        raise objective.error
    return _result(study)


def _require_direction(study: Any, direction: str, optuna: ModuleType) -> None:
    if not isinstance(study, optuna.Study):
        raise TypeError(f"study: expected an optuna.Study, got {type(study).__name__}")
    directions = [own.name.lower() for own in study.directions]
    if directions != [direction]:
        raise ValueError(f"study: expected the direction {direction!r}, which the metric has, got {directions}")


def _splits_for(
    x: Array, y: Array, folds: int | None, validation_data: Any, seed: int
) -> Callable[[], Iterator[Split]]:
    """Return a function that gives each trial its splits."""
    if validation_data is None:
        indices = fold_indices(y, integer(3 if folds is None else folds, "folds", 2), seed)
        return lambda: splits(x, y, indices)
    if folds is not None:
        raise ValueError(f"folds: expected none with validation_data, got {folds}")
    if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
        raise TypeError("validation_data: expected a pair (x, y)")
    x_held_out, y_held_out = validation_data
    return lambda: iter([(x, y, x_held_out, y_held_out)])


def _result(study: Any) -> Search:
    trials = tuple(
        Trial(trial.number, dict(trial.params), trial.value, _STATES[trial.state.name]) for trial in study.trials
    )
    if not any(trial.state == "complete" for trial in trials):
        raise FloatingPointError(f"each of {len(trials)} trials met numbers that are infinite or NaN")
    return Search(trials[study.best_trial.number], trials, study)
