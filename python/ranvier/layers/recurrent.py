"""Recurrent layers, which go through a sequence step by step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ranvier.checks import boolean, integer, set_fields
from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class _Recurrent(Layer):
    input_size: int
    hidden_size: int
    num_layers: int = 1
    bias: bool = True
    return_sequences: bool = False
    gates: ClassVar[int]

    def __post_init__(self) -> None:
        set_fields(
            self,
            input_size=integer(self.input_size, "input_size", 1),
            hidden_size=integer(self.hidden_size, "hidden_size", 1),
            num_layers=integer(self.num_layers, "num_layers", 1),
            bias=boolean(self.bias, "bias"),
            return_sequences=boolean(self.return_sequences, "return_sequences"),
        )

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw all from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), as PyTorch does."""
        bound = 1 / math.sqrt(self.hidden_size)
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {}
        for number in range(self.num_layers):
            shapes[f"weight_ih_l{number}"] = rows, self.hidden_size if number else self.input_size
            shapes[f"weight_hh_l{number}"] = rows, self.hidden_size
            if self.bias:
                shapes |= {f"bias_ih_l{number}": (rows,), f"bias_hh_l{number}": (rows,)}
        return {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}


@dataclass(repr=False, eq=False)
class GRU(_Recurrent):
    """Gated recurrent units (Cho et al. 2014): samples are sequences of (time, input_size).

    With the state h, which is 0 at first, each time step computes

    r = sigmoid(W_ir x + b_ir + W_hr h + b_hr), z = sigmoid(W_iz x + b_iz + W_hz h + b_hz),
    n = tanh(W_in x + b_in + r * (W_hn h + b_hn)), and the new state (1 - z) * n + z * h.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of a time step, and size of the state. The parameters of layer k are those of PyTorch:
        ``weight_ih_lk`` of (3 * hidden_size, input_size; from the second layer on hidden_size), ``weight_hh_lk`` of
        (3 * hidden_size, hidden_size), ``bias_ih_lk`` and ``bias_hh_lk`` of (3 * hidden_size,), for r, z and n.
    num_layers : int
        Layers one above the other, each of which reads the states of the one below.
    bias : bool
        Whether there are biases.
    return_sequences : bool
        Whether outputs are the states after all time steps, (time, hidden_size), or the last one, (hidden_size,). The
        name is that of Keras; in PyTorch, ``batch_first=True``, they are ``output`` and ``output[:, -1]``.
    """

    kind: ClassVar[str] = "gru"
    gates: ClassVar[int] = 3


@dataclass(repr=False, eq=False)
class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber 1997): samples are sequences of (time, input_size).

    With the state h and the cell c, which are 0 at first, each time step computes

    i, f, o = sigmoid(W_i x + b_i + W_h h + b_h) and g = tanh(likewise), each with rows of its own, then the new cell
    f * c + i * g and the new state o * tanh(cell).

    Parameters
    ----------
    input_size, hidden_size : int
        Features of a time step, and size of the state. The parameters are named as those of `GRU`, with
        4 * hidden_size rows, for i, f, g and o.
    num_layers, bias, return_sequences
        As in `GRU`.
    """

    kind: ClassVar[str] = "lstm"
    gates: ClassVar[int] = 4
