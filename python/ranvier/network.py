"""The network: layers, their parameters, and how to train and use them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, overload

import numpy as np

from ranvier import _core, checkpoint, training
from ranvier.checks import integer
from ranvier.data import as_samples, as_targets, as_values
from ranvier.engine import Engine
from ranvier.history import Evaluation, History
from ranvier.layers import CustomLayer, Layer, Linear, Sigmoid
from ranvier.losses import CrossEntropyLoss, CustomLoss, Loss, QuadraticLoss
from ranvier.notes import LectureNotes
from ranvier.optimizers import Adam, Optimizer
from ranvier.summary import summary_text
from ranvier.types import Array, Labels

__all__ = ["Network"]


def _checked_sizes(sizes: Sequence[Any]) -> list[int]:
    if len(sizes) < 2 or any(isinstance(size, bool) or size < 1 for size in sizes):
        raise ValueError(f"layers: expected at least two sizes, each at least 1, got {list(sizes)}")
    return [int(size) for size in sizes]


class Network(LectureNotes):
    """A network of layers, or the lecture notes' network of sizes.

    Parameters
    ----------
    layers : sequence of int, or sequence of layers
        Sizes, as in ``Network([784, 30, 10])``, make the notes' network: sigmoid layers, quadratic cost, weights
        and biases from N(0, 1). Layers make a network of them, started as PyTorch starts them.
    seed : int, optional
        Of the starting values, the order of the samples and the random layers. A random one if not given.
    dtype : {"float32", "float64"}
        Of parameters and arithmetic.

    Attributes
    ----------
    layers : tuple of layers
    sizes : list of int or None
    history : History or None
        Of the last `fit`, also if it was interrupted.
    input_shape : tuple of int or None
        The shape of the samples seen last.

    Examples
    --------
    >>> net = Network([Linear(2, 3), Sigmoid(), Linear(3, 2)], seed=0)
    >>> net.predict(np.zeros((5, 2))).shape
    (5, 2)
    """

    def __init__(
        self,
        layers: Sequence[int] | Sequence[Layer | CustomLayer],
        *,
        seed: int | None = None,
        dtype: Any = "float32",
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype.name not in ("float32", "float64"):
            raise ValueError(f"dtype: expected float32 or float64, got {self.dtype.name}")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer)):
            raise TypeError(f"seed: expected an int, got {type(seed).__name__}")
        if seed is not None and not 0 <= seed < 2**63:
            raise ValueError(f"seed: expected an int from 0 to below 2**63, got {seed}")
        items: list[Any] = list(layers)
        if not items:
            raise ValueError("layers: expected at least one layer, got none")
        self.sizes: list[int] | None = None
        if all(isinstance(item, int | np.integer) for item in items):
            self.sizes = _checked_sizes(items)
            items = []
            for inputs, outputs in zip(self.sizes[:-1], self.sizes[1:], strict=True):
                items += [Linear(inputs, outputs), Sigmoid()]
        for position, item in enumerate(items):
            if isinstance(item, type) or not isinstance(item, Layer | CustomLayer):
                raise TypeError(f"layers: expected layers or sizes, got {item!r} at position {position}")
        self.layers: tuple[Layer | CustomLayer, ...] = tuple(items)
        self.seed = int(np.random.SeedSequence().entropy % 2**63) if seed is None else int(seed)  # type: ignore[operator]
        self.history: History | None = None
        self.input_shape: tuple[int, ...] | None = None if self.sizes is None else (self.sizes[0],)
        self.metadata: dict[str, str] = {}
        self.epochs_trained = 0
        self.engine = Engine(self.layers, self.dtype.name, self.seed)
        self._optimizer: tuple[Optimizer, list[_core.Optimizer]] | None = None
        self._initialise()

    def __repr__(self) -> str:
        """Return the layers or sizes."""
        return f"Network({self.sizes if self.sizes else list(self.layers)})"

    def _initialise(self) -> None:
        rng = np.random.default_rng(self.seed)
        if self.sizes is not None:
            for values in (self.biases, self.weights):  # the notes' order
                for value in values:
                    value[...] = rng.standard_normal(value.shape)
            return
        parameters = self.parameters()
        for position, layer in enumerate(self.layers):
            if isinstance(layer, Layer):
                for name, start in layer.initial(rng).items():
                    parameters[f"{position}.{name}"][...] = start

    # --- parameters -----------------------------------------------------------------------------------------

    def parameters(self) -> dict[str, Array]:
        """Return writeable views of all parameters, named as PyTorch names them: "0.weight", "0.bias"."""
        return dict(self.engine.parameters())

    def state_dict(self) -> dict[str, Array]:
        """Return copies of all parameters by name."""
        return {name: np.array(value, order="C") for name, value in self.engine.parameters()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters.

        Parameters
        ----------
        state : mapping of str to array_like
            One array for each parameter, of its shape (see `state_dict`).

        Raises
        ------
        TypeError
            If an array is not of real numbers. Nothing is changed then.
        ValueError
            If a name is missing or unknown or a shape differs. Nothing is changed then.
        """
        parameters = self.parameters()
        if missing := parameters.keys() - state.keys():
            raise ValueError(f"state: missing {sorted(missing)}")
        if unknown := state.keys() - parameters.keys():
            raise ValueError(f"state: unknown {sorted(unknown)}")
        arrays = {
            name: as_values(state[name], value.shape, value.dtype, f"state: {name}")
            for name, value in parameters.items()
        }
        for name, value in parameters.items():
            value[...] = arrays[name]

    # --- use ------------------------------------------------------------------------------------------------

    def predict(self, x: Any) -> Array:
        """Return the network's outputs.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Real numbers; converted to the network's dtype if need be.

        Returns
        -------
        ndarray, shape (n, ...)
            A row's bits do not depend on the other rows.

        Raises
        ------
        ValueError
            If a layer does not fit the samples.
        """
        stack = self.engine.single
        if stack is not None and stack.latest_plan is not None:
            outputs = stack.latest_plan.predict_few(x)
            if outputs is not None:
                return outputs
        samples = self._samples(x, "x")
        self.input_shape = samples.shape[1:]
        return self.engine.predict(samples)

    def _samples(self, x: Any, name: str) -> Array:
        samples = as_samples(x, self.dtype, name)
        self.engine.output_shape(samples.shape[1:])  # a misfit is told before anything happens
        return samples

    def _data(self, x: Any, y: Any, loss: Loss | CustomLoss, of: str = "") -> tuple[Array, Any]:
        names = (f"{of} x", f"{of} y") if of else ("x", "y")
        if not callable(loss) or not hasattr(loss, "gradient"):
            raise TypeError(f"loss: expected a loss, got {loss!r}")
        samples = self._samples(x, names[0])
        if len(samples) == 0:
            raise ValueError(f"{names[0]}: expected at least one sample, got none")
        outputs = int(np.prod(self.engine.output_shape(samples.shape[1:])))
        targets = as_targets(y, len(samples), self.dtype, loss, outputs, names[1])
        if isinstance(loss, Loss):
            self._check_targets(samples, targets, loss, names[1])
        return samples, targets

    def _check_targets(self, samples: Array, targets: Any, loss: Loss, name: str) -> None:
        shape = self.engine.output_shape(samples.shape[1:])
        if targets.dtype != np.int64:
            if targets.shape[1:] != shape:
                raise ValueError(
                    f"{name}: expected targets of shape {shape} or integer labels, got {targets.shape[1:]}"
                )
            return
        outputs = int(np.prod(shape))
        classes = 2 if outputs == 1 and not isinstance(loss, CrossEntropyLoss) else outputs
        if targets.min() < 0 or targets.max() >= classes:
            wrong = targets.min() if targets.min() < 0 else targets.max()
            raise ValueError(f"{name}: expected labels from 0 to {classes - 1}, got {wrong}")

    @property
    def _default_loss(self) -> Loss:
        return CrossEntropyLoss() if self.sizes is None else QuadraticLoss()

    @overload
    def evaluate(self, x: Any, y: None = None, *, loss: Loss | CustomLoss | None = None) -> Any: ...
    @overload
    def evaluate(self, x: Any, y: Any, *, loss: Loss | CustomLoss | None = None) -> Evaluation: ...
    def evaluate(self, x: Any, y: Any = None, *, loss: Loss | CustomLoss | None = None) -> Any:
        """Return loss and accuracy; or, as in the notes, the number of hits of ``evaluate(test_data)``.

        Parameters
        ----------
        x : array_like, shape (n, ...), or test data
            With y, the samples. Alone, a pair (x, y) or the notes' list of pairs.
        y : array_like, optional
            Integer labels or rows of targets.
        loss : optional
            `QuadraticLoss` for a network of sizes, `CrossEntropyLoss` for one of layers, unless given.

        Returns
        -------
        Evaluation or int
            ``Evaluation(loss, accuracy)`` for x and y; the count of hits if a network of sizes was given test data.
        """
        if y is None:
            if self.sizes is not None:
                return self._count_hits(x)
            if not isinstance(x, tuple) or len(x) != 2:
                raise TypeError("y: expected targets, or x as a pair (x, y)")
            x, y = x
        loss = loss or self._default_loss
        samples, targets = self._data(x, y, loss)
        self.input_shape = samples.shape[1:]
        return training.evaluate(self, samples, targets, loss)

    def gradients(self, x: Any, y: Any, *, loss: Loss | None = None) -> dict[str, Array]:
        """Return the gradients of a batch's loss, by parameter name, as views that the next call overwrites.

        Parameters
        ----------
        x, y, loss
            As in `fit`; the loss must be one of the library's, the network without layers of your own.
        """
        loss = loss or self._default_loss
        stack = self.engine.single
        if stack is None:
            raise ValueError("gradients: a network with layers of your own is trained by fit only")
        samples, targets = self._data(x, y, loss)
        self.input_shape = samples.shape[1:]
        stack.plan(samples.shape[1:], len(samples)).gradients(samples, targets, loss.kind)
        return {name: stack.parameters.gradient(name) for name in stack.parameters.names}

    # --- training -------------------------------------------------------------------------------------------

    def shuffled(self, n: int) -> Labels:
        """Return the order of n samples for the present epoch: a function of seed and epoch alone."""
        return _core.random_permutation(self.seed, self.epochs_trained, n)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        loss: Loss | CustomLoss | None = None,
        optimizer: Optimizer | None = None,
        validation_data: tuple[Any, Any] | None = None,
        callbacks: Iterable[training.Callback] = (),
        shuffle: bool = True,
        progress: bool = True,
    ) -> History:
        """Train the network.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Samples of real numbers; converted to the network's dtype once, if need be.
        y : array_like
            Integer labels of shape (n,), or rows of targets of the output's shape.
        epochs, batch_size : int
        loss : optional
            `CrossEntropyLoss` (the notes' `QuadraticLoss` for a network of sizes) unless given.
        optimizer : optional
            ``Adam()`` unless given. A further call with an equal optimizer goes on with its state.
        validation_data : pair (x, y), optional
            Evaluated after each epoch.
        callbacks : iterable of functions
            Each is called as ``callback(network, epoch, history)`` after each epoch, counted from 1; training ends
            when one returns True.
        shuffle : bool
            Whether each epoch takes the samples in a new random order.
        progress : bool
            Whether to show a progress bar.

        Returns
        -------
        History
            Also kept as ``network.history``.

        Raises
        ------
        ValueError, TypeError
            If an argument is unfit; nothing has changed then.
        KeyboardInterrupt
            On Ctrl-C, after a whole batch; what was trained stays.
        """
        loss = loss or self._default_loss
        epochs, batch_size = integer(epochs, "epochs", 0), integer(batch_size, "batch_size", 1)
        callbacks = list(callbacks)
        if wrong := [callback for callback in callbacks if not callable(callback)]:
            raise TypeError(f"callbacks: expected functions, got {wrong[0]!r}")
        samples, targets = self._data(x, y, loss)
        validation = None
        if validation_data is not None:
            if not isinstance(validation_data, tuple | list) or len(validation_data) != 2:
                raise TypeError("validation_data: expected a pair (x, y)")
            validation = self._data(*validation_data, loss, "validation_data")
        optimizers = self._optimizers(optimizer or Adam())
        self.input_shape = samples.shape[1:]
        self.history = History()
        training.train(
            self,
            samples,
            targets,
            epochs=epochs,
            batch_size=batch_size,
            loss=loss,
            optimizers=optimizers,
            validation=validation,
            callbacks=callbacks,
            shuffle=shuffle,
            progress=progress,
            history=self.history,
        )
        return self.history

    def _optimizers(self, optimizer: Optimizer) -> list[_core.Optimizer]:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected an optimizer, got {optimizer!r}")
        if self._optimizer is None or self._optimizer[0] != optimizer:
            self._optimizer = optimizer, self.engine.optimizers(optimizer)
        return self._optimizer[1]

    # --- description and files ------------------------------------------------------------------------------

    def shapes(self, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shape of a sample after each layer."""
        if self.engine.single:
            return self.engine.single.plan(tuple(input_shape), 1).shapes
        prefixes = [Engine(self.layers[: i + 1], self.dtype.name, self.seed) for i in range(len(self.layers))]
        return [prefix.output_shape(tuple(input_shape)) for prefix in prefixes]

    def summary(self, input_shape: tuple[int, ...] | None = None) -> None:
        """Print each layer with its output's shape and its number of parameters.

        Parameters
        ----------
        input_shape : tuple of int, optional
            Of one sample; the one seen last unless given.
        """
        print(summary_text(self, input_shape if input_shape is not None else self.input_shape))

    def save(self, path: str | os.PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Write the network to a safetensors file, from which `load` restores it.

        Parameters
        ----------
        path : path-like
            Replaced in one step if it exists.
        metadata : mapping of str to str, optional
            More entries for the file; `load` gives them back as ``network.metadata``.

        Raises
        ------
        ValueError
            If the network has a layer of your own.
        """
        checkpoint.save(self, path, metadata)
