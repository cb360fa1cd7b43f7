"""Activation functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ranvier.checks import integer, real, set_fields
from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class Heaviside(Layer):
    """0 for x <= 0, else 1. Its derivative is 0, so nothing before it learns."""

    kind: ClassVar[str] = "heaviside"


@dataclass(repr=False, eq=False)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(repr=False, eq=False)
class Tanh(Layer):
    """Hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"


@dataclass(repr=False, eq=False)
class ReLU(Layer):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(repr=False, eq=False)
class ReLU6(Layer):
    """min(max(x, 0), 6)."""

    kind: ClassVar[str] = "relu6"


@dataclass(repr=False, eq=False)
class LeakyReLU(Layer):
    """Identity above zero, ``negative_slope * x`` below."""

    negative_slope: float = 0.01
    kind: ClassVar[str] = "leaky_relu"

    def __post_init__(self) -> None:
        set_fields(self, negative_slope=real(self.negative_slope, "negative_slope"))


@dataclass(repr=False, eq=False)
class PReLU(Layer):
    """Identity above zero, ``weight * x`` below, with a trained weight (He et al. 2015).

    Parameters
    ----------
    num_parameters : int
        1, or one for each channel. They start at 0.25.
    """

    num_parameters: int = 1
    kind: ClassVar[str] = "prelu"

    def __post_init__(self) -> None:
        set_fields(self, num_parameters=integer(self.num_parameters, "num_parameters", 1))

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start at 0.25."""
        return {"weight": np.full(self.num_parameters, 0.25)}


@dataclass(repr=False, eq=False)
class RReLU(Layer):
    """Identity above zero; below, a slope uniform in [lower, upper) in training, their mean otherwise."""

    lower: float = 1 / 8
    upper: float = 1 / 3
    kind: ClassVar[str] = "rrelu"

    def __post_init__(self) -> None:
        set_fields(self, lower=real(self.lower, "lower"), upper=real(self.upper, "upper"))
        if self.lower > self.upper:
            raise ValueError(f"lower: expected at most upper = {self.upper}, got {self.lower}")


@dataclass(repr=False, eq=False)
class ELU(Layer):
    """Identity above zero, ``alpha * (exp(x) - 1)`` below."""

    alpha: float = 1.0
    kind: ClassVar[str] = "elu"

    def __post_init__(self) -> None:
        set_fields(self, alpha=real(self.alpha, "alpha"))


@dataclass(repr=False, eq=False)
class SELU(Layer):
    """`ELU` with a scale and an alpha that keep a mean of 0 and a variance of 1 (Klambauer et al. 2017).

    scale * (x above zero, else alpha * (exp(x) - 1)), where scale is 1.0507 and alpha 1.6733. It wants weights drawn
    by ``LeCunNormal()``.
    """

    kind: ClassVar[str] = "selu"


@dataclass(repr=False, eq=False)
class Softplus(Layer):
    """log(1 + exp(x))."""

    kind: ClassVar[str] = "softplus"


@dataclass(repr=False, eq=False)
class GELU(Layer):
    """``x`` times the standard normal distribution function at ``x``, exactly."""

    kind: ClassVar[str] = "gelu"


@dataclass(repr=False, eq=False)
class SiLU(Layer):
    """x / (1 + exp(-x)), also called swish (Elfwing et al. 2017)."""

    kind: ClassVar[str] = "silu"


@dataclass(repr=False, eq=False)
class Mish(Layer):
    """x * tanh(log(1 + exp(x))) (Misra 2019)."""

    kind: ClassVar[str] = "mish"


@dataclass(repr=False, eq=False)
class Hardswish(Layer):
    """x * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""

    kind: ClassVar[str] = "hardswish"


@dataclass(repr=False, eq=False)
class Maxout(Layer):
    """Maximum of each ``pieces`` neighbouring channels (Goodfellow et al. 2013)."""

    pieces: int
    kind: ClassVar[str] = "maxout"

    def __post_init__(self) -> None:
        set_fields(self, pieces=integer(self.pieces, "pieces", 1))


@dataclass(repr=False, eq=False)
class Softmax(Layer):
    """exp(x) / sum(exp(x)) over the first axis of a sample."""

    kind: ClassVar[str] = "softmax"


@dataclass(repr=False, eq=False)
class LogSoftmax(Layer):
    """Logarithm of `Softmax`."""

    kind: ClassVar[str] = "log_softmax"
