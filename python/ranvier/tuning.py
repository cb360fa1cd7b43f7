"""The search for good settings, and cross-validation. Needs Optuna and scikit-learn, the extra ``tune``.

`search` tries settings from a space of `Real`, `Integer` and `Choice` dimensions; `cross_validate` measures one network
on each part of the data in turn. Both get networks from a function of yours, a new one for each training.
"""

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
from ranvier.checks import boolean, integer, real, set_fields
from ranvier.history import Evaluation, History
from ranvier.network import Network
from ranvier.types import Array, Labels

__all__ = ["Choice", "CrossValidation", "Integer", "Real", "Search", "Trial", "cross_validate", "search"]

Metric = Literal["accuracy", "loss"]
# A network, or one with arguments for Network.fit.
Built = Network | tuple[Network, Mapping[str, Any]]
Parameters = dict[str, Any]
Split = tuple[Any, Any, Any, Any]  # x, y to train on; x, y held out


def _optuna() -> ModuleType:
    try:
        import optuna
    except ImportError:
        raise ImportError("the search needs Optuna: pip install 'ranvier[tune]'") from None
    return optuna


# --- the space ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Real:
    """A real number from ``low`` to ``high``; with ``log``, its logarithm is drawn evenly."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        set_fields(self, low=real(self.low, "low"), high=real(self.high, "high"), log=boolean(self.log, "log"))
        _check_range(self.low, self.high, self.log)

    def _suggest(self, trial: Any, name: str) -> float:
        return float(trial.suggest_float(name, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Integer:
    """An integer from ``low`` to ``high``, both included; with ``log``, its logarithm is drawn evenly."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        least = -(2**31)
        set_fields(
            self,
            low=integer(self.low, "low", least),
            high=integer(self.high, "high", least),
            log=boolean(self.log, "log"),
        )
        _check_range(self.low, self.high, self.log)

    def _suggest(self, trial: Any, name: str) -> int:
        return int(trial.suggest_int(name, self.low, self.high, log=self.log))


@dataclass(frozen=True)
class Choice:
    """One of some options: numbers, strings, bools or None."""

    options: tuple[bool | int | float | str | None, ...]

    def __post_init__(self) -> None:
        if isinstance(self.options, str) or not isinstance(self.options, tuple | list):
            raise TypeError(f"options: expected a sequence, got {self.options!r}")
        if not self.options:
            raise ValueError("options: expected at least one, got none")
        for option in self.options:
            if not isinstance(option, bool | int | float | str | None):
                raise TypeError(f"options: expected numbers, strings, bools or None, got {option!r}")
        set_fields(self, options=tuple(self.options))

    def _suggest(self, trial: Any, name: str) -> Any:
        return trial.suggest_categorical(name, self.options)


Dimension = Real | Integer | Choice


def _check_range(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise ValueError(f"high: expected a number above low = {low}, got {high}")
    if log and low <= 0:
        raise ValueError(f"low: expected a number above 0 for a logarithm, got {low}")


def _checked_space(space: Any) -> dict[str, Dimension]:
    if not isinstance(space, Mapping):
        raise TypeError(f"space: expected a mapping of names to Real, Integer or Choice, got {type(space).__name__}")
    if not space:
        raise ValueError("space: expected at least one name, got none")
    for name, dimension in space.items():
        if not isinstance(name, str) or not isinstance(dimension, Dimension):
            raise TypeError(f"space: expected names with Real, Integer or Choice, got {name!r}: {dimension!r}")
    return dict(space)


# --- training on splits ---------------------------------------------------------------------------------------


def _arrays(x: Any, y: Any) -> tuple[Array, Array]:
    samples, targets = np.asarray(x), np.asarray(y)
    if samples.ndim < 1 or len(samples) == 0:
        raise ValueError(f"x: expected at least one sample, got shape {samples.shape}")
    if targets.ndim < 1 or len(targets) != len(samples):
        raise ValueError(f"y: expected one target for each of {len(samples)} samples, got shape {targets.shape}")
    return samples, targets


def _fold_indices(y: Array, folds: int, seed: int) -> list[tuple[Labels, Labels]]:
    """Return the samples to train on and those held out, for each fold."""
    try:
        from sklearn.model_selection import KFold, StratifiedKFold
    except ImportError:
        raise ImportError("cross-validation needs scikit-learn: pip install 'ranvier[tune]'") from None
    if folds > len(y):
        raise ValueError(f"folds: expected at most the number of samples, {len(y)}, got {folds}")
    labels = y.ndim == 1 and y.dtype.kind in "iub"
    stratified = labels and np.unique(y, return_counts=True)[1].min() >= folds
    splitter = (StratifiedKFold if stratified else KFold)(folds, shuffle=True, random_state=seed)
    return list(splitter.split(np.zeros(len(y)), y))


def _splits(x: Array, y: Array, folds: list[tuple[Labels, Labels]]) -> Iterator[Split]:
    for train, held_out in folds:
        yield x[train], y[train], x[held_out], y[held_out]


def _train(built: Any, split: Split, options: Parameters, observe: AnyCallback | None = None) -> Evaluation:
    """Train what was built on one split, and return how it does on the samples held out."""
    network, own = built if isinstance(built, tuple) and len(built) == 2 else (built, {})
    if not isinstance(network, Network) or not isinstance(own, Mapping):
        raise TypeError(f"build: expected a Network, or a Network and a dict of arguments for fit, got {built!r}")
    arguments: Parameters = {"progress": False, **options, **own}
    if "validation_data" in arguments:
        raise ValueError("build: expected no validation_data, as these are the samples held out")
    x, y, x_held_out, y_held_out = split
    if observe is not None:
        arguments["callbacks"] = [*arguments.get("callbacks", ()), observe]
        arguments["validation_data"] = x_held_out, y_held_out
    network.fit(x, y, **arguments)
    evaluation: Evaluation = network.evaluate(x_held_out, y_held_out, loss=arguments.get("loss"))
    return evaluation


@dataclass(frozen=True)
class CrossValidation:
    """How networks did on the parts of the data that they were not trained on; as text, means and deviations.

    Attributes
    ----------
    evaluations : tuple of Evaluation
        One for each fold.
    """

    evaluations: tuple[Evaluation, ...]

    @property
    def losses(self) -> Array:
        """The loss of each fold, of shape (folds,)."""
        return np.array([evaluation.loss for evaluation in self.evaluations])

    @property
    def accuracies(self) -> Array:
        """The accuracy of each fold, of shape (folds,); NaN if the targets are numbers and not classes."""
        return np.array([evaluation.accuracy for evaluation in self.evaluations], dtype=np.float64)

    def __str__(self) -> str:
        """Return mean and standard deviation of both."""
        parts = [
            f"{name} {values.mean():.4f} ± {values.std():.4f}"
            for name, values in (("loss", self.losses), ("accuracy", self.accuracies))
            if not np.isnan(values).all()
        ]
        return f"{', '.join(parts)} over {len(self.evaluations)} folds"


def cross_validate(
    build: Callable[[], Built],
    x: Any,
    y: Any,
    folds: int = 5,
    *,
    epochs: int = 1,
    batch_size: int = 32,
    seed: int = 0,
    **options: Any,
) -> CrossValidation:
    """Train a new network for each fold of the data on all others, and evaluate it on that fold.

    Parameters
    ----------
    build : function
        Returns a new network, or a pair of one and a dict of arguments for `ranvier.Network.fit`, which go before
        those given here. Only a network with a seed makes the results repeatable.
    x, y
        As in `ranvier.Network.fit`.
    folds : int
        From 2 to the number of samples. If y is labels, and each class has a sample for each fold, all folds have the
        classes in the same proportions.
    epochs, batch_size, **options
        As in `ranvier.Network.fit`, for each training; there is no progress bar unless ``progress`` asks for it.
        Callbacks that keep something from epoch to epoch are better made anew by ``build``.
    seed : int
        Of the division into folds.

    Returns
    -------
    CrossValidation

    Raises
    ------
    ImportError
        If scikit-learn is not installed.
    TypeError, ValueError
        If an argument is unfit.

    Examples
    --------
    >>> import ranvier as rv
    >>> x = np.random.default_rng(0).standard_normal((90, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> result = cross_validate(lambda: rv.Network([rv.Linear(2, 2)], seed=0), x, y, folds=3, epochs=20,
    ...                         optimizer=rv.SGD(0.5))
    >>> bool(result.accuracies.min() > 0.9)
    True
    """
    samples, targets = _arrays(x, y)
    folds, seed = integer(folds, "folds", 2), integer(seed, "seed", 0)
    options |= {"epochs": integer(epochs, "epochs", 0), "batch_size": integer(batch_size, "batch_size", 1)}
    splits = _splits(samples, targets, _fold_indices(targets, folds, seed))
    return CrossValidation(tuple(_train(build(), split, options) for split in splits))


# --- search ---------------------------------------------------------------------------------------------------

_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


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
    state : {"complete", "pruned", "failed"}
        Pruned: given up early. Failed: the training met numbers that are infinite or NaN.
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
        All, in the order of their starts.
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
            evaluation = _train(self._build(dict(parameters)), split, self._options, observe)
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
        How many settings to try.
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
    >>> x = np.random.default_rng(0).standard_normal((90, 2))
    >>> y = (x[:, 0] > x[:, 1]).astype(int)
    >>> def build(parameters):
    ...     net = rv.Network([rv.Linear(2, 2)], seed=0)
    ...     return net, {"optimizer": rv.SGD(parameters["lr"])}
    >>> result = search(build, {"lr": Real(1e-4, 1, log=True)}, x, y, trials=8, epochs=5)
    >>> result.best.parameters["lr"] > 0.01
    True
    """
    dimensions = _checked_space(space)
    samples, targets = _arrays(x, y)
    trials, jobs, seed = integer(trials, "trials", 1), integer(jobs, "jobs", 1), integer(seed, "seed", 0)
    options |= {"epochs": integer(epochs, "epochs", 1), "batch_size": integer(batch_size, "batch_size", 1)}
    if metric not in ("accuracy", "loss"):
        raise ValueError(f"metric: expected 'accuracy' or 'loss', got {metric!r}")
    optuna = _optuna()
    splits = _splits_for(samples, targets, folds, validation_data, seed)
    objective = _Objective(build, dimensions, splits, metric, options, boolean(pruning, "pruning"))
    with _quiet(optuna), _threads_shared(jobs):
        study = optuna.create_study(
            direction="maximize" if metric == "accuracy" else "minimize",
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=epochs // 4),
        )
        study.optimize(objective, n_trials=trials, n_jobs=jobs, catch=(FloatingPointError,))
    if objective.error is not None:
        raise objective.error
    return _result(study)


def _splits_for(
    x: Array, y: Array, folds: int | None, validation_data: Any, seed: int
) -> Callable[[], Iterator[Split]]:
    """Return a function that gives each trial its splits."""
    if validation_data is None:
        indices = _fold_indices(y, integer(3 if folds is None else folds, "folds", 2), seed)
        return lambda: _splits(x, y, indices)
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
