"""What the estimators' parameters stand for: layers, optimizers and callbacks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

from ranvier.callbacks import EarlyStopping
from ranvier.checks import boolean, integer, nonnegative
from ranvier.layers import BatchNorm1d, Dropout, Layer, Linear, PlainLayer, ReLU, Sigmoid, Tanh
from ranvier.optimizers import SGD, Adam, Optimizer

__all__ = ["Layers", "LayersOf", "made_layers", "mlp_layers", "optimizer_for", "stopping"]

Layers: TypeAlias = Sequence[Layer | PlainLayer]
LayersOf: TypeAlias = Callable[[tuple[int, ...], int], Iterable[Layer | PlainLayer]]

_ACTIVATIONS: dict[str, Layer | None] = {"identity": None, "logistic": Sigmoid(), "tanh": Tanh(), "relu": ReLU()}
_USUAL_RATE = 1e-3


def mlp_layers(
    inputs: int, hidden: Any, outputs: int, activation: Any, l2: float, dropout: Any, batch_norm: Any
) -> list[Layer | PlainLayer]:
    """Return the layers of a multilayer perceptron.

    Each hidden size stands for a linear layer, batch normalization if it is wanted, the activation and dropout.

    Parameters
    ----------
    inputs, outputs : int
    hidden : int or sequence of int
    activation : str or Layer
    l2 : float
        Of each linear layer.
    dropout : float
    batch_norm : bool

    Raises
    ------
    TypeError, ValueError
        If one is unfit.
    """
    sizes = _hidden_sizes(hidden)
    function = _activation(activation)
    dropped, normalized = nonnegative(dropout, "dropout", below=1), boolean(batch_norm, "batch_norm")
    layers: list[Layer | PlainLayer] = []
    for size in sizes:
        layers.append(Linear(inputs, size, bias=not normalized, l2=l2))
        layers += [BatchNorm1d(size)] if normalized else []
        layers += [] if function is None else [function]
        layers += [Dropout(dropped)] if dropped else []
        inputs = size
    return [*layers, Linear(inputs, outputs, l2=l2)]


def _hidden_sizes(hidden: Any) -> list[int]:
    given = list(hidden) if hasattr(hidden, "__iter__") and not isinstance(hidden, str) else [hidden]
    return [integer(size, "hidden_layer_sizes", 1) for size in given]


def _activation(activation: Any) -> Layer | PlainLayer | None:
    if isinstance(activation, Layer | PlainLayer):
        return activation
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        known = ", ".join(map(repr, _ACTIVATIONS))
        raise ValueError(f"activation: expected {known} or a layer, as ranvier.GELU(), got {activation!r}")
    return _ACTIVATIONS[activation]


def made_layers(layers: Any, input_shape: tuple[int, ...], outputs: int) -> Layers:
    """Return layers that were given as such, or by a function of the shapes."""
    return list(layers(input_shape, outputs) if callable(layers) else layers)


def optimizer_for(
    solver: Any, rate: Any, momentum: Any, nesterov: Any, betas: tuple[Any, Any], epsilon: Any
) -> Optimizer:
    """Return the optimizer that a solver's name and its parameters stand for, or the solver if it is one.

    Raises
    ------
    TypeError, ValueError
        If one is unfit.
    """
    if isinstance(solver, Optimizer):
        if rate != _USUAL_RATE:
            raise ValueError(
                f"learning_rate_init: expected none with an optimizer, whose lr counts, got {rate!r} and {solver!r}"
            )
        return solver
    if solver == "adam":
        return Adam(rate, betas=betas, eps=epsilon)
    if solver == "sgd":
        nesterov = boolean(nesterov, "nesterovs_momentum")
        return SGD(rate, momentum=momentum, nesterov=nesterov and momentum > 0)
    raise ValueError(f"solver: expected 'adam', 'sgd' or an optimizer, as ranvier.AdamW(), got {solver!r}")


def stopping(early: Any, tol: Any, patience: Any) -> EarlyStopping | None:
    """Return what ends a training: early by its validation loss, or by its own loss; None if nothing does."""
    early = boolean(early, "early_stopping")
    least = 0.0 if tol is None else nonnegative(tol, "tol")
    patience = integer(patience, "n_iter_no_change", 1)
    if early:
        return EarlyStopping("val_loss", patience, least)
    return None if tol is None else EarlyStopping("loss", patience, least, restore_best=False)
