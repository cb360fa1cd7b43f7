"""Normalization over the batch and over a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ranvier.checks import boolean, integer, positive, real, set_fields
from ranvier.layers.base import Layer, Spec


@dataclass(repr=False, eq=False)
class _BatchNorm(Layer):
    num_features: int
    eps: float = 1e-5
    momentum: float = 0.1
    affine: bool = True

    def __post_init__(self) -> None:
        set_fields(
            self,
            num_features=integer(self.num_features, "num_features", 1),
            eps=positive(self.eps, "eps"),
            momentum=real(self.momentum, "momentum"),
            affine=boolean(self.affine, "affine"),
        )
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum: expected a number from 0 to 1, got {self.momentum}")

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start with weight 1 and bias 0."""
        return {"weight": np.ones(self.num_features), "bias": np.zeros(self.num_features)} if self.affine else {}


@dataclass(repr=False, eq=False)
class BatchNorm1d(_BatchNorm):
    """Normalization of each feature of (features,) or (features, length) samples over the batch, and the length.

    y = (x - mean) / sqrt(variance + eps) * weight + bias (Ioffe and Szegedy 2015). In training mean and
    variance are the batch's; otherwise they are running ones, which each batch moves by ``momentum``.

    Parameters
    ----------
    num_features : int
        ``weight``, ``bias``, ``running_mean`` and ``running_var`` are of (num_features,); the latter two are
        observed, not trained.
    eps : float
        Above 0.
    momentum : float
        The share of the present batch in the running values, from 0 to 1.
    affine : bool
        Whether there are ``weight`` and ``bias``.
    """

    kind: ClassVar[str] = "batch_norm1d"


@dataclass(repr=False, eq=False)
class BatchNorm2d(_BatchNorm):
    """Normalization of each channel of (channels, height, width) samples over batch and pixels.

    As `BatchNorm1d`, with a mean and a variance for each channel.

    Parameters
    ----------
    num_features : int
        The number of channels.
    eps, momentum, affine
        As in `BatchNorm1d`.
    """

    kind: ClassVar[str] = "batch_norm2d"


@dataclass(repr=False, eq=False)
class Standardize(Layer):
    """Subtracts the mean of each feature, or of each channel, of the data, and divides by its standard deviation.

    `ranvier.Network.adapt` takes ``mean`` and ``std`` from data; they are saved with the network and never trained. A
    network in which they were never taken neither trains nor predicts.

    Parameters
    ----------
    num_features : int
        Those of (features,) samples, or the channels of (channels, ...) samples; ``mean`` and ``std`` are of
        (num_features,).
    """

    num_features: int
    kind: ClassVar[str] = "standardize"

    def __post_init__(self) -> None:
        set_fields(self, num_features=integer(self.num_features, "num_features", 1))


@dataclass(repr=False, eq=False)
class LayerNorm(Layer):
    """Normalization of each sample over its last axes (Ba, Kiros and Hinton 2016).

    y = (x - mean) / sqrt(variance + eps) * weight + bias.

    Parameters
    ----------
    normalized_shape : int or tuple of int
        The shape of the last axes of a sample, which ``weight`` and ``bias`` have, too.
    eps : float
        Above 0.
    elementwise_affine : bool
        Whether there are ``weight`` and ``bias``.
    """

    normalized_shape: int | tuple[int, ...]
    eps: float = 1e-5
    elementwise_affine: bool = True
    kind: ClassVar[str] = "layer_norm"

    def __post_init__(self) -> None:
        shape = self.normalized_shape
        sizes = tuple(shape) if isinstance(shape, tuple | list) else (shape,)
        if not sizes:
            raise ValueError("normalized_shape: expected at least one size, got ()")
        sizes = tuple(integer(size, "normalized_shape", 1) for size in sizes)
        set_fields(
            self,
            normalized_shape=sizes if isinstance(shape, tuple | list) else sizes[0],
            eps=positive(self.eps, "eps"),
            elementwise_affine=boolean(self.elementwise_affine, "elementwise_affine"),
        )

    @property
    def _shape(self) -> tuple[int, ...]:
        return self.normalized_shape if isinstance(self.normalized_shape, tuple) else (self.normalized_shape,)

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it, with the shape written out."""
        return self.kind, self.config() | {"normalized_shape": self._shape}

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start with weight 1 and bias 0."""
        return {"weight": np.ones(self._shape), "bias": np.zeros(self._shape)} if self.elementwise_affine else {}


@dataclass(repr=False, eq=False)
class GroupNorm(Layer):
    """Normalization of groups of neighbouring channels of each sample (Wu and He 2018).

    As `LayerNorm`, over the channels of a group with all their pixels; weight and bias are of a channel.

    Parameters
    ----------
    num_groups, num_channels : int
        Samples are (num_channels, ...), of which each num_channels / num_groups ones are a group. ``weight`` and
        ``bias`` are (num_channels,).
    eps : float
        Above 0.
    affine : bool
        Whether there are ``weight`` and ``bias``.
    """

    num_groups: int
    num_channels: int
    eps: float = 1e-5
    affine: bool = True
    kind: ClassVar[str] = "group_norm"

    def __post_init__(self) -> None:
        set_fields(
            self,
            num_groups=integer(self.num_groups, "num_groups", 1),
            num_channels=integer(self.num_channels, "num_channels", 1),
            eps=positive(self.eps, "eps"),
            affine=boolean(self.affine, "affine"),
        )
        if self.num_channels % self.num_groups:
            raise ValueError(
                f"num_groups: expected a divisor of num_channels = {self.num_channels}, got {self.num_groups}"
            )

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Start with weight 1 and bias 0."""
        return {"weight": np.ones(self.num_channels), "bias": np.zeros(self.num_channels)} if self.affine else {}
