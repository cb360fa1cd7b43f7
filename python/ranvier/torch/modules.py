"""Modules for what PyTorch has not: branches and wirings, recurrent layers with one output, and a few activations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ranvier.wiring import Wiring

__all__ = [
    "GRU",
    "LSTM",
    "Add",
    "Concat",
    "GaussianNoise",
    "Graph",
    "Heaviside",
    "Maxout",
    "Parallel",
    "Residual",
    "Standardize",
]


class Add(nn.Module):
    """The sum of several tensors, as `ranvier.Add`."""

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        """Return the sum."""
        return sum(x[1:], x[0])


class Concat(nn.Module):
    """Tensors one behind the other along the channels, as `ranvier.Concat`."""

    def forward(self, *x: torch.Tensor) -> torch.Tensor:
        """Return them as one."""
        return torch.cat(x, dim=1)


class Graph(nn.Module):
    """Modules of any wiring, as the network of `ranvier.Input` values that they were made from.

    Its members are named "0", "1" and so on, as those of a ``Sequential`` are.
    """

    def __init__(self, members: Sequence[nn.Module], wiring: Wiring) -> None:
        super().__init__()
        self.wiring = wiring
        for position, member in enumerate(members):
            self.add_module(str(position), member)

    def forward(self, x: Any) -> Any:
        """Return the outputs: a tensor for a tensor, or dicts where inputs or outputs are several."""
        inputs, outputs = self.wiring.inputs, self.wiring.outputs
        tensors = list(inputs.by_name(x, "x").values())
        values = {-1 - k: tensor for k, tensor in enumerate(tensors)}
        for position, (member, sources) in enumerate(zip(self.children(), self.wiring.sources, strict=True)):
            values[position] = member(*(values[source] for source in sources))
        ends = [values[source] for source in self.wiring.ends]
        return ends[0] if outputs.is_one else dict(zip(outputs.names, ends, strict=True))


class Residual(nn.Module):
    """The sum of two paths, as `ranvier.Residual`; a path without modules is the identity."""

    def __init__(self, layers: nn.Sequential, shortcut: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers
        self.shortcut = shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the sum of the paths' outputs."""
        return self.layers(x) + self.shortcut(x)


class Parallel(nn.Module):
    """Branches whose outputs stand one behind the other, as `ranvier.Parallel`."""

    def __init__(self, branches: Sequence[nn.Sequential]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the branches' outputs along the channels."""
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class Maxout(nn.Module):
    """The maximum of each ``pieces`` neighbouring channels, as `ranvier.Maxout`."""

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maxima."""
        return x.unflatten(1, (-1, self.pieces)).max(2).values


class Heaviside(nn.Module):
    """0 for x <= 0, else 1, as `ranvier.Heaviside`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return zeros and ones."""
        return (x > 0).to(x.dtype)


class Standardize(nn.Module):
    """Each feature or channel less its mean, divided by its standard deviation, as `ranvier.Standardize`."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features
        self.register_buffer("mean", torch.zeros(num_features))
        self.register_buffer("std", torch.ones(num_features))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the standardized samples."""
        shape = (-1, *[1] * (x.ndim - 2))
        return (x - self.mean.view(shape)) / self.std.view(shape)


class GaussianNoise(nn.Module):
    """In training, normal noise added to each number, as `ranvier.GaussianNoise`."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x, with noise in training."""
        return x + self.std * torch.randn_like(x) if self.training else x


class _Recurrent(nn.Module):
    """What PyTorch's recurrent module behind it has, without the states that it gives beside its outputs."""

    def __init__(
        self, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, return_sequences: bool = False
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first=True)
        self.return_sequences = return_sequences

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the states, or the last one."""
        states = super().forward(x)[0]
        return states if self.return_sequences else states[:, -1]


class GRU(_Recurrent, nn.GRU):
    """The states after all time steps, or the last one, as `ranvier.GRU`."""


class LSTM(_Recurrent, nn.LSTM):
    """The states after all time steps, or the last one, as `ranvier.LSTM`."""
