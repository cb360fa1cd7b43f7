"""The estimators: scikit-learn's side of a `ranvier.Network`, which trains and predicts by itself."""

from __future__ import annotations

import math
import warnings
from typing import Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from ranvier.checks import boolean, integer
from ranvier.data import held_out
from ranvier.history import History
from ranvier.layers import LogSoftmax, Sigmoid, Softmax
from ranvier.losses import (
    BCELoss,
    BCEWithLogitsLoss,
    CrossEntropyLoss,
    HingeLoss,
    Loss,
    MSELoss,
    checked_loss,
)
from ranvier.network import Network
from ranvier.optimizers import Optimizer
from ranvier.sklearn.inputs import Samples, checked_weights, network_samples, validation_data
from ranvier.sklearn.parts import Layers, made_layers, mlp_layers, optimizer_for, stopping
from ranvier.types import Array

__all__ = ["NetworkClassifier", "NetworkRegressor"]

_AUTO_BATCH = 200
_LARGEST_SEED = 2**31 - 1
# Losses that take one output for two classes, which is compared with 0, or with 1/2.
_AROUND_ZERO = (BCEWithLogitsLoss, HingeLoss)
_OF_ONE_OUTPUT = (*_AROUND_ZERO, BCELoss)
_WITH_PROBABILITIES = (CrossEntropyLoss, BCEWithLogitsLoss, BCELoss)
# Parameters that only describe a multilayer perceptron, and their usual values.
_OF_PERCEPTRON = {
    "hidden_layer_sizes": (100,),
    "activation": "relu",
    "alpha": 0.0001,
    "dropout": 0.0,
    "batch_norm": False,
}


class _Given(NamedTuple):
    """Samples as they were handed over."""

    x: Any
    y: Any
    sample_weight: Any


def _outputs_of(network: Network) -> int:
    """Return how many numbers a network gives for a sample."""
    assert network.input_shape is not None
    return math.prod(network.shapes(network.input_shape)[-1])


class _NetworkEstimator(BaseEstimator):  # type: ignore[misc]  # which has no types
    """What the estimators share: everything but the targets."""

    network_: Network
    n_iter_: int
    _penalty_samples: float

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        layers: Any = None,
        loss: Any = None,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        dropout: Any = 0.0,
        batch_norm: Any = False,
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 0.0001,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        callbacks: Any = (),
        dtype: Any = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.layers = layers
        self.loss = loss
        self.solver = solver
        self.alpha = alpha
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.batch_size = batch_size
        self.learning_rate_init = learning_rate_init
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.callbacks = callbacks
        self.dtype = dtype

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.three_d_array = self.layers is not None
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        X_val: Any = None,
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> Any:
        """Train a new network; with ``warm_start``, go on with the one that there is.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)
            With ``layers`` also arrays of more axes, such as images.
        y : array_like
        sample_weight : array_like, shape (n,), optional
            A sample of weight 2 counts as if it were there twice.
        X_val, y_val, sample_weight_val : optional
            Samples to validate with after each epoch, in place of ``validation_fraction``. Without
            ``early_stopping`` they are only recorded, in ``history_``.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or an argument is unfit.
        FloatingPointError
            If the loss or a gradient is infinite or NaN.
        """
        epochs, goes_on = integer(self.max_iter, "max_iter", 1), boolean(self.warm_start, "warm_start")
        validation = None
        if X_val is not None and y_val is not None:
            validation = _Given(X_val, y_val, sample_weight_val)
        elif X_val is not None or y_val is not None or sample_weight_val is not None:
            raise ValueError("X_val: expected it together with y_val, got one of them alone")
        before = self._train(_Given(X, y, sample_weight), epochs, goes_on, validation)
        self.n_iter_ = self.network_.epochs_trained - before
        if self.n_iter_ == epochs and self.tol is not None:
            warnings.warn(
                f"max_iter: the loss was still falling after {epochs} epochs; allow more, or set tol=None to train "
                f"for so many without a test",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def _train(
        self,
        given: _Given,
        epochs: int,
        goes_on: bool,
        validation: _Given | None = None,
        classes: Any = None,
        partial: bool = False,
    ) -> int:
        """Train for some epochs, and return how many the network had before."""
        goes_on = goes_on and hasattr(self, "network_")
        loss = None if self.loss is None else checked_loss(self.loss)
        optimizer = self._optimizer()
        stop = None if partial else stopping(self.early_stopping, self.tol, self.n_iter_no_change)
        of_classes = self._weights_of_classes(partial)

        dtype = self.network_.dtype if goes_on else self._dtypes()
        x, y = self._validated(given, dtype, reset=not goes_on)
        weights = checked_weights(given.sample_weight, of_classes, y, len(y), "sample_weight")
        if not goes_on:
            self._learn(y, classes)
        elif classes is not None:
            self._require_same(classes)
        samples = Samples(x, self._encoded(y, "y"), weights)
        size = self._size_of_batch(len(y))
        if not goes_on:
            self._penalty_samples = size if weights is None else size * float(np.mean(weights))
        network = self._network(x.shape[1:], x.dtype, goes_on)
        held = None
        if validation is not None:
            x, y = self._validated(validation, x.dtype, reset=False)
            weights = checked_weights(validation.sample_weight, of_classes, y, len(y), "sample_weight_val")
            held = Samples(x, self._encoded(y, "y_val"), weights)
        elif stop is not None and stop.monitor == "val_loss":
            samples, held = self._split(samples, network.seed)

        before = network.epochs_trained
        try:
            network.fit(
                network_samples(samples.x),
                samples.y,
                epochs=epochs,
                batch_size=min(size, len(samples.y)),
                loss=self._usual_loss(network) if loss is None else loss,
                sample_weight=samples.weights,
                optimizer=optimizer,
                validation_data=None if held is None else validation_data(held),
                callbacks=[*([] if stop is None else [stop]), *self.callbacks],
                shuffle=self.shuffle,
                progress=bool(self.verbose),
            )
        except KeyboardInterrupt:
            self.network_ = network  # what was trained stays
            raise
        self.network_ = network
        return before

    # --- the network ----------------------------------------------------------------------------------------

    def _optimizer(self) -> Optimizer:
        betas = self.beta_1, self.beta_2
        rate, momentum, nesterov = self.learning_rate_init, self.momentum, self.nesterovs_momentum
        return optimizer_for(self.solver, rate, momentum, nesterov, betas, self.epsilon)

    def _network(self, sample_shape: tuple[int, ...], dtype: Any, goes_on: bool) -> Network:
        """Return a new network for the targets that were learned, or the one to go on with."""
        if goes_on and self.layers is not None:
            return self.network_
        layers = self._layers(sample_shape)
        if goes_on:
            if tuple(layers) != self.network_.layers:
                raise ValueError(
                    "warm_start: expected the parameters of the layers as they were, got others; fit without it, or "
                    "a clone()"
                )
            return self.network_
        seed = int(check_random_state(self.random_state).randint(_LARGEST_SEED))
        network = Network(layers, seed=seed, dtype=dtype)
        network.input_shape = sample_shape
        self._require_outputs(_outputs_of(network))
        return network

    def _layers(self, sample_shape: tuple[int, ...]) -> Layers:
        if self.layers is None:
            l2 = self.alpha / self._penalty_samples
            inputs, outputs = sample_shape[0], self._wanted_outputs()
            return mlp_layers(
                inputs, self.hidden_layer_sizes, outputs, self.activation, l2, self.dropout, self.batch_norm
            )
        for name, usual in _OF_PERCEPTRON.items():
            if getattr(self, name) != usual:
                raise ValueError(
                    f"{name}: expected none with layers, which say it themselves, got {getattr(self, name)!r}"
                )
        return made_layers(self.layers, sample_shape, self._wanted_outputs())

    def _size_of_batch(self, samples: int) -> int:
        if isinstance(self.batch_size, str):
            if self.batch_size != "auto":
                raise ValueError(f"batch_size: expected 'auto', an int or None, got {self.batch_size!r}")
            return min(_AUTO_BATCH, samples)
        return samples if self.batch_size is None else min(integer(self.batch_size, "batch_size", 1), samples)

    @property
    def history_(self) -> History:
        """What each epoch came to, since the network was made."""
        check_is_fitted(self)
        history = self.network_.history
        assert history is not None
        return history

    @property
    def loss_curve_(self) -> list[float]:
        """The loss of each epoch, without penalties."""
        return self.history_.loss

    @property
    def validation_loss_curve_(self) -> list[float]:
        """The loss of the validation samples after each epoch; empty if there were none."""
        return self.history_.val_loss

    @property
    def loss_(self) -> float:
        """The loss of the last epoch."""
        return self.loss_curve_[-1]

    # --- samples --------------------------------------------------------------------------------------------

    def _dtypes(self) -> Any:
        """Return what dtypes samples may stay of; by itself the network's follows them."""
        return (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)

    def _validated(self, given: _Given, dtype: Any, reset: bool) -> tuple[Any, Any]:
        """Return samples and targets as scikit-learn checks them, of the dtype or the first of some."""
        options = {"accept_sparse": "csr", "allow_nd": self.layers is not None, "multi_output": True}
        x, y = validate_data(self, given.x, given.y, dtype=dtype, reset=reset, y_numeric=is_regressor(self), **options)
        if issparse(y):
            y = y.toarray()
        return x, column_or_1d(y, warn=True) if self._is_flattened(y) else y

    def _split(self, samples: Samples, seed: int) -> tuple[Samples, Samples]:
        """Return the samples to train on, and those to hold out, which are the same for a network each time."""
        count = held_out(self.validation_fraction, len(samples.y))
        are_labels = samples.y.ndim == 1 and samples.y.dtype == np.int64
        numbers, held = train_test_split(
            np.arange(len(samples.y)),
            test_size=count,
            random_state=seed,
            stratify=samples.y if are_labels else None,
        )
        return samples.take(numbers), samples.take(held)

    def _samples(self, x: Any) -> Any:
        """Return samples to predict as the network reads them."""
        check_is_fitted(self)
        options = {"accept_sparse": "csr", "allow_nd": self.layers is not None}
        return network_samples(validate_data(self, x, dtype=self.network_.dtype, reset=False, **options))

    def _outputs(self, x: Any) -> Array:
        """Return the network's outputs, one row for each sample."""
        samples = self._samples(x)
        outputs = self.network_.predict(samples)
        return outputs.reshape(len(outputs), -1)

    # --- targets, which the estimators know -----------------------------------------------------------------

    def _is_flattened(self, y: Any) -> bool:
        """Return whether a single column of targets is taken as one axis."""
        raise NotImplementedError

    def _learn(self, y: Any, classes: Any) -> None:
        """Take note of what kind the targets are of."""
        raise NotImplementedError

    def _require_same(self, classes: Any) -> None:
        """Check that classes are those that were learned."""

    def _encoded(self, y: Any, name: str) -> Array:
        """Return targets as the network takes them."""
        raise NotImplementedError

    def _wanted_outputs(self) -> int:
        raise NotImplementedError

    def _require_outputs(self, outputs: int) -> None:
        raise NotImplementedError

    def _usual_loss(self, network: Network) -> Loss:
        raise NotImplementedError

    def _weights_of_classes(self, partial: bool) -> Any:
        """Return the weights of classes, as scikit-learn writes them."""
        return None


def _has_probabilities(estimator: Any) -> bool:
    """Return whether the loss or the last layer make a classifier's outputs probabilities; raise if they do not."""
    if hasattr(estimator, "network_"):
        layers, loss = estimator.network_.layers, estimator.network_.loss
    else:
        layers, loss = estimator.layers, estimator.loss
    last = layers[-1] if isinstance(layers, list | tuple) and layers else None
    if loss is None or isinstance(loss, _WITH_PROBABILITIES) or isinstance(last, Softmax | LogSoftmax | Sigmoid):
        return True
    raise AttributeError(f"predict_proba: expected a loss or a last layer that gives probabilities, got {loss!r}")


class NetworkClassifier(ClassifierMixin, _NetworkEstimator):  # type: ignore[misc]
    """A network that classifies, as an estimator of scikit-learn.

    Labels may be of any kind, also rows of several labels at once (a "multilabel indicator").

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Of a multilayer perceptron, as in scikit-learn's ``MLPClassifier``.
    activation : {"relu", "tanh", "logistic", "identity"} or layer
        Behind each hidden layer; a layer is one of this library, as ``ranvier.GELU()``.
    layers : sequence of layers, or function, optional
        Any network in place of the perceptron. A function is called as ``layers(shape, outputs)`` with the shape of a
        sample and the number of outputs, which is that of the classes; 1 for two classes, unless the ``loss`` is one
        that needs an output for each.
    loss : Loss or CustomLoss, optional
        `ranvier.CrossEntropyLoss` unless given, or `ranvier.BCEWithLogitsLoss` for a single output or several labels.
    solver : {"adam", "sgd"} or Optimizer
        The names take the parameters that ``MLPClassifier`` gives them; any optimizer of this library has its own.
    alpha : float
        The L2 penalty of the perceptron's weights: divided by the batch's samples, it is the ``l2`` of
        `ranvier.Linear`. Layers of ``layers`` have their own.
    dropout : float
        Behind each hidden layer, from 0 to below 1.
    batch_norm : bool
        Whether each hidden layer has batch normalization before its activation.
    batch_size : int, "auto" or None
        "auto" is 200, or all samples if there are fewer; None takes all samples in one batch.
    learning_rate_init : float or LRScheduler
        A schedule is one of this library, as `ranvier.CosineAnnealingLR`.
    max_iter : int
        The most epochs of a `fit`.
    shuffle : bool
        Whether each epoch takes the samples in a new order.
    random_state : int, RandomState or None
        Of the starting values, of the orders, of dropout and of the samples held out.
    tol : float or None
        The training ends when the loss has not improved by more than this for ``n_iter_no_change`` epochs. None trains
        for ``max_iter`` epochs, unless ``early_stopping`` ends them at the first ones without any improvement.
    verbose : bool
        Whether to show the progress bar of `ranvier.Network.fit`.
    warm_start : bool
        Whether a further `fit` goes on with the network, and with the optimizer's state.
    momentum, nesterovs_momentum
        Of "sgd".
    early_stopping : bool
        Whether to end by the loss of samples that are held out, or of ``X_val``, and keep the best epoch's weights.
    validation_fraction : float
        How many samples to hold out, with the classes in proportion.
    beta_1, beta_2, epsilon : float
        Of "adam".
    n_iter_no_change : int
        The epochs without improvement that end the training.
    class_weight : dict or "balanced", optional
        What the samples of each class weigh, times their own weights.
    callbacks : sequence of Callback or functions
        As in `ranvier.Network.fit`.
    dtype : {"float32", "float64"}, optional
        Of the network. That of X unless given, as in all of scikit-learn; float32 is up to twice as fast.

    Attributes
    ----------
    network_ : Network
        The trained one.
    classes_ : ndarray, shape (classes,)
    n_iter_ : int
        The epochs of the last `fit`; with `partial_fit`, of all its calls.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If the samples came as a frame.
    history_ : History
    loss_, loss_curve_, validation_loss_curve_
        The last epoch's loss, and each epoch's.

    Examples
    --------
    >>> from ranvier.sklearn import NetworkClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = NetworkClassifier((20,), solver=rv.Adam(0.01), max_iter=100, tol=None, random_state=0)
    >>> classifier.fit(X, y).score(X, y) > 0.95
    True
    """

    classes_: Any
    _is_multilabel: bool

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        layers: Any = None,
        loss: Any = None,
        solver: Any = "adam",
        alpha: Any = 0.0001,
        dropout: Any = 0.0,
        batch_norm: Any = False,
        batch_size: Any = "auto",
        learning_rate_init: Any = 0.001,
        max_iter: Any = 200,
        shuffle: Any = True,
        random_state: Any = None,
        tol: Any = 0.0001,
        verbose: Any = False,
        warm_start: Any = False,
        momentum: Any = 0.9,
        nesterovs_momentum: Any = True,
        early_stopping: Any = False,
        validation_fraction: Any = 0.1,
        beta_1: Any = 0.9,
        beta_2: Any = 0.999,
        epsilon: Any = 1e-8,
        n_iter_no_change: Any = 10,
        class_weight: Any = None,
        callbacks: Any = (),
        dtype: Any = None,
    ) -> None:
        super().__init__(
            hidden_layer_sizes,
            activation,
            layers=layers,
            loss=loss,
            solver=solver,
            alpha=alpha,
            dropout=dropout,
            batch_norm=batch_norm,
            batch_size=batch_size,
            learning_rate_init=learning_rate_init,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            callbacks=callbacks,
            dtype=dtype,
        )
        self.class_weight = class_weight

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def partial_fit(self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None) -> NetworkClassifier:
        """Train for one epoch on these samples; the network and the optimizer's state go on from call to call.

        ``early_stopping`` and ``tol`` have no part in it, as there is only one epoch.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array_like, shape (classes,)
            All labels that will ever come; needed at the first call, unless y has several labels at once.

        Returns
        -------
        self
        """
        before = self._train(_Given(X, y, sample_weight), 1, True, classes=classes, partial=True)
        self.n_iter_ = (self.n_iter_ if before else 0) + 1
        return self

    def predict(self, X: Any) -> Any:
        """Return the label of each sample, of those in ``classes_``; rows of 0 and 1 for several labels at once.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)

        Returns
        -------
        ndarray, shape (n,) or (n, classes)
        """
        samples = self._samples(X)
        if self._is_multilabel:
            return (self.network_.predict(samples) > self._middle).astype(np.int64)
        return self.classes_[self.network_.predict_classes(samples)]

    @property
    def _middle(self) -> float:
        """What a single output is compared with."""
        return 0.0 if isinstance(self.network_.loss, _AROUND_ZERO) else 0.5

    def decision_function(self, X: Any) -> Array:
        """Return the network's outputs; for two classes one number each, above 0 for the second.

        Returns
        -------
        ndarray, shape (n,) or (n, classes)
        """
        outputs = self._outputs(X)
        if self._is_multilabel or outputs.shape[1] > 2:
            return outputs
        return (
            outputs[:, 0] - outputs.dtype.type(self._middle) if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
        )

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, in the order of ``classes_``.

        There is none if the loss is no cross-entropy; scikit-learn's ``CalibratedClassifierCV`` finds some then.

        Returns
        -------
        ndarray, shape (n, classes)
        """
        samples = self._samples(X)
        return self.network_.predict_proba(samples)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithms of `predict_proba`."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    # --- labels ---------------------------------------------------------------------------------------------

    def _is_flattened(self, y: Any) -> bool:
        return bool(y.ndim == 1 or y.shape[1] == 1)

    def _learn(self, y: Any, classes: Any) -> None:
        check_classification_targets(y)
        kind = type_of_target(y)
        if kind == "multiclass-multioutput":
            raise ValueError("y: expected one label for each sample, or rows of 0 and 1, got several labels in a row")
        self._is_multilabel = kind == "multilabel-indicator"
        if self._is_multilabel:
            self.classes_ = np.arange(y.shape[1])
            return
        self.classes_ = np.unique(y if classes is None else classes)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected at least two classes, got one class, {self.classes_.tolist()}")

    def _require_same(self, classes: Any) -> None:
        if not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes: expected {self.classes_.tolist()} as at first, got {np.unique(classes).tolist()}"
            )

    def _encoded(self, y: Any, name: str) -> Array:
        check_classification_targets(y)
        if self._is_multilabel:
            if y.ndim != 2 or y.shape[1] != len(self.classes_):
                raise ValueError(f"{name}: expected rows of {len(self.classes_)} labels, got shape {y.shape}")
            return np.asarray(y, dtype=np.float64)
        if y.ndim != 1:
            raise ValueError(f"{name}: expected one label for each sample, got shape {y.shape}")
        numbers = np.minimum(np.searchsorted(self.classes_, y), len(self.classes_) - 1)
        unknown = self.classes_[numbers] != y
        if np.any(unknown):
            raise ValueError(
                f"{name}: expected labels of the classes {self.classes_.tolist()}, got {y[unknown][:1].tolist()[0]!r}"
            )
        return np.asarray(numbers, dtype=np.int64)

    def _wanted_outputs(self) -> int:
        classes = len(self.classes_)
        one_is_enough = self.loss is None or isinstance(self.loss, _OF_ONE_OUTPUT)
        return 1 if classes == 2 and one_is_enough and not self._is_multilabel else classes

    def _require_outputs(self, outputs: int) -> None:
        classes = len(self.classes_)
        if outputs != classes and not (outputs == 1 and classes == 2 and not self._is_multilabel):
            raise ValueError(f"layers: expected {classes} outputs, one for each class, got {outputs}")

    def _usual_loss(self, network: Network) -> Loss:
        is_binary = self._is_multilabel or _outputs_of(network) == 1
        return BCEWithLogitsLoss() if is_binary else CrossEntropyLoss()

    def _weights_of_classes(self, partial: bool) -> Any:
        if partial and isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight: expected a dict for partial_fit, which does not see all samples, got "
                f"{self.class_weight!r}"
            )
        return self.class_weight


class NetworkRegressor(RegressorMixin, _NetworkEstimator):  # type: ignore[misc]
    """A network for regression, of one or several numbers, as an estimator of scikit-learn.

    Parameters
    ----------
    hidden_layer_sizes, activation, solver, alpha, dropout, batch_norm, batch_size, learning_rate_init, max_iter
        As in `NetworkClassifier`; likewise ``shuffle``, ``random_state``, ``tol``, ``verbose``, ``warm_start``,
        ``momentum``, ``nesterovs_momentum``, ``early_stopping``, ``validation_fraction``, ``beta_1``, ``beta_2``,
        ``epsilon``, ``n_iter_no_change``, ``callbacks`` and ``dtype``.
    layers : sequence of layers, or function, optional
        As in `NetworkClassifier`; there are as many outputs as targets.
    loss : Loss or CustomLoss, optional
        `ranvier.MSELoss` unless given, which is twice the squared error of scikit-learn's ``MLPRegressor``.

    Attributes
    ----------
    network_, n_iter_, n_features_in_, feature_names_in_, history_, loss_, loss_curve_, validation_loss_curve_
        As in `NetworkClassifier`.

    Examples
    --------
    >>> from ranvier.sklearn import NetworkRegressor
    >>> X = np.random.default_rng(0).standard_normal((300, 3))
    >>> y = X[:, 0] - 2 * X[:, 1]
    >>> regressor = NetworkRegressor((20,), solver=rv.Adam(0.01), max_iter=50, tol=None, random_state=0)
    >>> regressor.fit(X, y).score(X, y) > 0.95
    True
    """

    _target_shape: tuple[int, ...]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> NetworkRegressor:
        """Train for one epoch on these samples; the network and the optimizer's state go on from call to call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.

        Returns
        -------
        self
        """
        before = self._train(_Given(X, y, sample_weight), 1, True, partial=True)
        self.n_iter_ = (self.n_iter_ if before else 0) + 1
        return self

    def predict(self, X: Any) -> Array:
        """Return the numbers for each sample.

        Parameters
        ----------
        X : array_like, sparse matrix or frame, shape (n, features)

        Returns
        -------
        ndarray, shape (n,) or (n, targets), as y was
        """
        outputs = self._outputs(X)
        return outputs.reshape(len(outputs), *self._target_shape)

    # --- numbers --------------------------------------------------------------------------------------------

    def _is_flattened(self, y: Any) -> bool:
        return bool(y.ndim == 1)

    def _learn(self, y: Any, classes: Any) -> None:
        self._target_shape = tuple(y.shape[1:])

    def _encoded(self, y: Any, name: str) -> Array:
        if y.shape[1:] != self._target_shape:
            raise ValueError(f"{name}: expected targets of shape {self._target_shape} as at first, got {y.shape[1:]}")
        rows: Array = y.reshape(len(y), -1)
        return rows.astype(np.float64) if rows.dtype.kind in "iub" else rows

    def _wanted_outputs(self) -> int:
        return math.prod(self._target_shape)

    def _require_outputs(self, outputs: int) -> None:
        if outputs != self._wanted_outputs():
            raise ValueError(f"layers: expected {self._wanted_outputs()} outputs, one for each target, got {outputs}")

    def _usual_loss(self, network: Network) -> Loss:
        return MSELoss()
