"""The network: layers, their parameters, and how to train and use them."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import itertools
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, overload

import numpy as np

from ranvier import hooks, training
from ranvier.batches import ArrayBatches, Batches, StreamBatches, batches_of
from ranvier.checks import boolean, integer, real_array, sizes
from ranvier.data import Data, as_batch, as_data, as_samples, has_classes, held_out, is_stream, require_apart
from ranvier.engine import Engine, IncompatibleKeys
from ranvier.epoch_metrics import AnyMetric, Metrics, listed
from ranvier.history import Evaluation, History
from ranvier.joint_losses import JointLoss, LossOfRows
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
from ranvier.losses import CrossEntropyLoss, CustomLoss, Loss, checked_loss
from ranvier.optimizers import Adam, Optimizer, checked_optimizer
from ranvier.patterns import all_matched
from ranvier.probabilities import predicted_numbers, probabilities
from ranvier.rows import Rows
from ranvier.tracing import layer_outputs
from ranvier.training import Training
from ranvier.types import Array, Labels
from ranvier.wiring import Wiring

if TYPE_CHECKING:  # loaded where they are used, so that `import ranvier` stays quick
    from ranvier.callbacks import AnyCallback
    from ranvier.checkpoint import Contents
    from ranvier.fitting import Plan
    from ranvier.initializers import Initializer
    from ranvier.predictor import Predictor
    from ranvier.profiling import Profile
    from ranvier.tables import Table

__all__ = ["Network", "are_sizes", "load"]


AnyLoss: TypeAlias = Loss | CustomLoss | JointLoss | Mapping[str, Loss | CustomLoss]
AnyMetrics: TypeAlias = Iterable[AnyMetric] | Mapping[str, Iterable[AnyMetric]]

_BATCH_SIZE = 32  # of `fit` unless given


def _checked_batch_size(batch_size: int | None, samples: int) -> int:
    return samples if batch_size is None else min(integer(batch_size, "batch_size", 1), samples)


def _require_weights_in_batches(sample_weight: Any) -> None:
    if sample_weight is not None:
        raise TypeError("sample_weight: expected None with a stream, whose batches have it: (x, y, sample_weight)")


def _require_stream(x: Any, batch_size: int | None, sample_weight: Any, validation_split: float | None) -> None:
    if not is_stream(x):
        raise TypeError(f"y: expected targets, or x as an iterable of batches (x, y), got {type(x).__name__}")
    if batch_size != _BATCH_SIZE:
        raise TypeError("batch_size: expected none with a stream, whose batches have sizes of their own")
    if validation_split is not None:
        raise TypeError("validation_split: expected None with a stream; give validation_data")
    _require_weights_in_batches(sample_weight)


def are_sizes(layers: Any) -> bool:
    """Return whether what a network is to be made from are sizes, and not layers."""
    if not isinstance(layers, Sequence | np.ndarray):
        return False
    return len(layers) > 0 and all(isinstance(item, int | np.integer) for item in layers)


class Network:
    """A network of layers.

    Parameters
    ----------
    layers : sequence of layers, or sequence of int
        Layers that stand one behind the other; they start as PyTorch starts them. Sizes, as in ``Network([784, 30,
        10])``, make the lecture notes' network, a `ranvier.notes.Network`: sigmoid layers, quadratic cost, weights and
        biases from N(0, 1).
    seed : int, optional
        It determines the starting values, the order of the samples and the random layers. Unless given, it is random.
    dtype : {"float32", "float64"}
        The type of the parameters, and of the arithmetic.
    init : Initializer, optional
        It draws the weights of all linear and convolutional layers that have none of their own. Their biases then
        start at 0.
    inputs, outputs : symbolic value, or dict of str to symbolic values
        In place of layers: what `ranvier.Input` gave, and what calls of layers gave for that in the end. By dicts, a
        network has several inputs or outputs with names; then samples, targets, predictions and losses come in dicts,
        too.

    Attributes
    ----------
    layers : tuple of layers
        Of symbolic values, each behind those that it reads.
    init : Initializer or None
    metadata : dict of str to str
        The entries that `save` was given for the file that the network came from.
    input_shape : tuple of int or None
        The shape of one of the samples that the network has seen last.

    Examples
    --------
    >>> net = Network([Linear(2, 3), Linear(3, 2)], seed=0)
    >>> net.predict(np.zeros((5, 2))).shape
    (5, 2)
    """

    _wiring: Wiring | None = None  # of symbolic values

    def __new__(cls, layers: Any = None, *args: Any, **options: Any) -> Network:
        """Return a new network, of another class if ``Network`` is given sizes or symbolic values."""
        kind: type[Network] = cls
        if cls is Network and ("inputs" in options or "outputs" in options):
            kind = hooks.class_of_values()
        elif cls is Network and are_sizes(layers):
            kind = hooks.class_of_sizes()
        return object.__new__(kind)

    def __init__(
        self,
        layers: Sequence[int] | Sequence[Layer | PlainLayer] | None = None,
        *,
        inputs: Any = None,
        outputs: Any = None,
        seed: int | None = None,
        dtype: Any = "float32",
        init: Initializer | None = None,
    ) -> None:
        if are_sizes(layers):
            raise TypeError("layers: expected layers, got sizes; derive from ranvier.notes.Network for these")
        if inputs is not None or outputs is not None:
            raise TypeError("inputs: expected layers; derive from ranvier.graph_network.GraphNetwork for others")
        if layers is None:
            raise TypeError("layers: expected a sequence of layers, or inputs and outputs, got neither")
        self._set_up(layers, seed, dtype, init)
        self._initialise()

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
        self.input_shape: tuple[int, ...] | None = None
        self.metadata: dict[str, str] = {}
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

    # --- use ------------------------------------------------------------------------------------------------

    def predict(self, x: Any, out: Array | None = None) -> Array:
        """Return the network's outputs. Any number of threads may call it at once.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Real numbers; converted to the network's dtype if need be. Bytes (uint8) are pixels, which count as
            fractions of 255, as in `fit`.
        out : ndarray, optional
            An array of the outputs' shape and the network's dtype, C-contiguous, that is filled and returned. It must
            not overlap x.

        Returns
        -------
        ndarray, shape (n, ...)
            A row's bits do not depend on the other rows.

        Raises
        ------
        ValueError
            If a layer does not fit the samples, or ``out`` the outputs.
        TypeError
            If ``out`` is of another dtype.
        """
        outputs = self.engine.predict_few(x, out)
        if outputs is not None:
            return outputs
        samples = as_samples(x, self.dtype, by_rows=True)
        self.engine.output_shape(samples.shape[1:])  # a misfit is told before anything happens
        self.engine.require_adapted()
        if isinstance(samples, Rows):
            outputs = self._predict_rows(samples, out)
        else:
            require_apart(out, samples)
            outputs = self.engine.predict(samples, out)
        self.input_shape = samples.shape[1:]
        return outputs

    def _predict_rows(self, samples: Rows, out: Array | None) -> Array:
        """Return the outputs of samples that are read block by block."""
        if out is None:
            out = np.empty((len(samples), *self.engine.output_shape(samples.shape[1:])), self.dtype)
        elif len(out) != len(samples):
            raise ValueError(f"out: expected {len(samples)} rows, got {len(out)}")
        done = 0
        for block in samples.blocks():
            self.engine.predict(block, out[done : done + len(block)])
            done += len(block)
        return out

    def predictor(self, threads: int | None = None) -> Predictor:
        """Return a function that predicts with the weights as they are now, whatever becomes of the network.

        If the network knows the shape of its samples, by an earlier call or because it was made from sizes, the
        weights are made ready for them at once, and else at the first prediction.

        Parameters
        ----------
        threads : int, optional
            The most threads that a prediction may use; `num_threads` at the time of each prediction unless given.

        Returns
        -------
        Predictor

        Raises
        ------
        TypeError, ValueError
            If ``threads`` is not an int of at least 1.
        """
        from ranvier.predictor import Predictor  # here, so that `import ranvier` stays quick

        self.engine.require_adapted()
        shapes = [] if self.input_shape is None else [self.input_shape]
        parameters = self.engine.parameters.frozen_copy()
        return Predictor(self.layers, parameters, self.dtype, shapes, threads, self._wiring)

    @property
    def classes_(self) -> Any:
        """The labels that the outputs stand for, an array in the order of the outputs.

        The first `fit` finds them in its labels: integers from 0 to below the number of outputs stand for themselves
        (two of them for a single output); of others, and of text, there must be as many different ones as outputs. They
        stay as they are, and are saved with the network. Set them where a stream of batches or `train_step` has other
        labels than such integers.
        """
        if self._classes is None:
            raise AttributeError("classes_: no labels have been seen yet; fit() finds them, or set network.classes_")
        return self._classes.values.copy()

    @classes_.setter
    def classes_(self, values: Any) -> None:
        self._classes = Classes(values)

    def predict_proba(self, x: Any) -> Array:
        """Return the probability of each class, as the `loss` has taught the network.

        With `CrossEntropyLoss` that is the softmax of the outputs, with `BCEWithLogitsLoss` their sigmoid, with
        `BCELoss` the outputs themselves; a last layer that is a `Softmax`, `LogSoftmax` or `Sigmoid` counts.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            As in `predict`.

        Returns
        -------
        ndarray, shape (n, classes)
            Columns are in the order of `classes_`. A single output gives two columns. With several outputs and a binary
            loss each is a probability by itself, and rows need not sum to 1.

        Raises
        ------
        TypeError
            If neither the last layer nor the loss makes the outputs probabilities.
        """
        return probabilities(self.predict(x), self.layers[-1], self.loss)

    def predict_classes(self, x: Any) -> Any:
        """Return the class of each sample, of the values in `classes_`: that of the largest output.

        A single output is compared with the middle: 0 for `BCEWithLogitsLoss` and `HingeLoss`, else 1/2.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            As in `predict`.

        Returns
        -------
        ndarray, shape (n,)
            The classes; if no labels have been seen, integers that count the outputs from 0.

        Raises
        ------
        TypeError
            If the outputs stand for numbers.
        """
        numbers = predicted_numbers(self.predict(x), self.layers[-1], self.loss, self._classes is not None)
        return numbers if self._classes is None else self._classes.values[numbers]

    def activations(self, x: Any, layers: Iterable[int] | None = None) -> dict[int, Array]:
        """Return the outputs of inner layers in evaluation mode.

        Each layer is run by itself, with a copy of its parameters, so this is slower than `predict`.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            As in `predict`.
        layers : iterable of int, optional
            Positions in ``network.layers``; all unless given.

        Returns
        -------
        dict of int to ndarray, shape (n, ...)
            The output of each of these layers, by its position.

        Raises
        ------
        ValueError
            If there is no such layer, or a layer does not fit the samples.
        """
        wanted = self._positions(layers)
        outputs = enumerate(layer_outputs(self.engine, self._samples(x, "x"), inner=False))
        return {
            position: output
            for position, (_, _, output) in itertools.islice(outputs, max(wanted, default=-1) + 1)
            if position in wanted
        }

    def _positions(self, layers: Iterable[int] | None) -> set[int]:
        """Return positions of layers, checked; all for None."""
        count = len(self.layers)
        wanted = set(range(count) if layers is None else (integer(position, "layers", 0) for position in layers))
        if unknown := sorted(position for position in wanted if position >= count):
            raise ValueError(f"layers: expected positions from 0 to {count - 1}, got {unknown[0]}")
        return wanted

    def _samples(self, x: Any, name: str) -> Any:
        samples = as_samples(x, self.dtype, name)
        self.engine.output_shape(samples.shape[1:])  # a misfit is told before anything happens
        self.engine.require_adapted()
        return samples

    def _data(
        self,
        x: Any,
        y: Any,
        loss: Loss | CustomLoss,
        of: str = "",
        sample_weight: Any = None,
        by_rows: bool = False,
        classes: Classes | None = None,
        learn: bool = False,
    ) -> Data:
        self.engine.require_adapted()
        classes = self._classes if classes is None else classes
        shape = self.engine.output_shape
        return as_data(x, y, sample_weight, loss, self.dtype, shape, of, by_rows, classes, learn)

    def _stream(
        self,
        stream: Any,
        loss: Loss | CustomLoss,
        name: str,
        passes: int = 1,
        steps: int | None = None,
        classes: Classes | None = None,
    ) -> StreamBatches:
        self.engine.require_adapted()
        classes = self._classes if classes is None else classes

        def check(batch: Any, of: str, output_shape: Any) -> Data:
            return self._batch(batch, loss, output_shape, of, classes)

        return StreamBatches(stream, passes, steps, check, self.engine.output_shape, name)

    def _batch(self, batch: Any, loss: Any, output_shape: Any, of: str, classes: Classes | None) -> Data:
        """Return a batch of a stream, checked."""
        return as_batch(batch, loss, self.dtype, output_shape, of, classes)

    def _metrics(
        self, wanted: Any, batches: Batches, data: Data | None, loss: Any, of_training: Metrics | None = None
    ) -> Metrics:
        """Return the metrics of batches, whose data, if they are arrays, are looked at as a whole."""
        outputs = math.prod(self.engine.output_shape(batches.first.x.shape[1:]))
        classes = None if of_training is None else of_training.has_classes
        if classes is None and data is not None:
            classes = has_classes(loss, data.y, outputs)
        return Metrics(listed(wanted), batches.first, loss, outputs, classes)

    def _listed(self, metrics: Any) -> Any:
        """Return metrics as a list, before anything happens."""
        return listed(metrics)

    @property
    def loss(self) -> Any:
        """The loss that `fit` or `train_step` used last.

        At first `CrossEntropyLoss`, or what the cost of the notes' network amounts to.
        """
        return self._training.loss or self._default_loss

    @property
    def _default_loss(self) -> Loss:
        return CrossEntropyLoss()

    def _checked_loss(self, loss: Any) -> Any:
        """Return the loss as training takes it."""
        if isinstance(loss, Mapping | JointLoss):
            raise TypeError(f"loss: expected one loss, since the network has one output, got {loss!r}")
        return checked_loss(loss)

    @property
    def _joint_loss(self) -> JointLoss | None:
        """The loss of the last training, if it was one of several outputs."""
        loss = self._training.loss
        return loss.joint if isinstance(loss, LossOfRows) else loss if isinstance(loss, JointLoss) else None

    def _ends(self, loss: Any) -> Iterable[tuple[Layer | PlainLayer | None, Any]]:
        """Yield the layer of each output, and its loss."""
        yield self.layers[-1], loss

    def require_list(self, name: str) -> None:
        """Raise a TypeError, for a function of that name, unless the layers stand one behind the other."""

    @overload
    def evaluate(
        self,
        x: Any,
        y: None = None,
        *,
        loss: AnyLoss | None = None,
        sample_weight: Any = None,
        metrics: AnyMetrics = (),
    ) -> Any: ...
    @overload
    def evaluate(
        self,
        x: Any,
        y: Any,
        *,
        loss: AnyLoss | None = None,
        sample_weight: Any = None,
        metrics: AnyMetrics = (),
    ) -> Evaluation: ...
    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: AnyLoss | None = None,
        sample_weight: Any = None,
        metrics: AnyMetrics = (),
    ) -> Any:
        """Return the loss and the metrics of samples.

        Parameters
        ----------
        x : array_like, shape (n, ...), pair (x, y) or iterable of batches
            With y, the samples. Alone, a pair (x, y), or an iterable of batches as in `fit`.
        y : array_like, optional
            Integer labels or rows of targets.
        loss : optional
            The network's `loss`, that of the last `fit`, unless given.
        sample_weight : array_like, shape (n,), optional
            As in `fit`.
        metrics : iterable of str or functions, optional
            As in `fit`.

        Returns
        -------
        Evaluation
            ``Evaluation(loss, accuracy)`` with further metrics. The accuracy is None if the targets are numbers and not
            classes.
        """
        if y is None:
            if is_stream(x):
                return self._evaluate_stream(x, loss, sample_weight, metrics)
            if not isinstance(x, tuple) or len(x) != 2:
                raise TypeError("y: expected targets, or x as a pair (x, y)")
            x, y = x
        objective = self._checked_loss(self.loss if loss is None else loss)
        data = self._data(x, y, objective, sample_weight=sample_weight, by_rows=True)
        self.input_shape = data.x.shape[1:]
        with batches_of(data) as batches:
            return training.evaluate(self.engine, batches, objective, self._metrics(metrics, batches, data, objective))

    def _evaluate_stream(self, stream: Any, loss: Any, sample_weight: Any, metrics: Iterable[AnyMetric]) -> Evaluation:
        _require_weights_in_batches(sample_weight)
        objective = self._checked_loss(self.loss if loss is None else loss)
        with self._stream(stream, objective, "x") as batches:
            self.input_shape = batches.first.x.shape[1:]
            return training.evaluate(self.engine, batches, objective, self._metrics(metrics, batches, None, objective))

    def loss_gradients(
        self, x: Any, y: Any, *, loss: AnyLoss | None = None, sample_weight: Any = None
    ) -> dict[str, Array]:
        """Return the gradients of a batch's loss in training mode, by parameter name; frozen parameters have none.

        The network stays as it is, its `gradients` and running statistics included, but random layers draw masks.

        Parameters
        ----------
        x, y, sample_weight
            As in `fit`. The penalties of layers count, too.
        loss : optional
            The network's `loss` unless given.
        """
        objective = self._checked_loss(self.loss if loss is None else loss)
        data = self._data(x, y, objective, sample_weight=sample_weight)
        self.input_shape = data.x.shape[1:]
        return training.loss_gradients(self.engine, data, objective)

    # --- training, step by step -----------------------------------------------------------------------------

    def forward(self, x: Any) -> Array:
        """Return the outputs in training mode, and keep what `backward` needs.

        Random layers draw a fresh mask, batch normalization takes the batch's statistics, and running statistics move
        as in `fit` (unless an output is infinite or NaN).

        Parameters
        ----------
        x : array_like, shape (n, ...)
            As in `fit`.

        Returns
        -------
        ndarray, shape (n, ...)
        """
        samples = self._samples(x, "x")
        if len(samples) == 0:
            raise ValueError("x: expected at least one sample, got none")
        self.input_shape = samples.shape[1:]
        return self._training.forward(samples)

    @overload
    def backward(self, grad_output: Any, *, input_gradient: Literal[False] = False) -> None: ...
    @overload
    def backward(self, grad_output: Any, *, input_gradient: Literal[True]) -> Array: ...
    def backward(self, grad_output: Any, *, input_gradient: bool = False) -> Array | None:
        """Go back from the last `forward`: add to the `gradients`, up to the next `step`.

        Parameters
        ----------
        grad_output : array_like, shape (n, ...)
            The gradient to the outputs of whatever is to become small. A loss gives it as
            ``loss.gradient(output, target)``.
        input_gradient : bool
            Whether to return the gradient to x, too.

        Returns
        -------
        ndarray, shape (n, ...), or None
            The gradient to x, if it was asked for.

        Raises
        ------
        RuntimeError
            If there was no forward pass; or if all parameters are frozen and no ``input_gradient`` is asked for.
        ValueError
            If the shape is not that of the last forward pass's outputs, or something has trained since then.
        """
        array = real_array(grad_output, "grad_output")
        grad = np.ascontiguousarray(array, dtype=self.dtype)
        return self._training.backward(grad, boolean(input_gradient, "input_gradient"))

    def gradients(self) -> dict[str, Array]:
        """Return writeable views of the gradients that `backward` has added up, by parameter name.

        Frozen parameters have none. `step` and `zero_grad` make the gradients zero; `step` also adds the penalties of
        layers and clips. After a step, call this method again before you write to the gradients.
        """
        return self._training.gradients()

    def zero_grad(self) -> None:
        """Make the `gradients` zero."""
        self._training.zero_gradients()

    def step(self, optimizer: Optimizer) -> None:
        """Update the parameters from the `gradients`: add penalties, clip, update, and make the gradients zero.

        Parameters
        ----------
        optimizer : Optimizer
            One that is equal to the last, or differs only in a learning rate that is a number, goes on with its state.

        Raises
        ------
        RuntimeError
            If there are no gradients since the last step, or all parameters are frozen.
        FloatingPointError
            If a gradient is infinite or NaN. Nothing has changed then.
        """
        self._training.step(optimizer)

    def train_step(
        self,
        x: Any,
        y: Any,
        *,
        loss: AnyLoss | None = None,
        optimizer: Optimizer | None = None,
        sample_weight: Any = None,
    ) -> float:
        """Train on one batch: forward, loss, backward and update in one call.

        Parameters
        ----------
        x, y, loss, optimizer, sample_weight
            As in `fit`, of which this is what happens to each batch, to the bit. It is quickest if the arrays are
            C-contiguous and of the network's dtype (labels of int64), and loss and optimizer the same objects each
            time.

        Returns
        -------
        float
            The mean loss of the batch before the update.

        Raises
        ------
        FloatingPointError
            If the loss or a gradient is infinite or NaN; it says where that began. Nothing has changed then.
        RuntimeError
            If `backward` has added gradients that no `step` has used, or all parameters are frozen.
        """
        if self._classes is None or self._classes.is_plain:
            value = self._training.ready_step(x, y, loss, optimizer, sample_weight)
            if value is not None:
                return value
        given = loss, optimizer
        self.engine.parameters.require_no_pass()
        objective = self._checked_loss(self._default_loss if loss is None else loss)
        settings = Adam() if optimizer is None else checked_optimizer(optimizer)
        self._training.require_trained(settings)
        data = self._data(x, y, objective, sample_weight=sample_weight)
        if objective is not self._training.loss and objective != self._training.loss:
            for last, own in self._ends(objective):
                training.warn_of_last_layer(last, own)
        self.input_shape = data.x.shape[1:]
        return self._training.train_step(data, objective, settings, given)

    def training_state_dict(self) -> dict[str, Any]:
        """Return what training needs to go on beside the `state_dict`.

        Returns
        -------
        dict
            ``"optimizer"`` has its settings, or None, and ``"updates"`` the number of updates that it has made. An
            entry like ``"first_moment.0.weight"`` has what the optimizer keeps of a parameter. The others are
            ``"learning_rate_factor"``; ``"epochs"``, which number the orders of the samples; ``"training_passes"``,
            which number the masks of random layers; ``"frozen"``, the names in `frozen`; and ``"missed_updates"``, how
            many updates each parameter missed while it was frozen.
        """
        return self._training.state_dict()

    def load_training_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with what `training_state_dict` returned, of this network or of one like it.

        Raises
        ------
        TypeError, ValueError
            If something is missing, unknown or of another shape. Nothing is changed then.
        RuntimeError
            In the middle of a pass of the same thread.
        """
        self._training.load_state_dict(state)

    @property
    def history(self) -> History | None:
        """The losses and metrics of all epochs of `fit`, through all its calls, also interrupted ones; None before."""
        return self._training.history

    @property
    def epochs_trained(self) -> int:
        """The number of epochs that `fit` has begun."""
        return self._training.epochs

    @epochs_trained.setter
    def epochs_trained(self, epochs: int) -> None:
        self._training.epochs = integer(epochs, "epochs_trained", 0)

    @property
    def learning_rate_factor(self) -> float:
        """The number, from 0, that multiplies the optimizer's learning rate.

        A callback may set it. It belongs to the optimizer's state: another optimizer, or another learning rate, begins
        with 1.
        """
        return self._training.factor

    @learning_rate_factor.setter
    def learning_rate_factor(self, factor: float) -> None:
        self._training.factor = factor

    def shuffled(self, n: int) -> Labels:
        """Return the order of n samples for the present epoch, which depends on seed and epoch alone."""
        return self.engine.order(self.epochs_trained, n)

    # --- training -------------------------------------------------------------------------------------------

    def fit(
        self,
        x: Any,
        y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int | None = _BATCH_SIZE,
        accumulate_grad_batches: int = 1,
        steps_per_epoch: int | None = None,
        loss: AnyLoss | None = None,
        sample_weight: Any = None,
        optimizer: Optimizer | None = None,
        validation_data: Any = None,
        validation_split: float | None = None,
        metrics: AnyMetrics = (),
        callbacks: Iterable[AnyCallback] = (),
        shuffle: bool = True,
        on_nonfinite: str = "raise",
        progress: bool = True,
        communicator: Any = None,
    ) -> History:
        """Train the network.

        Parameters
        ----------
        x : array_like, shape (n, ...), or iterable of batches
            Samples of real numbers; converted to the network's dtype once, if need be. Bytes (uint8) are pixels:
            they count as fractions of 255, and are converted batch by batch. Arrays in mapped files, and objects with
            ``shape``, ``dtype`` and rows as those of h5py and zarr, are read batch by batch. Without y, an iterable of
            batches ``(x, y)`` or ``(x, y, sample_weight)``, which a thread runs a little ahead.
        y : array_like, optional
            Integer labels of shape (n,), or rows of targets of the output's shape.
        epochs : int
        batch_size : int or None
            None takes all samples in one batch: gradient descent. A stream's batches have sizes of their own.
        accumulate_grad_batches : int
            So many batches in succession make one update, as if they were one batch, but with the memory of one of them
            (batch normalization takes the statistics of each by itself). Their gradients are those of the sums over
            samples, and are divided by the sum of all weights once they are added up. What is left at the end of an
            epoch makes an update, too. Schedules count updates, and callbacks hear of each update as of one batch. A
            batch with infinite or NaN values that is left out does not count.
        steps_per_epoch : int, optional
            Only with a stream: the batches of an epoch. The next epoch goes on where this one stopped, and begins anew
            where the iterable ends. Unless given, an epoch is one iteration.
        loss : optional
            `CrossEntropyLoss` (the notes' `QuadraticLoss` for a network of sizes) unless given.
        sample_weight : array_like, shape (n,), optional
            How much each sample counts, at least 0: a batch's loss is ``sum(w * l) / sum(w)``, as if a sample of
            weight 2 were there twice (a loss that is a sum is ``sum(w * l)``). A class's weight multiplies that of
            its samples. A batch of weights 0 has no gradient. A loss of your own must take it; accuracy counts each
            sample once.
        optimizer : optional
            ``Adam()`` unless given. A further call with an equal optimizer, or one that differs only in a learning rate
            that is a number, goes on with its state, which includes the position in a schedule of learning rates.
        validation_data : pair (x, y) or iterable of batches, optional
            Evaluated after each epoch.
        validation_split : float, optional
            In place of validation_data: the fraction of the samples to evaluate, and not to train on. They are the
            last ones as given, as in Keras, so shuffle data that are in an order.
        metrics : iterable of str or functions, optional
            What the history and the callbacks have beside the loss, and ``val_`` of the same: "precision", "recall" and
            "f1" (means over the classes), "r2", "mae", "rmse" and "mse"; a function is called as ``f(y_true, y_pred)``
            with all targets of an epoch as the network takes them and its outputs, and named by its ``__name__``.
            Classes have their accuracy in any case, and numbers "r2" and "mae". Those of training are taken while the
            parameters move, in training mode, as the loss is.
        callbacks : iterable of Callback or functions
            A function is called as ``callback(network, epoch, history)`` after each epoch of this call, counted from 1;
            training ends when one returns True. A `ranvier.callbacks.Callback` hears of more, such as each batch.
        shuffle : bool
            Whether each epoch takes the samples in a new random order. The order of a stream is its own.
        on_nonfinite : {"raise", "warn", "ignore"}
            What to do with a batch whose loss or gradients are infinite or NaN: raise an error that says where the
            values went bad, with the parameters as they were before the batch; warn and leave the batch out; or
            not even look.
        progress : bool
            Whether to show a progress bar of the whole training, with the figures of its epochs. It is shown in
            notebooks and where the standard error is a terminal, so that it fills no files.
        communicator : mpi4py.MPI.Comm or ranvier.distributed.DataParallel, optional
            Train together with the other processes of an MPI program, all of which make the same call with the same
            network and data: each takes its part of each batch. See `ranvier.distributed`.

        Returns
        -------
        History
            The network's `history`, of all its epochs so far.

        Raises
        ------
        ValueError, TypeError
            If an argument is unfit; nothing has changed then.
        FloatingPointError
            See ``on_nonfinite``.
        KeyboardInterrupt
            On Ctrl-C, after a whole batch; what was trained stays, or what a callback restores at the end.
        RuntimeError
            If a layer or loss of this network calls it in the middle of a pass; if `backward` has added gradients
            that no `step` has used; or if all parameters are frozen.
        """
        from ranvier import fitting  # here, like the profile: not every program trains so
        from ranvier.callbacks import checked_callbacks, hears_batches

        self.engine.parameters.require_no_pass()
        self._training.require_no_gradients()
        objective = self._checked_loss(self._default_loss if loss is None else loss)
        settings = Adam() if optimizer is None else checked_optimizer(optimizer)
        self._training.require_trained(settings)
        if on_nonfinite not in ("raise", "warn", "ignore"):
            raise ValueError(f"on_nonfinite: expected 'raise', 'warn' or 'ignore', got {on_nonfinite!r}")
        epochs, wanted, checked = integer(epochs, "epochs", 0), self._listed(metrics), checked_callbacks(callbacks)
        shuffle, progress = boolean(shuffle, "shuffle"), boolean(progress, "progress")
        accumulate_grad_batches = integer(accumulate_grad_batches, "accumulate_grad_batches", 1)
        held, classes, together = None, self._classes, None
        if communicator is not None:
            from ranvier.distributed.data_parallel import data_parallel

            together = data_parallel(communicator)
        if together is not None:
            if accumulate_grad_batches > 1:
                raise ValueError(
                    f"accumulate_grad_batches: expected 1 with a communicator, whose ranks share each batch, got "
                    f"{accumulate_grad_batches}; take a larger batch_size"
                )
            progress = progress and together.rank == 0
            checked = [callback for callback in checked if together.rank == 0 or not callback.first_rank_only]
        with contextlib.ExitStack() as reading:  # which ends with the training
            if together is not None:
                reading.push(together.leave)
            if y is None:
                _require_stream(x, batch_size, sample_weight, validation_split)
                batches: Batches = self._training_stream(x, epochs, steps_per_epoch, objective, settings)
                of_training = self._metrics(wanted, batches, None, objective)
            else:
                if steps_per_epoch is not None:
                    raise TypeError("steps_per_epoch: expected None with arrays, whose epochs are all samples")
                data = self._data(x, y, objective, sample_weight=sample_weight, by_rows=True, learn=True)
                classes = data.classes
                if validation_split is not None:
                    if validation_data is not None:
                        raise ValueError("validation_split: expected None with validation_data, got both")
                    data, held = data.split(held_out(validation_split, len(data.x)))
                if together is None:
                    batches = ArrayBatches(data, _checked_batch_size(batch_size, len(data.x)))
                else:
                    batches = together.batches(data, batch_size)
                of_training = self._metrics(wanted, batches, data, objective)
            reading.enter_context(batches)
            validation = None
            if held is not None or validation_data is not None:
                others = (
                    self._validation(validation_data, objective, epochs, classes) if held is None else batches_of(held)
                )
                reading.enter_context(others)
                validation = others, self._metrics(wanted, others, None, objective, of_training)
            plan = fitting.Plan(
                batches=batches,
                metrics=of_training,
                validation=validation,
                loss=objective,
                optimizer=settings,
                epochs=epochs,
                callbacks=checked,
                shuffle=shuffle,
                on_nonfinite=on_nonfinite,
                progress=progress,
                accumulate_grad_batches=accumulate_grad_batches,
                by_batch=any(hears_batches(callback) for callback in checked),
                together=together,
            )
            if together is not None:
                plan = self._common_plan(plan, classes)
            for callback in plan.callbacks:
                callback.on_train_begin(self, plan.quantities())
            for last, own in self._ends(objective):
                training.warn_of_last_layer(last, own)
            self.input_shape = batches.first.x.shape[1:]
            self._training.loss = objective
            self._classes = classes
            try:
                history = fitting.fit(self, self._training, plan)
            except KeyboardInterrupt:
                for callback in plan.callbacks:
                    callback.on_train_end(self)
                raise
            for callback in plan.callbacks:
                callback.on_train_end(self)
            return history

    def _common_plan(self, plan: Plan, classes: Classes | None) -> Plan:
        """Return a plan that is the same on all ranks, or raise on all of them."""
        together, state = plan.together, self._training
        assert together is not None
        together.require_same(
            together.describe(self.engine, plan.batches)
            | {
                "classes": None if classes is None else classes.values.tolist(),
                "epochs": plan.epochs,
                "loss": repr(plan.loss) if isinstance(plan.loss, Loss) else type(plan.loss).__name__,
                "optimizer": repr(plan.optimizer),
                "shuffle": plan.shuffle,
                "on_nonfinite": plan.on_nonfinite,
                "metrics and validation_data": plan.quantities(),
                "epochs_trained": state.epochs,
                "the optimizer's updates": 0 if state.state is None else state.state.steps,
                "learning_rate_factor": state.factor,
            }
        )
        return plan._replace(by_batch=together.any(plan.by_batch))

    def _training_stream(
        self, stream: Any, epochs: int, steps: int | None, loss: Loss | CustomLoss, optimizer: Optimizer
    ) -> StreamBatches:
        steps = None if steps is None else integer(steps, "steps_per_epoch", 1)
        is_known = steps is not None or hasattr(stream, "__len__")
        for rate in [optimizer.lr, *(group.lr for group in optimizer.groups)]:
            if not is_known and not isinstance(rate, float | None) and rate.updates_per_epoch is None:
                raise TypeError(
                    f"steps_per_epoch: expected the batches of an epoch, since {rate!r} needs to know and the stream "
                    f"has no len(); or give the schedule updates_per_epoch"
                )
        return self._stream(stream, loss, "x", epochs, steps)

    def _validation(
        self, data: Any, loss: Loss | CustomLoss, epochs: int, classes: Classes | None
    ) -> ArrayBatches | StreamBatches:
        if isinstance(data, tuple | list) and len(data) == 2 and not is_stream(data):
            x, y = data
            return batches_of(self._data(x, y, loss, "validation_data", by_rows=True, classes=classes))
        if not is_stream(data):
            raise TypeError("validation_data: expected a pair (x, y) or an iterable of batches")
        return self._stream(data, loss, "validation_data", epochs, classes=classes)

    def profile(
        self,
        x: Any,
        y: Any = None,
        *,
        batch_size: int | None = _BATCH_SIZE,
        loss: Loss | None = None,
        optimizer: Optimizer | None = None,
        seconds: float = 1.0,
    ) -> Profile:
        """Measure how long each layer takes in training, forward and backward, and against the machine's peak.

        Each layer takes the whole batch, with all threads; training lets threads take micro-batches through several
        layers by themselves, which is a little faster.

        Parameters
        ----------
        x, y, batch_size, loss, optimizer
            As in `fit`, but the loss must be one of the library. Of a stream the first batch is taken, and of a mapped
            file the rows of 64 batches. The parameters, the random state and the optimizer's state stay as they are.
        seconds : float
            How long to train for the measurement, at least.

        Returns
        -------
        Profile
            Print it for a table.
        """
        from ranvier import profiling

        if loss is None:
            loss = self.loss if isinstance(self.loss, Loss) else self._default_loss
        if not isinstance(checked_loss(loss), Loss):
            raise TypeError(f"loss: expected a loss of the library, got {loss!r}")
        settings = Adam() if optimizer is None else checked_optimizer(optimizer)
        if y is None:
            _require_stream(x, batch_size, None, None)
            with self._stream(x, loss, "x") as batches:
                data = batches.first
            size = len(data.x)
        else:
            data = self._data(x, y, loss, by_rows=True)
            size = _checked_batch_size(batch_size, len(data.x))
            if data.is_read_by_rows():
                data = data.read(self.engine.order(0, len(data.x))[: profiling.BATCHES * size])
        return profiling.profile(self.engine, data.x, data.y, size, loss, settings, seconds)

    # --- description and files ------------------------------------------------------------------------------

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

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        *,
        training_state: bool = False,
    ) -> None:
        """Write the network to a safetensors file, from which `load` restores it.

        Parameters
        ----------
        path : path-like
            Replaced in one step if it exists, with its permissions. A symbolic link stays, and leads to the new file.
        metadata : mapping of str to str, optional
            More entries for the file; `load` gives them back as ``network.metadata``.
        training_state : bool
            Whether to add what `fit` needs to go on as if it had never stopped: the `training_state_dict` and the
            `history`. Then `load`, and `fit` with an equal optimizer, give the very bits of an uninterrupted training.

        Raises
        ------
        ValueError
            If an initializer or, with the training state, a schedule is of your own, or a layer whose class is not
            registered (`ranvier.register_layer`); if the path leads to
            what is no plain file; if an entry of the metadata is named "ranvier" or they are too long.
        OSError
            If the file cannot be written; what was there is as it was.
        """
        from ranvier import checkpoint

        checkpoint.write(path, self._contents(training_state), metadata)

    def _contents(self, training_state: bool) -> Contents:
        from ranvier.checkpoint import Contents

        with self.engine.parameters.reading():  # all of one moment
            history = self.history
            return Contents(
                layers=self.layers,
                wiring=self._wiring,
                dtype=self.dtype.name,
                seed=self.seed,
                init=self.init,
                input_shape=self.input_shape,
                epochs=self.epochs_trained,
                values=self.engine.state(),
                training=self.training_state_dict() if training_state else None,
                history=history.as_dict() if training_state and history is not None else None,
                loss=self._training.loss if isinstance(self._training.loss, Loss) else self._joint_loss,
                classes=None if self._classes is None else self._classes.values.tolist(),
            )

    def averaged(self) -> Network:
        """Return a network with the exponential moving averages of the parameters, to predict with.

        The optimizer keeps them if it has an ``ema_decay`` d: ``average = d * average + (1 - d) * w`` at each update,
        divided by ``1 - d**updates``, as Adam's moments are, since it begins at 0. Frozen parameters and running
        statistics are as they are now. The training goes on in this network; the other's has not begun.

        Raises
        ------
        RuntimeError
            If the last training had no ``ema_decay``.
        """
        with self.engine.parameters.reading():
            twin = self._without_training()
            twin.load_state_dict(self._training.averages())
        twin.input_shape, twin._classes = self.input_shape, self._classes
        twin._training.loss = self._training.loss
        return twin

    def _without_training(self) -> Network:
        """Return a network of these layers that has not been trained."""
        return Network(self.layers, seed=self.seed, dtype=self.dtype, init=self.init)

    def _of_dtype(self, dtype: Any) -> Network:
        """Return a network of these layers and of that dtype."""
        return Network(self.layers, seed=self.seed, dtype=dtype)

    # --- copies ---------------------------------------------------------------------------------------------

    def copy(self) -> Network:
        """Return a network of its own with the same parameters and training state.

        Layers, loss and optimizer are shared: those of the library never change. ``copy.deepcopy`` copies these, too,
        if they are of your own. Gradients that no `step` has used are not copied.
        """
        return self._copied(self.layers, dict(self.__dict__))

    def _copied(self, layers: tuple[Layer | PlainLayer, ...], attributes: dict[str, Any]) -> Network:
        twin = object.__new__(type(self))
        twin.__dict__.update(attributes)
        twin.layers = layers
        with self.engine.parameters.reading():  # both of one moment
            twin.engine = self.engine.copy(layers)
            twin._training = self._training.copy(twin.engine)
        return twin

    def __copy__(self) -> Network:
        """Return what `copy` does."""
        return self.copy()

    def __deepcopy__(self, memo: dict[int, Any]) -> Network:
        """Return a copy that shares nothing."""
        shared = ("engine", "_training", "layers", "dtype")  # a copy of a dtype would not be recognised
        others = {name: value for name, value in self.__dict__.items() if name not in shared}
        layers = copy.deepcopy(self.layers, memo)
        twin = self._copied(layers, copy.deepcopy(others, memo) | {"dtype": self.dtype})
        loss: Any = copy.deepcopy(self._training.loss, memo)
        twin._training.loss = loss
        memo[id(self)] = twin
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Return what pickle keeps: the contents of a file, and attributes of your own."""
        from ranvier import checkpoint

        with_training = self._training.state is not None or self.history is not None or bool(self.frozen)
        own = {name: value for name, value in self.__dict__.items() if name not in _IN_FILE}
        return own | {"file": checkpoint.to_bytes(self._contents(with_training), self.metadata)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what `__getstate__` returned."""
        from ranvier import checkpoint

        own = dict(state)
        self._take(checkpoint.from_bytes(own.pop("file")))
        self.__dict__.update(own)

    def _take(self, contents: Contents) -> None:
        """Become the network of a file."""
        self._wiring = contents.wiring
        self._set_up(contents.layers, contents.seed, contents.dtype, contents.init)
        self.load_state_dict(contents.values)
        self._training.epochs = contents.epochs
        self._training.loss = contents.loss
        self._classes = None if contents.classes is None else Classes(contents.classes)
        if contents.training is not None:
            self.load_training_state_dict(contents.training)
        if contents.history is not None:
            self._training.history = History.from_dict(contents.history)
        if contents.input_shape is not None:
            self.shapes(contents.input_shape)  # which the layers must fit
        self.input_shape = contents.input_shape
        self.metadata = contents.metadata


# What a file has of a network.
_IN_FILE = {
    "layers",
    "sizes",
    "dtype",
    "seed",
    "init",
    "input_shape",
    "metadata",
    "engine",
    "_training",
    "_classes",
    "_wiring",
}


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote; or the weights that `Predictor.save` did, as a network to train on.

    A predictor's file has neither seed nor sizes: the network is then one of layers, with a random seed.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is truncated, of another format, or not of a ranvier network.
    """
    from ranvier import checkpoint

    with checkpoint.opened(path) as contents:
        kind = Network if contents.sizes is None else hooks.class_of_sizes()
        network: Network = object.__new__(kind if contents.wiring is None else hooks.class_of_values())
        network._take(contents)
    return network
