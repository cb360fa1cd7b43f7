"""Losses: what training makes small.

Each is callable on a batch, ``loss(prediction, target) -> float``, and has ``gradient(prediction, target)``.
Targets are rows of the output's size, or integer class labels, which stand for one-hot rows (with a single
output, labels 0 and 1 stand for themselves). A loss of your own is any object with these two methods in NumPy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from ranvier import _core
from ranvier.checks import boolean, nonnegative, positive, real, require_instance, set_fields
from ranvier.settings import Settings
from ranvier.types import Array, LossSpec

__all__ = [
    "BCELoss",
    "BCEWithLogitsLoss",
    "CrossEntropyLoss",
    "CustomLoss",
    "FocalLoss",
    "HingeLoss",
    "HuberLoss",
    "L1Loss",
    "Loss",
    "MSELoss",
    "NLLLoss",
    "PoissonNLLLoss",
    "QuadraticLoss",
    "QuantileLoss",
    "SmoothL1Loss",
    "SumSquaredResidualsLoss",
    "checked_loss",
    "classifies",
    "is_of_logits",
    "is_of_numbers",
]


@runtime_checkable
class CustomLoss(Protocol):
    """What a loss of your own must offer.

    Predictions have the network's dtype and the shape ``(n, *output)``. Targets have any shape (n, ...): integers come
    as int64, other numbers in the network's dtype, and NaN may stand for what is not there. Both methods may have a
    third parameter, ``sample_weight``: they are then given it as an array of float64, of shape (n,), if the training
    has weights.
    """

    def __call__(self, prediction: Array, target: Any) -> float:
        """Return the loss of a batch, a mean over its samples."""

    def gradient(self, prediction: Array, target: Any) -> Array:
        """Return its gradient to the predictions, of their shape."""


def checked_loss(loss: Any) -> Loss | CustomLoss:
    """Return the loss.

    Raises
    ------
    TypeError
        If it is none, or a class of losses.
    """
    require_instance(loss, "loss")
    if not callable(loss) or not hasattr(loss, "gradient"):
        raise TypeError(f"loss: expected a loss, got {loss!r}")
    checked: Loss | CustomLoss = loss
    return checked


@dataclass(repr=False, eq=False)
class Loss(Settings):
    """A loss of the library."""

    kind: ClassVar[str]

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, {}

    def __call__(self, prediction: Array, target: Any) -> float:
        """Return the loss of a batch.

        Parameters
        ----------
        prediction : ndarray of float32 or float64, shape (n, outputs)
        target : ndarray, shape (n, outputs) or integers of shape (n,)

        Raises
        ------
        ValueError
            If the shapes do not match, a label is out of range, a target is NaN, or the loss's settings do not fit
            the outputs.
        """
        return _core.loss_value(self.spec(), *_contiguous(prediction, target))[0]

    def gradient(self, prediction: Array, target: Any) -> Array:
        """Return the gradient of the loss to the predictions, of their shape."""
        return _core.loss_gradient(self.spec(), *_contiguous(prediction, target))


def _contiguous(prediction: Array, target: Any) -> tuple[Array, Any]:
    prediction = np.ascontiguousarray(prediction)
    target = np.ascontiguousarray(target)
    if target.dtype.kind in "iu":
        target = target.astype(np.int64, copy=False)
    elif target.dtype.kind == "f":
        target = target.astype(prediction.dtype, copy=False)
    return prediction, target


def _weights(values: Any, field: str) -> tuple[float, ...]:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if not isinstance(values, tuple | list):
        raise TypeError(f"{field}: expected a sequence of numbers, got {type(values).__name__}")
    weights = tuple(real(value, field) for value in values)
    if wrong := [weight for weight in weights if weight < 0]:
        raise ValueError(f"{field}: expected numbers of at least 0, got {wrong[0]}")
    if not any(weights):
        raise ValueError(f"{field}: expected at least one number above 0, got {values}")
    return weights


@dataclass(repr=False, eq=False)
class QuadraticLoss(Loss):
    """The lecture notes' cost, 1/2 the squared distance, averaged over the samples."""

    kind: ClassVar[str] = "quadratic"


@dataclass(repr=False, eq=False)
class SumSquaredResidualsLoss(Loss):
    """The squared residuals, summed over outputs and samples."""

    kind: ClassVar[str] = "sum_squared_residuals"


@dataclass(repr=False, eq=False)
class MSELoss(Loss):
    """The squared error, averaged over outputs and samples."""

    kind: ClassVar[str] = "mean_squared_error"


@dataclass(repr=False, eq=False)
class BCELoss(Loss):
    """Binary cross-entropy of probabilities, averaged over outputs and samples (logarithms cut at -100)."""

    kind: ClassVar[str] = "binary_cross_entropy"


@dataclass(repr=False, eq=False)
class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of sigmoid(prediction), averaged over outputs and samples, without overflow.

    Parameters
    ----------
    pos_weight : float or sequence of float, optional
        What the term of the positive targets, ``-t log sigmoid(p)``, is multiplied by: one number, or one for each
        output; 1 unless given. PyTorch's ``pos_weight``.

    Raises
    ------
    TypeError, ValueError
        If it is not of finite numbers of at least 0, one of them above 0.
    """

    kind: ClassVar[str] = "binary_cross_entropy_with_logits"

    pos_weight: float | tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the field, and make it a plain value."""
        weight: Any = self.pos_weight
        if weight is not None and np.ndim(weight) == 0:
            set_fields(self, pos_weight=_weights((weight,), "pos_weight")[0])
        elif weight is not None:
            set_fields(self, pos_weight=_weights(weight, "pos_weight"))

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        weight = self.pos_weight
        if weight is None:
            return self.kind, {}
        return self.kind, {"pos_weight": weight if isinstance(weight, tuple) else (weight,)}


@dataclass(repr=False, eq=False)
class CrossEntropyLoss(Loss):
    """Cross-entropy of softmax(prediction), averaged over the samples: the network ends without a softmax.

    Parameters
    ----------
    label_smoothing : float
        From 0 to 1: the share of each target that is spread evenly over all classes (Szegedy et al. 2016).
    weight : sequence of float, optional
        What each class's term, ``-t log softmax(p)``, is multiplied by; 1 unless given. PyTorch's ``weight``, with
        its mean: for integer labels the sum is divided by the sum of the labels' weights, for rows of targets by
        the number of samples.

    Raises
    ------
    TypeError, ValueError
        If a number is out of range, or no weight is above 0.
    """

    kind: ClassVar[str] = "softmax_cross_entropy"

    label_smoothing: float = 0.0
    weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the fields, and make them plain values."""
        smoothing = real(self.label_smoothing, "label_smoothing")
        if not 0 <= smoothing <= 1:
            raise ValueError(f"label_smoothing: expected a number from 0 to 1, got {smoothing}")
        set_fields(self, label_smoothing=smoothing)
        if self.weight is not None:
            set_fields(self, weight=_weights(self.weight, "weight"))

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, {"label_smoothing": self.label_smoothing, "weight": self.weight or ()}


@dataclass(repr=False, eq=False)
class HingeLoss(Loss):
    """The hinge of support vector machines, averaged over the samples.

    With one output p, labels 0 and 1 stand for t = -1 and 1, and the loss is ``max(0, 1 - t p)``. With several outputs
    and integer labels it is the sum over the wrong classes j of ``max(0, 1 - p[label] + p[j])``: that of Weston and
    Watkins (1999), and PyTorch's ``MultiMarginLoss`` times the number of classes. Rows of targets must be of -1 and
    1; the loss is then the sum of the outputs' ``max(0, 1 - t p)``, one classifier against the rest for each.
    """

    kind: ClassVar[str] = "hinge"


@dataclass(repr=False, eq=False)
class L1Loss(Loss):
    """The absolute error, averaged over outputs and samples."""

    kind: ClassVar[str] = "l1"


@dataclass(repr=False, eq=False)
class HuberLoss(Loss):
    """Half the squared error up to a distance of delta and linear beyond, averaged over outputs and samples.

    Parameters
    ----------
    delta : float
        Above 0. Beyond it the loss is ``delta * (distance - delta / 2)`` (Huber 1964).
    """

    kind: ClassVar[str] = "huber"

    delta: float = 1.0

    def __post_init__(self) -> None:
        """Check the field, and make it a plain value."""
        set_fields(self, delta=positive(self.delta, "delta"))

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, self.config()


@dataclass(repr=False, eq=False)
class SmoothL1Loss(Loss):
    """`HuberLoss` with ``delta = beta``, divided by beta, so that it is `L1Loss` far away (Girshick 2015).

    Parameters
    ----------
    beta : float
        From 0, where the loss is `L1Loss`.
    """

    kind: ClassVar[str] = "smooth_l1"

    beta: float = 1.0

    def __post_init__(self) -> None:
        """Check the field, and make it a plain value."""
        set_fields(self, beta=nonnegative(self.beta, "beta"))

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, self.config()


@dataclass(repr=False, eq=False)
class QuantileLoss(Loss):
    """The pinball loss, averaged over outputs and samples: outputs become quantiles (Koenker and Bassett 1978).

    It is ``max(q * (t - p), (q - 1) * (t - p))``. Several quantiles of one number are so many outputs, with targets
    that repeat the number.

    Parameters
    ----------
    quantile : float or sequence of float
        q, above 0 and below 1: one number, or one for each output. The median unless given.

    Raises
    ------
    TypeError, ValueError
        If it is not of such numbers.
    """

    kind: ClassVar[str] = "quantile"

    quantile: float | tuple[float, ...] = 0.5

    def __post_init__(self) -> None:
        """Check the field, and make it a plain value."""
        given: Any = self.quantile
        if np.ndim(given) == 0:
            set_fields(self, quantile=_quantile(given))
        else:
            set_fields(self, quantile=tuple(_quantile(value) for value in given))
            if not given:
                raise ValueError("quantile: expected at least one number, got none")

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        quantile = self.quantile
        return self.kind, {"quantile": quantile if isinstance(quantile, tuple) else (quantile,)}


def _quantile(value: Any) -> float:
    quantile = real(value, "quantile")
    if not 0 < quantile < 1:
        raise ValueError(f"quantile: expected numbers above 0 and below 1, got {quantile}")
    return quantile


@dataclass(repr=False, eq=False)
class NLLLoss(Loss):
    """Negative log-likelihood, averaged over the samples: the network ends with `LogSoftmax`.

    `CrossEntropyLoss` is this loss and the `LogSoftmax` in one, and costs less.

    Parameters
    ----------
    weight : sequence of float, optional
        What each class's term, ``-t p``, is multiplied by, and the mean's divisor, as in `CrossEntropyLoss`.

    Raises
    ------
    TypeError, ValueError
        If it is not of finite numbers of at least 0, one of them above 0.
    """

    kind: ClassVar[str] = "negative_log_likelihood"

    weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        """Check the field, and make it a plain value."""
        if self.weight is not None:
            set_fields(self, weight=_weights(self.weight, "weight"))

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, {"weight": self.weight or ()}


@dataclass(repr=False, eq=False)
class FocalLoss(Loss):
    """The focal loss of logits, averaged over outputs and samples: easy targets count less (Lin et al. 2017).

    It is `BCEWithLogitsLoss` without weights, each term multiplied by ``(1 - s)**gamma``, where s is the probability
    that sigmoid(prediction) gives to the target; torchvision's ``sigmoid_focal_loss``. Each class of labels is one
    output against the rest.

    Parameters
    ----------
    alpha : float or None
        From 0 to 1: what positive targets are multiplied by, and negative ones by ``1 - alpha``. None multiplies by
        nothing.
    gamma : float
        From 0, where no target counts less.
    """

    kind: ClassVar[str] = "focal"

    alpha: float | None = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        """Check the fields, and make them plain values."""
        set_fields(self, gamma=nonnegative(self.gamma, "gamma"))
        if self.alpha is not None:
            set_fields(self, alpha=real(self.alpha, "alpha"))
            if not 0 <= self.alpha <= 1:
                raise ValueError(f"alpha: expected a number from 0 to 1, or None, got {self.alpha}")

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, self.config()


@dataclass(repr=False, eq=False)
class PoissonNLLLoss(Loss):
    """Negative log-likelihood of counts under Poisson distributions, averaged over outputs and samples.

    It lacks the term log(t!), which does not depend on the prediction. Targets are at least 0.

    Parameters
    ----------
    log_input : bool
        Whether predictions are logarithms of the distributions' means: ``exp(p) - t * p``. Otherwise they are the
        means: ``p - t * log(p + eps)``.
    eps : float
        Above 0; read only for means.
    """

    kind: ClassVar[str] = "poisson"

    log_input: bool = True
    eps: float = 1e-8

    def __post_init__(self) -> None:
        """Check the fields, and make them plain values."""
        set_fields(self, log_input=boolean(self.log_input, "log_input"), eps=positive(self.eps, "eps"))

    def spec(self) -> LossSpec:
        """Return the kind and the settings, as the compiled core reads them."""
        return self.kind, self.config()


def classifies(loss: object) -> bool:
    """Return whether all targets of the loss stand for classes."""
    return isinstance(loss, CrossEntropyLoss | NLLLoss | BCELoss | BCEWithLogitsLoss | FocalLoss | HingeLoss)


def is_of_logits(loss: object) -> bool:
    """Return whether 0 is the middle between the two classes of a single output, rather than 1/2."""
    return isinstance(loss, BCEWithLogitsLoss | FocalLoss | HingeLoss)


def is_of_numbers(loss: object) -> bool:
    """Return whether integers that a single output is compared with are numbers, not labels."""
    return isinstance(loss, Loss) and not classifies(loss)
