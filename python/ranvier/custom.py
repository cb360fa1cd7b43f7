"""Layers of your own with parameters: what optimizers train, files keep and gradient checks check, as of any layer."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np

from ranvier import layers as layer_module
from ranvier.checks import integer, set_fields
from ranvier.initializers import Initializer, Zeros
from ranvier.layers import Layer, checked_initializer, checked_result
from ranvier.layers.base import Spec
from ranvier.settings import Settings
from ranvier.types import Array

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Any:  # of Python 3.11
        return lambda cls: cls


__all__ = ["Context", "CustomLayer", "Parameter", "register_layer", "registered_layer"]

_RESERVED = ("running_mean", "running_var")


@dataclass(repr=False, eq=False)
class Parameter(Settings):
    """What a layer of your own declares of a parameter.

    Parameters
    ----------
    shape : int or tuple of int
        Each at least 1. The first size is that of the outputs, if there are several.
    init : Initializer
        Of the starting values; zeros unless given. Its ``fan_in`` is the product of all sizes but the first, and its
        ``fan_out`` of all but the second; both are the size of a vector.
    """

    shape: int | tuple[int, ...]
    init: Initializer = field(default_factory=Zeros)

    def __post_init__(self) -> None:
        """Check the fields, and make them plain values."""
        given: Any = self.shape
        shape = tuple(given) if isinstance(given, tuple | list) else (given,)
        set_fields(
            self,
            shape=tuple(integer(size, "shape", 1) for size in shape),
            init=checked_initializer(self.init) or Zeros(),
        )

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as a tuple."""
        return self.shape if isinstance(self.shape, tuple) else (self.shape,)

    def start(self, rng: np.random.Generator) -> Array:
        """Draw the starting values."""
        shape = self.sizes
        ins, outs = (shape[1:], shape[:1] + shape[2:]) if len(shape) > 1 else (shape, shape)
        values = np.asarray(self.init.draw(rng, shape, math.prod(ins), math.prod(outs)))
        if values.shape != shape:
            raise ValueError(
                f"init: expected {type(self.init).__name__}.draw to give shape {shape}, got {values.shape}"
            )
        return values


class Context:
    """What a layer of your own is told of a pass; and whatever it keeps there for the way back, under any other name.

    Each forward pass has one, so that those of several threads, and predictions in the midst of a training, stay apart.

    Attributes
    ----------
    parameters : dict of str to ndarray
        The values of the layer's parameters, as copies of the network's dtype.
    training : bool
        Whether it trains; else it predicts.
    """

    def __init__(self, parameters: dict[str, Array], training: bool, seed: int = 0, stream: int = 0) -> None:
        self.parameters = parameters
        self.training = training
        self._key = seed, stream
        self._rng: np.random.Generator | None = None

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep anything; for type checkers, too."""
        object.__setattr__(self, name, value)

    def __getattr__(self, name: str) -> Any:
        """Tell that there is none."""
        raise AttributeError(f"ctx.{name}: expected forward to keep it, but it has not")

    @property
    def rng(self) -> np.random.Generator:
        """Random numbers for this pass: a function of the network's seed, the layer's place and the number of the pass.

        Thus the same seed gives the same run, also if it goes on from a file.

        Raises
        ------
        RuntimeError
            In evaluation, where a network gives the same outputs each time.
        """
        if not self.training:
            raise RuntimeError(
                "ctx.rng: expected a pass of training; in evaluation (see ctx.training) nothing is drawn"
            )
        if self._rng is None:
            self._rng = np.random.default_rng(self._key)
        return self._rng


@dataclass_transform(eq_default=False)
@dataclass(repr=False, eq=False)
class CustomLayer(Layer):
    """A layer of your own, in NumPy, whose parameters are trained, saved and checked like those of any layer.

    A class that derives from it is a dataclass: its annotated fields are its settings, as those of the library's layers
    are, and ``__post_init__`` may check them. It holds no arrays: the network has the parameters, and the context what
    a pass keeps. One object may thus stand in several networks.

    `register_layer` makes files of networks with it known.
    """

    kind: ClassVar[str] = "python"

    def __init_subclass__(cls, **options: Any) -> None:
        """Make a dataclass of it."""
        super().__init_subclass__(**options)
        if "__init__" in cls.__dict__:
            raise TypeError(f"{cls.__name__}: expected annotated fields and __post_init__, got an __init__ of its own")
        dataclass(repr=False, eq=False)(cls)

    def parameters(self) -> dict[str, Parameter]:
        """Return what there is to train, by name; nothing unless you declare it."""
        return {}

    def forward(self, x: Array, ctx: Context) -> Array:
        """Return the output for a batch of inputs, (n, ...), and keep in the context what `backward` needs."""
        raise NotImplementedError(f"{type(self).__name__}.forward: expected one, there is none")

    def backward(self, grad: Array, ctx: Context) -> Any:
        """Return the gradient to x, given that to the output and the context of the forward pass.

        With parameters, a pair: the gradient to x, and a dict with that of each parameter, summed over the batch.
        """
        raise NotImplementedError(f"{type(self).__name__}.backward: expected one, there is none")

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw the parameters' starting values, by name."""
        return {name: parameter.start(rng) for name, parameter in self._declared().items()}

    def _declared(self) -> dict[str, Parameter]:
        declared, own = self.parameters(), type(self).__name__
        if not isinstance(declared, dict):
            raise TypeError(f"{own}.parameters: expected a dict of Parameter, got {type(declared).__name__}")
        for name, parameter in declared.items():
            if not isinstance(name, str) or not name.isidentifier() or name in _RESERVED:
                raise ValueError(f"{own}.parameters: expected names like 'weight', got {name!r}")
            if not isinstance(parameter, Parameter):
                raise TypeError(f"{own}.parameters: expected Parameter(shape, init) for {name}, got {parameter!r}")
        return declared

    def spec(self) -> Spec:
        """Return the layer as the compiled core reads it: functions of arrays, and what its parameters are."""
        own = type(self).__name__
        shapes = {name: parameter.sizes for name, parameter in self._declared().items()}

        @functools.cache
        def output_shape_of(sample: tuple[int, ...]) -> tuple[int, ...]:
            start = {name: value.astype(np.float32) for name, value in self.initial(np.random.default_rng(0)).items()}
            result: Any = self.forward(np.zeros((1, *sample), np.float32), Context(start, training=False))
            if not isinstance(result, np.ndarray) or result.ndim < 1 or len(result) != 1:
                raise ValueError(f"{own}.forward: expected an array of 1 sample back")
            return tuple(result.shape[1:])

        def output_shape(sample: Sequence[int]) -> tuple[int, ...]:
            return output_shape_of(tuple(sample))

        def forward(
            x: Array, expected: Sequence[int], values: list[Array], training: bool, seed: int, stream: int
        ) -> tuple[Array, Context]:
            ctx = Context(dict(zip(shapes, values, strict=True)), training, seed, stream)
            return checked_result(self.forward(x, ctx), tuple(expected), x.dtype, f"{own}.forward"), ctx

        def backward(grad: Array, expected: Sequence[int], ctx: Context) -> tuple[Array, list[Array]]:
            grad_x, gradients = _parted(self.backward(grad, ctx), shapes, own)
            own_gradients = [
                checked_result(gradients[name], shape, grad.dtype, f"{own}.backward, the gradient of {name}")
                for name, shape in shapes.items()
            ]
            return checked_result(grad_x, tuple(expected), grad.dtype, f"{own}.backward"), own_gradients

        return self.kind, {
            "name": own,
            "parameters": list(shapes.items()),
            "trains_itself": False,
            "output_shape": output_shape,
            "forward": forward,
            "backward": backward,
        }


def _parted(result: Any, names: Mapping[str, object], own: str) -> tuple[Any, Mapping[str, Any]]:
    """Return the gradient to x and those of the parameters that a backward pass has given."""
    if not names:
        return result, {}
    if not isinstance(result, tuple) or len(result) != 2 or not isinstance(result[1], Mapping):
        raise ValueError(
            f"{own}.backward: expected a pair, the gradient to x and a dict with those of {', '.join(names)}, got "
            f"{type(result).__name__}"
        )
    if missing := [name for name in names if name not in result[1]]:
        raise ValueError(f"{own}.backward: expected a gradient of each parameter, got none of {', '.join(missing)}")
    if unknown := [name for name in result[1] if name not in names]:
        raise ValueError(f"{own}.backward: expected gradients of parameters only, got one of {unknown[0]!r}")
    return result


Class = TypeVar("Class", bound=type[CustomLayer])

_registered: dict[str, type[CustomLayer]] = {}


def register_layer(cls: Class) -> Class:
    """Make a class known to files: networks with such layers can be saved, and read where the class is registered, too.

    A file only names the class; it is never imported for a file's sake.

    Parameters
    ----------
    cls : class that derives from CustomLayer
        Its fields must be numbers, bools, texts, None, tuples of these, initializers or layers.

    Returns
    -------
    class
        The same, so that this may stand as a decorator.

    Raises
    ------
    TypeError
        If it is no such class.
    ValueError
        If its name is that of one of the library's layers, or of another class that is registered.
    """
    if not isinstance(cls, type) or not issubclass(cls, CustomLayer) or cls is CustomLayer:
        raise TypeError(f"register_layer: expected a class that derives from CustomLayer, got {cls!r}")
    name, other = cls.__name__, _registered.get(cls.__name__)
    if name in layer_module.__all__:
        raise ValueError(f"register_layer: expected another name than that of a layer of the library, got {name}")
    if other is not None and (other.__module__, other.__qualname__) != (cls.__module__, cls.__qualname__):
        raise ValueError(f"register_layer: there is another {name} already, of {other.__module__}")
    _registered[name] = cls
    return cls


def registered_layer(name: str) -> type[CustomLayer] | None:
    """Return the class that is registered under a name, or None."""
    return _registered.get(name)
