"""What a network is: layers with their parameters, what they start from, what is frozen, and how they are described."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.checks import boolean, sizes
from ranvier.engine import Engine, IncompatibleKeys
from ranvier.labels import Classes
from ranvier.layers import (
    Conv1d,
    Conv2d,
    ConvTranspose2d,
    Layer,
    Linear,
    PlainLayer,
    checked_initializer,
    require_layers,
)
from ranvier.patterns import all_matched
from ranvier.training import Training
from ranvier.types import Array
from ranvier.wiring import Wiring

if TYPE_CHECKING:  # loaded where they are used, so that `import ranvier` stays quick
    from ranvier.initializers import Initializer
    from ranvier.tables import Table

__all__ = ["Parameterized"]


class Parameterized:
    """Layers with their parameters: the part of `ranvier.Network` that everything else builds on."""

    layers: tuple[Layer | PlainLayer, ...]
    init: Initializer | None
    metadata: dict[str, str]
    input_shape: tuple[int, ...] | None
    _wiring: Wiring | None = None  # of symbolic values

    def _set_up(self, layers: Iterable[Any], seed: int | None, dtype: Any, init: Any) -> None:
        """Become such a network, whose parameters are zero."""
        self.init = checked_initializer(init)
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ValueError(f"dtype: expected float32 or float64, got {self.dtype}")
        self.dtype = np.dtype(self.dtype.name)  # not a copy of it, which the core would not recognise
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
            raise TypeError(f"seed: expected an int, got {type(seed).__name__}")
        if seed is not None and not 0 <= seed < 2**63:
            raise ValueError(f"seed: expected an int from 0 to below 2**63, got {seed}")
        items: list[Any] = list(layers)
        if not items:
            raise ValueError("layers: expected at least one layer, got none")
        self.layers = require_layers(items, "layers")
        self.seed = int(np.random.SeedSequence().entropy % 2**63) if seed is None else int(seed)  # type: ignore[operator]
        self.input_shape = None
        self.metadata = {}
        self.engine = Engine(self.layers, self.dtype.name, self.seed, self._wiring)
        self._training = Training(self.engine)
        self._classes: Classes | None = None

    def __repr__(self) -> str:
        """Return the layers, and the initializer if there is one."""
        init = "" if self.init is None else f", init={self.init}"
        return f"Network({list(self.layers)}{init})"

    def _repr_html_(self) -> str:
        """Return the table of `summary` for a notebook."""
        return self.summary()._repr_html_()

    def _initialise(self) -> None:
        self._draw(self.layers, "", self.parameters(), np.random.default_rng(self.seed))

    def _draw(
        self, layers: Iterable[Layer | PlainLayer], path: str, parameters: dict[str, Array], rng: np.random.Generator
    ) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                continue
            for name, start in self._with_init(layer).initial(rng).items():
                parameters[f"{path}{position}.{name}"][...] = start
            for name, branch in layer.inner().items():
                self._draw(branch, f"{path}{position}.{name}.", parameters, rng)

    def _with_init(self, layer: Layer) -> Layer:
        weighted = Linear | Conv1d | Conv2d | ConvTranspose2d
        if self.init is not None and isinstance(layer, weighted) and layer.init is None:
            return dataclasses.replace(layer, init=self.init)
        return layer

    # --- parameters -----------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Array]:
        """Return writeable views of all trained parameters.

        They are named as PyTorch names them, "0.weight"; within branches "3.layers.0.weight".
        """
        return {name: self.engine.parameters.value(name) for name in self.engine.parameters.names}

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters, and of the running statistics of batch normalization, by name."""
        return self.engine.state()

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Set all parameters and running statistics.

        Parameters
        ----------
        state : mapping of str to array_like
            One array for each parameter, of its shape (see `state_dict`). A ``state_dict`` of PyTorch is taken as it
            is, with tensors on any device and of any real dtype, and with ``num_batches_tracked``.
        strict : bool
            Whether the state must have each of the network's names and no others. Otherwise what it has is set.

        Returns
        -------
        IncompatibleKeys
            The names that the state lacks, ``missing_keys``, and that the network lacks, ``unexpected_keys``.

        Raises
        ------
        TypeError
            If it is no mapping, or an array is not of real numbers. Nothing is changed then.
        ValueError
            If a shape differs, or, with ``strict``, a name is missing or unknown. Nothing is changed then.
        RuntimeError
            If a layer or loss of this network calls it in the middle of a pass.
        """
        if not isinstance(state, Mapping):
            hint = "; give what its state_dict() returns" if hasattr(state, "state_dict") else ""
            raise TypeError(f"state: expected a mapping of names to arrays, got {type(state).__name__}{hint}")
        return self.engine.load(state, boolean(strict, "strict"))

    def freeze(self, *patterns: str) -> None:
        """Keep training from changing some parameters; no gradient is computed for them alone.

        Parameters
        ----------
        *patterns : str
            Names in the `state_dict`, with the wildcards of the shell: ``"0.*"`` is all of the first layer. A batch
            normalization whose running statistics are frozen normalizes by them in training, too.

        Raises
        ------
        ValueError
            If a pattern matches no name, or one of ``running_mean`` and ``running_var`` without the other.
        RuntimeError
            If `backward` has added gradients that no `step` has used.
        """
        self._set_frozen(patterns, True)

    def unfreeze(self, *patterns: str) -> None:
        """Train some parameters again, as `freeze` names them; ``"*"`` is all.

        An optimizer goes on with the state from before, and counts the updates of each parameter by itself.
        """
        self._set_frozen(patterns, False)

    @property
    def frozen(self) -> list[str]:
        """The names of the parameters and running statistics that training leaves as they are."""
        return self.engine.parameters.frozen

    def _set_frozen(self, patterns: Sequence[str], frozen: bool) -> None:
        names = all_matched(patterns, [name for name, _ in self.engine.values()], "patterns")
        for name in set(names) & set(self.engine.parameters.statistics):
            path, _, own = name.rpartition(".")
            if own.startswith("running") and not {f"{path}.running_mean", f"{path}.running_var"} <= set(names):
                raise ValueError(f"patterns: expected both running statistics of layer {path}, got {name} alone")
        self._training.require_no_gradients()
        self.engine.freeze(names, frozen)

    def adapt(self, x: Any, *, steps: int | None = None) -> None:
        """Take the means and standard deviations of data into the `Standardize` layers of the network.

        Do so before the training, with the data to train on; what is to be evaluated has no part in it. Each layer gets
        the statistics of what comes to it; a feature that does not vary is divided by 1.

        Parameters
        ----------
        x : array_like, shape (n, ...), or iterable of batches
            Samples as in `fit`. What lies in a mapped file is read block by block. Batches are of samples, or tuples
            that begin with them, as those that `fit` takes.
        steps : int, optional
            So many batches of an iterable, which may be endless; all unless given.

        Raises
        ------
        ValueError
            If the network has no such layer; if a layer does not fit the samples, or these are infinite or NaN. Nothing
            has changed then.
        """
        from ranvier import standardizing  # here, for most networks do without

        self._training.require_no_gradients()
        shape = standardizing.adapt(self.engine, x, steps)
        self.input_shape = shape

    # --- description ----------------------------------------------------------------------------------------

    def shapes(self, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shape of a sample after each layer.

        Raises
        ------
        TypeError, ValueError
            If ``input_shape`` is no tuple of ints from 0, or a layer does not fit it.
        """
        return self.engine.predictor(sizes(input_shape, "input_shape")).shapes

    def summary(self, input_shape: tuple[int, ...] | None = None) -> Table:
        """Return a table of the layers, each with its output's shape and its number of parameters.

        Parameters
        ----------
        input_shape : tuple of int, optional
            The shape of one sample. Unless given, it is that of the samples seen last.

        Returns
        -------
        Table
            Print it; a notebook shows it as it is.
        """
        from ranvier.summary import summary

        shape = self.input_shape if input_shape is None else input_shape
        shapes = None if shape is None else self.shapes(shape)
        return summary(self.layers, self.parameters(), self.dtype.name, shapes)

    def require_list(self, name: str) -> None:
        """Raise a TypeError, for a function of that name, unless the layers stand one behind the other."""
