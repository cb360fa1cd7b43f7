"""What a module of PyTorch is as a network: its layers, and their parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, NoReturn

import torch
from torch import nn

from ranvier import layers
from ranvier.layers import Layer
from ranvier.network import Network
from ranvier.torch import modules

__all__ = ["network_of"]


class _Unlike(Exception):
    """Why no layer does what a module does."""


class _Named(NamedTuple):
    """A module, and the path to it."""

    path: str
    module: nn.Module

    def refuse(self, reason: object) -> NoReturn:
        raise ValueError(f"module {self.path} ({type(self.module).__name__}): {reason}".replace("  ", " "))


class _Part(NamedTuple):
    """A layer, and its parameters and running statistics by name."""

    layer: Layer
    tensors: dict[str, torch.Tensor]


def network_of(module: Any, seed: int | None) -> Network:
    """Return a network with the layers and parameters of a module."""
    if not isinstance(module, nn.Module):
        raise TypeError(f"module: expected a torch.nn.Module, got {type(module).__name__}")
    _require_own_parameters(module)
    parts = _Reader().parts(_Named("", module))
    if not parts:
        raise ValueError("module: expected at least one layer, got none")
    tensors = {f"{at}.{name}": tensor for at, part in enumerate(parts) for name, tensor in part.tensors.items()}
    is_double = bool(tensors) and all(tensor.dtype == torch.float64 for tensor in tensors.values())
    network = Network([part.layer for part in parts], seed=seed, dtype="float64" if is_double else "float32")
    network.load_state_dict(tensors)
    trained = network.parameters()
    frozen = [name for name, tensor in tensors.items() if name in trained and not tensor.requires_grad]
    if frozen:
        network.freeze(*frozen)
    return network


def _require_own_parameters(module: nn.Module) -> None:
    """Check that no parameter belongs to two modules: its two copies would be trained apart."""
    seen: dict[int, str] = {}
    for name, tensor in module.named_parameters(remove_duplicate=False):
        other = seen.setdefault(id(tensor), name)
        if other != name:
            raise ValueError(f"module: expected parameters of one module each, got one for {other} and {name}")


class _Reader:
    """Goes through modules in the order of their calls.

    Attributes
    ----------
    has_vectors : bool
        Whether samples are known to be vectors where it stands.
    """

    def __init__(self) -> None:
        self.has_vectors = False

    def parts(self, root: _Named) -> list[_Part]:
        """Return the layers of a module, one behind the other."""
        chain = list(_in_order(root))
        parts: list[_Part] = []
        while chain:
            named = chain.pop(0)
            if _is_global_pooling(named.module) and chain and type(chain[0].module) is nn.Flatten:
                self._convert(chain.pop(0))  # for its checks
                parts.append(_Part(layers.GlobalAvgPool2d(), {}))
            else:
                parts.append(self._convert(named))
        return parts

    def _convert(self, named: _Named) -> _Part:
        module = named.module
        if type(module) is modules.Residual:
            return self._branched(named, {"layers": module.layers, "shortcut": module.shortcut}, _residual)
        if type(module) is modules.Parallel:
            branches = {f"branches.{at}": branch for at, branch in enumerate(module.branches)}
            return self._branched(named, branches, _parallel)
        converter = _LAYERS.get(type(module))
        if converter is None:
            named.refuse(
                "there is no layer that is known to do the same; make the network from layers, and give its "
                "load_state_dict() the module's"
            )
        if module._forward_hooks or module._forward_pre_hooks:
            named.refuse("hooks change what it does")
        try:
            layer = converter(module, self.has_vectors)
        except (_Unlike, TypeError, ValueError) as error:
            named.refuse(error)
        has_more_axes = isinstance(layer, layers.Embedding | layers.Unflatten)
        self.has_vectors = isinstance(layer, layers.Flatten) or (self.has_vectors and not has_more_axes)
        tensors = dict(module.state_dict(keep_vars=True))
        tensors.pop("num_batches_tracked", None)
        return _Part(layer, tensors)

    def _branched(
        self, named: _Named, branches: dict[str, nn.Module], make: Callable[[list[list[Layer]]], Layer]
    ) -> _Part:
        before, converted = self.has_vectors, {}
        for name, branch in branches.items():
            self.has_vectors = before
            converted[name] = self.parts(_Named(f"{named.path}.{name}".lstrip("."), branch))
        tensors = {
            f"{name}.{at}.{own}": tensor
            for name, parts in converted.items()
            for at, part in enumerate(parts)
            for own, tensor in part.tensors.items()
        }
        return _Part(make([[part.layer for part in parts] for parts in converted.values()]), tensors)


def _residual(branches: list[list[Layer]]) -> Layer:
    return layers.Residual(tuple(branches[0]), tuple(branches[1]))


def _parallel(branches: list[list[Layer]]) -> Layer:
    return layers.Parallel(tuple(tuple(branch) for branch in branches))


def _in_order(named: _Named) -> Iterator[_Named]:
    """Yield the modules that a nested Sequential calls, or the module itself."""
    module = named.module
    if not isinstance(module, nn.Sequential):
        yield named
        return
    if type(module).forward is not nn.Sequential.forward or module._forward_hooks or module._forward_pre_hooks:
        named.refuse("its forward is not that of a Sequential")
    for name, child in module.named_children():
        yield from _in_order(_Named(f"{named.path}.{name}".lstrip("."), child))


def _require(condition: bool, reason: str) -> None:
    if not condition:
        raise _Unlike(reason)


def _is_global_pooling(module: nn.Module) -> bool:
    return type(module) is nn.AdaptiveAvgPool2d and module.output_size in (1, (1, 1), [1, 1])


# --- one function a module ------------------------------------------------------------------------------------


def _linear(module: Any, _: bool) -> Layer:
    return layers.Linear(module.in_features, module.out_features, module.bias is not None)


def _convolution_fields(module: Any) -> dict[str, Any]:
    _require(module.padding_mode == "zeros", f"expected padding_mode='zeros', got {module.padding_mode!r}")
    return {
        "in_channels": module.in_channels,
        "out_channels": module.out_channels,
        "kernel_size": _plainly(module.kernel_size),
        "stride": _plainly(module.stride),
        "padding": _plainly(module.padding),
        "dilation": _plainly(module.dilation),
        "groups": module.groups,
        "bias": module.bias is not None,
    }


def _plainly(value: Any) -> Any:
    """Return a number for a tuple of equal ones."""
    is_one = isinstance(value, tuple) and len(set(value)) == 1
    return value[0] if is_one else value


def _conv(kind: Callable[..., Layer]) -> Callable[[Any, bool], Layer]:
    return lambda module, _: kind(**_convolution_fields(module))


def _conv_transpose2d(module: Any, _: bool) -> Layer:
    return layers.ConvTranspose2d(**_convolution_fields(module), output_padding=_plainly(module.output_padding))


def _embedding(module: Any, _: bool) -> Layer:
    _require(module.padding_idx is None, f"expected padding_idx=None, got {module.padding_idx}")
    _require(module.max_norm is None, f"expected max_norm=None, got {module.max_norm}")
    _require(not module.scale_grad_by_freq, "expected scale_grad_by_freq=False")
    return layers.Embedding(module.num_embeddings, module.embedding_dim)


def _upsample(module: Any, _: bool) -> Layer:
    _require(module.size is None, "expected a scale_factor, got a size")
    _require(module.mode in ("nearest", "bilinear"), f"expected mode nearest or bilinear, got {module.mode!r}")
    _require(not module.recompute_scale_factor, "expected recompute_scale_factor=False")
    return layers.Upsample(module.scale_factor, module.mode, bool(module.align_corners))


def _group_norm(module: Any, _: bool) -> Layer:
    _require(not module.affine or module.bias is not None, "expected a bias beside the weight")
    return layers.GroupNorm(module.num_groups, module.num_channels, module.eps, module.affine)


def _batch_norm(kind: Callable[..., Layer]) -> Callable[[Any, bool], Layer]:
    def convert(module: Any, _: bool) -> Layer:
        _require(module.track_running_stats, "expected track_running_stats=True, as running statistics are always kept")
        _require(module.momentum is not None, "expected a momentum, got None (averages over all batches)")
        _require(not module.affine or module.bias is not None, "expected a bias beside the weight")
        return kind(module.num_features, eps=module.eps, momentum=module.momentum, affine=module.affine)

    return convert


def _layer_norm(module: Any, _: bool) -> Layer:
    affine = module.elementwise_affine
    _require(not affine or module.bias is not None, "expected bias=True, as there is one wherever there is a weight")
    shape = tuple(module.normalized_shape)
    return layers.LayerNorm(shape if len(shape) > 1 else shape[0], module.eps, affine)


def _window(module: Any) -> dict[str, Any]:
    size, stride = _plainly(module.kernel_size), _plainly(module.stride)
    return {
        "kernel_size": size,
        "stride": None if stride == size else stride,
        "padding": _plainly(module.padding),
        "ceil_mode": module.ceil_mode,
    }


def _max_pool(kind: Callable[..., Layer]) -> Callable[[Any, bool], Layer]:
    def convert(module: Any, _: bool) -> Layer:
        _require(_plainly(module.dilation) == 1, f"expected dilation=1, got {module.dilation}")
        _require(not module.return_indices, "expected return_indices=False")
        return kind(**_window(module))

    return convert


def _avg_pool(kind: Callable[..., Layer]) -> Callable[[Any, bool], Layer]:
    def convert(module: Any, _: bool) -> Layer:
        divisor = getattr(module, "divisor_override", None)
        _require(divisor is None, f"expected divisor_override=None, got {divisor}")
        return kind(**_window(module), count_include_pad=module.count_include_pad)

    return convert


def _adaptive_pool(kind: Callable[..., Layer]) -> Callable[[Any, bool], Layer]:
    def convert(module: Any, _: bool) -> Layer:
        _require(not getattr(module, "return_indices", False), "expected return_indices=False")
        size = module.output_size
        return kind(size if isinstance(size, int) or None in size else _plainly(tuple(size)))

    return convert


def _unflatten(module: Any, _: bool) -> Layer:
    return layers.Unflatten(module.dim, tuple(module.unflattened_size))


def _flatten(module: Any, _: bool) -> Layer:
    dims = module.start_dim, module.end_dim
    _require(dims == (1, -1), f"expected start_dim=1 and end_dim=-1, got {dims[0]} and {dims[1]}")
    return layers.Flatten()


def _softmax(kind: Callable[..., Layer]) -> Callable[[Any, bool], Layer]:
    def convert(module: Any, has_vectors: bool) -> Layer:
        is_first = module.dim == 1 or (module.dim == -1 and has_vectors)
        _require(is_first, f"expected dim=1, the first axis of a sample, got {module.dim}")
        return kind()

    return convert


def _softplus(module: Any, _: bool) -> Layer:
    _require(module.beta == 1, f"expected beta=1, got {module.beta}")
    _require(module.threshold >= 20, f"expected a threshold of at least 20, got {module.threshold}")
    return layers.Softplus()


def _gelu(module: Any, _: bool) -> Layer:
    _require(module.approximate == "none", f"expected approximate='none', got {module.approximate!r}")
    return layers.GELU()


def _plain(kind: Callable[..., Layer], *fields: str) -> Callable[[Any, bool], Layer]:
    """Return what makes a layer with fields of the module's names and values."""
    return lambda module, _: kind(**{field: getattr(module, field) for field in fields})


_RECURRENT = ("input_size", "hidden_size", "num_layers", "bias", "return_sequences")

_LAYERS: dict[type[nn.Module], Callable[[Any, bool], Layer]] = {
    modules.GRU: _plain(layers.GRU, *_RECURRENT),
    modules.GaussianNoise: _plain(layers.GaussianNoise, "std"),
    modules.Heaviside: _plain(layers.Heaviside),
    modules.LSTM: _plain(layers.LSTM, *_RECURRENT),
    modules.Maxout: _plain(layers.Maxout, "pieces"),
    modules.Standardize: _plain(layers.Standardize, "num_features"),
    nn.AdaptiveAvgPool1d: _adaptive_pool(layers.AdaptiveAvgPool1d),
    nn.AdaptiveAvgPool2d: _adaptive_pool(layers.AdaptiveAvgPool2d),
    nn.AdaptiveMaxPool1d: _adaptive_pool(layers.AdaptiveMaxPool1d),
    nn.AdaptiveMaxPool2d: _adaptive_pool(layers.AdaptiveMaxPool2d),
    nn.AvgPool1d: _avg_pool(layers.AvgPool1d),
    nn.AvgPool2d: _avg_pool(layers.AvgPool2d),
    nn.BatchNorm1d: _batch_norm(layers.BatchNorm1d),
    nn.BatchNorm2d: _batch_norm(layers.BatchNorm2d),
    nn.Conv1d: _conv(layers.Conv1d),
    nn.Conv2d: _conv(layers.Conv2d),
    nn.ConvTranspose2d: _conv_transpose2d,
    nn.Dropout: _plain(layers.Dropout, "p"),
    nn.Dropout1d: _plain(layers.Dropout1d, "p"),
    nn.Dropout2d: _plain(layers.Dropout2d, "p"),
    nn.ELU: _plain(layers.ELU, "alpha"),
    nn.Embedding: _embedding,
    nn.Flatten: _flatten,
    nn.GELU: _gelu,
    nn.GroupNorm: _group_norm,
    nn.Hardswish: _plain(layers.Hardswish),
    nn.Identity: _plain(layers.Identity),
    nn.LayerNorm: _layer_norm,
    nn.LeakyReLU: _plain(layers.LeakyReLU, "negative_slope"),
    nn.Linear: _linear,
    nn.LogSoftmax: _softmax(layers.LogSoftmax),
    nn.MaxPool1d: _max_pool(layers.MaxPool1d),
    nn.MaxPool2d: _max_pool(layers.MaxPool2d),
    nn.Mish: _plain(layers.Mish),
    nn.PReLU: _plain(layers.PReLU, "num_parameters"),
    nn.RReLU: _plain(layers.RReLU, "lower", "upper"),
    nn.ReLU: _plain(layers.ReLU),
    nn.ReLU6: _plain(layers.ReLU6),
    nn.SELU: _plain(layers.SELU),
    nn.SiLU: _plain(layers.SiLU),
    nn.Sigmoid: _plain(layers.Sigmoid),
    nn.Softmax: _softmax(layers.Softmax),
    nn.Softplus: _softplus,
    nn.Tanh: _plain(layers.Tanh),
    nn.Unflatten: _unflatten,
    nn.Upsample: _upsample,
}
