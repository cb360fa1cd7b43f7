"""What a network is as a module of PyTorch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from ranvier import layers
from ranvier.layers import Layer, PlainLayer
from ranvier.network import Network
from ranvier.torch import modules

__all__ = ["REFUSED", "WRITTEN", "module_of"]


def module_of(network: Network) -> nn.Module:
    """Return a module with the layers and parameters of a network."""
    network.engine.require_adapted()
    wiring = network.engine.wiring
    with torch.random.fork_rng(devices=[]):  # the modules draw starting values, which nobody will see
        members = _members(network.layers, "")
        module = nn.Sequential(*members) if wiring is None else modules.Graph(members, wiring)
    module.to(torch.float64 if network.dtype == "float64" else torch.float32)
    # Without the metadata of a state_dict, batch normalizations count their batches from 0.
    module.load_state_dict({name: torch.from_numpy(value) for name, value in network.state_dict().items()})
    frozen = set(network.frozen)
    for name, parameter in module.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if still := sorted(frozen - set(network.parameters())):
        warnings.warn(
            f"frozen running statistics: the module's move in training unless its eval() is called: {still}",
            stacklevel=3,
        )
    return module


def _sequence(members: Sequence[Layer | PlainLayer], path: str) -> nn.Sequential:
    return nn.Sequential(*_members(members, path))


def _members(members: Sequence[Layer | PlainLayer], path: str) -> list[nn.Module]:
    return [_module(layer, f"{path}{position}") for position, layer in enumerate(members)]


def _module(layer: Layer | PlainLayer, path: str) -> nn.Module:
    name = type(layer).__name__
    if isinstance(layer, layers.Residual):
        paths = {branch: _sequence(members, f"{path}.{branch}.") for branch, members in layer.inner().items()}
        return modules.Residual(paths["layers"], paths["shortcut"])
    if isinstance(layer, layers.Parallel):
        return modules.Parallel([_sequence(members, f"{path}.{at}.") for at, members in layer.inner().items()])
    if isinstance(layer, layers.Add | layers.Concat):
        return modules.Add() if isinstance(layer, layers.Add) else modules.Concat()
    if type(layer) not in WRITTEN:
        reason = REFUSED.get(type(layer), "a layer of your own cannot be converted")
        raise ValueError(f"layer {path} ({name}): {reason}")
    for penalty in ("l1", "l2", "max_norm"):
        if getattr(layer, penalty, None):
            warnings.warn(
                f"layer {path} ({name}): the module's training does not heed {penalty}; see to it in the loop",
                stacklevel=5,
            )
    return WRITTEN[type(layer)](layer)


def _plain(kind: Callable[..., nn.Module], **others: Any) -> Callable[[Any], nn.Module]:
    """Return what makes a module from a layer's fields, which have the same names, and from others."""

    def make(layer: Layer) -> nn.Module:
        own = {name: value for name, value in layer.config().items() if name not in _OF_TRAINING}
        return kind(**own, **others)

    return make


def _upsample(layer: Any) -> nn.Module:
    bilinear = layer.mode == "bilinear"
    corners = {"align_corners": layer.align_corners} if bilinear else {}
    return nn.Upsample(scale_factor=layer.scale_factor, mode=layer.mode, **corners)


_OF_TRAINING = ("l1", "l2", "init", "max_norm")

_NO_IMAGES = "PyTorch has no module for it; torchvision.transforms changes images before they come to the module"

# The layers without a module.
REFUSED: dict[type, str] = {
    layers.RandomCrop: _NO_IMAGES,
    layers.RandomHorizontalFlip: _NO_IMAGES,
    layers.RandomRotation: _NO_IMAGES,
    layers.RandomShift: _NO_IMAGES,
}

# What makes the module of a layer; those with branches are made above.
WRITTEN: dict[type, Callable[[Any], nn.Module]] = {
    layers.AdaptiveAvgPool1d: _plain(nn.AdaptiveAvgPool1d),
    layers.AdaptiveAvgPool2d: _plain(nn.AdaptiveAvgPool2d),
    layers.AdaptiveMaxPool1d: _plain(nn.AdaptiveMaxPool1d),
    layers.AdaptiveMaxPool2d: _plain(nn.AdaptiveMaxPool2d),
    layers.AvgPool1d: _plain(nn.AvgPool1d),
    layers.AvgPool2d: _plain(nn.AvgPool2d),
    layers.BatchNorm1d: _plain(nn.BatchNorm1d),
    layers.BatchNorm2d: _plain(nn.BatchNorm2d),
    layers.Conv1d: _plain(nn.Conv1d),
    layers.Conv2d: _plain(nn.Conv2d),
    layers.ConvTranspose2d: _plain(nn.ConvTranspose2d),
    layers.Dropout: _plain(nn.Dropout),
    layers.Dropout1d: _plain(nn.Dropout1d),
    layers.Dropout2d: _plain(nn.Dropout2d),
    layers.ELU: _plain(nn.ELU),
    layers.Embedding: _plain(nn.Embedding),
    layers.Flatten: _plain(nn.Flatten),
    layers.GELU: _plain(nn.GELU),
    layers.GRU: _plain(modules.GRU),
    layers.GaussianNoise: _plain(modules.GaussianNoise),
    layers.GlobalAvgPool2d: lambda layer: nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    layers.GroupNorm: _plain(nn.GroupNorm),
    layers.Hardswish: _plain(nn.Hardswish),
    layers.Heaviside: _plain(modules.Heaviside),
    layers.Identity: _plain(nn.Identity),
    layers.LSTM: _plain(modules.LSTM),
    layers.LayerNorm: _plain(nn.LayerNorm),
    layers.LeakyReLU: _plain(nn.LeakyReLU),
    layers.Linear: _plain(nn.Linear),
    layers.LogSoftmax: _plain(nn.LogSoftmax, dim=1),
    layers.MaxPool1d: _plain(nn.MaxPool1d),
    layers.MaxPool2d: _plain(nn.MaxPool2d),
    layers.Maxout: _plain(modules.Maxout),
    layers.Mish: _plain(nn.Mish),
    layers.PReLU: _plain(nn.PReLU),
    layers.RReLU: _plain(nn.RReLU),
    layers.ReLU: _plain(nn.ReLU),
    layers.ReLU6: _plain(nn.ReLU6),
    layers.SELU: _plain(nn.SELU),
    layers.SiLU: _plain(nn.SiLU),
    layers.Sigmoid: _plain(nn.Sigmoid),
    layers.Softmax: _plain(nn.Softmax, dim=1),
    layers.Softplus: _plain(nn.Softplus),
    layers.Standardize: _plain(modules.Standardize),
    layers.Tanh: _plain(nn.Tanh),
    layers.Unflatten: _plain(nn.Unflatten),
    layers.Upsample: _upsample,
}
