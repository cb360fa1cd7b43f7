"""The network: layers, their parameters, and how to train and use them."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ranvier import _core, training
from ranvier.checks import integer, nonnegative
from ranvier.data import as_samples, as_targets, as_weights, held_out, require_apart
from ranvier.engine import Engine
from ranvier.history import Evaluation, History
from ranvier.layers import Conv2d, CustomLayer, Layer, Linear, Sigmoid, checked_initializer, require_layers
from ranvier.losses import CrossEntropyLoss, CustomLoss, Loss, QuadraticLoss
from ranvier.notes import LectureNotes
from ranvier.optimizers import Adam, Optimizer
from ranvier.summary import summary_text
from ranvier.tracing import layer_outputs
from ranvier.types import Array, Labels, Weights

if TYPE_CHECKING:
    from ranvier.callbacks import Callback
    from ranvier.initializers import Initializer
    from ranvier.predictor import Predictor
    from ranvier.profiling import Profile

__all__ = ["Network"]


def _checked_sizes(sizes: Sequence[Any]) -> list[int]:
    if len(sizes) < 2 or any(isinstance(size, bool) or size < 1 for size in sizes):
        raise ValueError(f"layers: expected at least two sizes, each at least 1, got {list(sizes)}")
    return [int(size) for size in sizes]


def _checked_batch_size(batch_size: int | None, samples: int) -> int:
    return samples if batch_size is None else min(integer(batch_size, "batch_size", 1), samples)


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
    init : Initializer, optional
        Of the weights of all linear and convolutional layers that have none of their own; their biases then start
        at 0.

    Attributes
    ----------
    layers : tuple of layers
    init : Initializer or None
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
        init: Initializer | None = None,
    ) -> None:
        self.init = checked_initializer(init)
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
        self.layers = require_layers(items, "layers")
        self.seed = int(np.random.SeedSequence().entropy % 2**63) if seed is None else int(seed)  # type: ignore[operator]
        self.history: History | None = None
        self.input_shape: tuple[int, ...] | None = None if self.sizes is None else (self.sizes[0],)
        self.metadata: dict[str, str] = {}
        self.epochs_trained = 0
        self.engine = Engine(self.layers, self.dtype.name, self.seed)
        self._optimizer: tuple[Optimizer, _core.Optimizer] | None = None
        self._learning_rate_factor = 1.0
        self._initialise()

    def __repr__(self) -> str:
        """Return the layers or sizes, and the initializer if there is one."""
        init = "" if self.init is None else f", init={self.init}"
        return f"Network({self.sizes if self.sizes else list(self.layers)}{init})"

    def _initialise(self) -> None:
        rng = np.random.default_rng(self.seed)
        if self.sizes is not None and self.init is None:
            for values in (self.biases, self.weights):  # the notes' order
                for value in values:
                    value[...] = rng.standard_normal(value.shape)
            return
        self._draw(self.layers, "", self.parameters(), rng)

    def _draw(
        self, layers: Iterable[Layer | CustomLayer], path: str, parameters: dict[str, Array], rng: np.random.Generator
    ) -> None:
        for position, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                continue
            for name, start in self._with_init(layer).initial(rng).items():
                parameters[f"{path}{position}.{name}"][...] = start
            for name, branch in layer.inner().items():
                self._draw(branch, f"{path}{position}.{name}.", parameters, rng)

    def _with_init(self, layer: Layer) -> Layer:
        if self.init is not None and isinstance(layer, Linear | Conv2d) and layer.init is None:
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
        return {name: np.array(value, order="C") for name, value in self.engine.values()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Set all parameters and running statistics.

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
        self.engine.load(state)

    # --- use ------------------------------------------------------------------------------------------------

    def predict(self, x: Any, out: Array | None = None) -> Array:
        """Return the network's outputs. Any number of threads may call it at once.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Real numbers; converted to the network's dtype if need be. Bytes (uint8) are pixels, which count as
            fractions of 255, as in `fit`.
        out : ndarray, optional
            Of the outputs' shape and the network's dtype, C-contiguous; filled and returned. It must not overlap x.

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
        samples = self._samples(x, "x")
        require_apart(out, samples)
        outputs = self.engine.predict(samples, out)
        self.input_shape = samples.shape[1:]
        return outputs

    def predictor(self, threads: int | None = None) -> Predictor:
        """Return what predicts with the weights as they are now, whatever becomes of the network.

        If the network knows the shape of its samples, by an earlier call or because it was made from sizes, the
        weights are made ready for them at once, and else at the first prediction.

        Parameters
        ----------
        threads : int, optional
            Of a prediction at most; `num_threads` at the time of each prediction unless given.

        Returns
        -------
        Predictor

        Raises
        ------
        TypeError, ValueError
            If ``threads`` is not an int of at least 1.
        """
        from ranvier.predictor import Predictor  # here, so that `import ranvier` stays quick

        shapes = [] if self.input_shape is None else [self.input_shape]
        return Predictor(self.layers, self.engine.parameters.frozen_copy(), self.dtype, shapes, threads)

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
            What each of these layers gives, by position.

        Raises
        ------
        ValueError
            If there is no such layer, or a layer does not fit the samples.
        """
        count = len(self.layers)
        wanted = set(range(count) if layers is None else (integer(position, "layers", 0) for position in layers))
        if unknown := sorted(position for position in wanted if position >= count):
            raise ValueError(f"layers: expected positions from 0 to {count - 1}, got {unknown[0]}")
        outputs = enumerate(layer_outputs(self, self._samples(x, "x"), inner=False))
        return {
            position: output
            for position, (_, _, output) in itertools.islice(outputs, max(wanted, default=-1) + 1)
            if position in wanted
        }

    def _samples(self, x: Any, name: str) -> Any:
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
        if targets.dtype != np.int64 and targets.shape[1:] != shape:
            raise ValueError(f"{name}: expected targets of shape {shape} or integer labels, got {targets.shape[1:]}")
        _core.check_targets(loss.spec(), targets, shape, name)

    def _weights(self, sample_weight: Any, n: int, loss: Loss | CustomLoss) -> Weights | None:
        if sample_weight is None:
            return None
        if not isinstance(loss, Loss):
            raise TypeError(f"sample_weight: expected a loss of the library with it, got {loss!r}")
        return as_weights(sample_weight, n)

    @property
    def _default_loss(self) -> Loss:
        return CrossEntropyLoss() if self.sizes is None else QuadraticLoss()

    @overload
    def evaluate(
        self, x: Any, y: None = None, *, loss: Loss | CustomLoss | None = None, sample_weight: Any = None
    ) -> Any: ...
    @overload
    def evaluate(
        self, x: Any, y: Any, *, loss: Loss | CustomLoss | None = None, sample_weight: Any = None
    ) -> Evaluation: ...
    def evaluate(
        self, x: Any, y: Any = None, *, loss: Loss | CustomLoss | None = None, sample_weight: Any = None
    ) -> Any:
        """Return loss and accuracy; or, as in the notes, the number of hits of ``evaluate(test_data)``.

        Parameters
        ----------
        x : array_like, shape (n, ...), or test data
            With y, the samples. Alone, a pair (x, y) or the notes' list of pairs.
        y : array_like, optional
            Integer labels or rows of targets.
        loss : optional
            `QuadraticLoss` for a network of sizes, `CrossEntropyLoss` for one of layers, unless given.
        sample_weight : array_like, shape (n,), optional
            As in `fit`.

        Returns
        -------
        Evaluation or int
            ``Evaluation(loss, accuracy)`` for x and y; the count of hits if a network of sizes was given test data.
        """
        if y is None:
            if self.sizes is not None:
                if sample_weight is not None:
                    raise TypeError("sample_weight: expected x and y with it, got test data, whose hits are counted")
                return self._count_hits(x)
            if not isinstance(x, tuple) or len(x) != 2:
                raise TypeError("y: expected targets, or x as a pair (x, y)")
            x, y = x
        loss = loss or self._default_loss
        samples, targets = self._data(x, y, loss)
        weights = self._weights(sample_weight, len(samples), loss)
        self.input_shape = samples.shape[1:]
        return training.evaluate(self, samples, targets, loss, weights)

    def gradients(
        self, x: Any, y: Any, *, loss: Loss | CustomLoss | None = None, sample_weight: Any = None
    ) -> dict[str, Array]:
        """Return the gradients of a batch's loss, by parameter name, as views that the next call overwrites.

        Parameters
        ----------
        x, y, loss, sample_weight
            As in `fit`. The penalties of layers count, too.
        """
        loss = loss or self._default_loss
        samples, targets = self._data(x, y, loss)
        weights = self._weights(sample_weight, len(samples), loss)
        self.input_shape = samples.shape[1:]
        return training.gradients(self, samples, targets, loss, weights)

    # --- training -------------------------------------------------------------------------------------------

    @property
    def learning_rate_factor(self) -> float:
        """The number that multiplies the optimizer's learning rate, from the next epoch on.

        A callback may set it, from 0. It belongs to the optimizer's state: `fit` with another optimizer sets it to 1.
        """
        return self._learning_rate_factor

    @learning_rate_factor.setter
    def learning_rate_factor(self, factor: float) -> None:
        self._learning_rate_factor = nonnegative(factor, "learning_rate_factor")

    def shuffled(self, n: int) -> Labels:
        """Return the order of n samples for the present epoch: a function of seed and epoch alone."""
        return _core.random_permutation(self.seed, self.epochs_trained, n)

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        epochs: int = 1,
        batch_size: int | None = 32,
        loss: Loss | CustomLoss | None = None,
        sample_weight: Any = None,
        optimizer: Optimizer | None = None,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float | None = None,
        callbacks: Iterable[Callback] = (),
        shuffle: bool = True,
        on_nonfinite: str = "raise",
        progress: bool = True,
    ) -> History:
        """Train the network.

        Parameters
        ----------
        x : array_like, shape (n, ...)
            Samples of real numbers; converted to the network's dtype once, if need be. Bytes (uint8) are pixels:
            they count as fractions of 255, and are converted batch by batch.
        y : array_like
            Integer labels of shape (n,), or rows of targets of the output's shape.
        epochs : int
        batch_size : int or None
            None takes all samples in one batch: gradient descent.
        loss : optional
            `CrossEntropyLoss` (the notes' `QuadraticLoss` for a network of sizes) unless given.
        sample_weight : array_like, shape (n,), optional
            How much each sample counts, at least 0: a batch's loss is ``sum(w * l) / sum(w)``, as if a sample of
            weight 2 were there twice (a loss that is a sum is ``sum(w * l)``). A class's weight multiplies that of
            its samples. A batch of weights 0 has no gradient. Only with a loss of the library; accuracy counts each
            sample once.
        optimizer : optional
            ``Adam()`` unless given. A further call with an equal optimizer goes on with its state, which includes
            the position in a schedule of learning rates.
        validation_data : pair (x, y), optional
            Evaluated after each epoch.
        validation_split : float, optional
            In place of validation_data: the fraction of the samples to evaluate, and not to train on. They are the
            last ones as given, as in Keras, so shuffle data that are in an order.
        callbacks : iterable of functions
            Each is called as ``callback(network, epoch, history)`` after each epoch, counted from 1; training ends
            when one returns True. ``ranvier.callbacks`` has some.
        shuffle : bool
            Whether each epoch takes the samples in a new random order.
        on_nonfinite : {"raise", "warn", "ignore"}
            What to do with a batch whose loss or gradients are infinite or NaN: raise an error that says where the
            values went bad, with the parameters as they were before the batch; warn and leave the batch out; or
            not even look.
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
        FloatingPointError
            See ``on_nonfinite``.
        KeyboardInterrupt
            On Ctrl-C, after a whole batch; what was trained stays.
        RuntimeError
            If a layer or loss of this network calls it in the middle of a pass.
        """
        self.engine.parameters.require_no_pass()
        loss = loss or self._default_loss
        epochs = integer(epochs, "epochs", 0)
        from ranvier.callbacks import StatefulCallback  # here, like the profile: not every program trains

        callbacks = list(callbacks)
        if wrong := [callback for callback in callbacks if not callable(callback)]:
            raise TypeError(f"callbacks: expected functions, got {wrong[0]!r}")
        samples, targets = self._data(x, y, loss)
        weights = self._weights(sample_weight, len(samples), loss)
        validation = self._validation(validation_data, loss)
        if validation_split is not None:
            if validation is not None:
                raise ValueError("validation_split: expected None with validation_data, got both")
            end = len(samples) - held_out(validation_split, len(samples))
            validation = samples[end:], targets[end:]
            samples, targets = samples[:end], targets[:end]
            weights = None if weights is None else weights[:end]
        batch_size = _checked_batch_size(batch_size, len(samples))
        if on_nonfinite not in ("raise", "warn", "ignore"):
            raise ValueError(f"on_nonfinite: expected 'raise', 'warn' or 'ignore', got {on_nonfinite!r}")
        stateful = [callback for callback in callbacks if isinstance(callback, StatefulCallback)]
        for callback in stateful:
            callback.start(self, validation is not None)
        settings = optimizer or Adam()
        state = self._optimizer_state(settings)
        self.input_shape = samples.shape[1:]
        history = self.history = History()
        training.train(
            self,
            samples,
            targets,
            weights,
            epochs=epochs,
            batch_size=batch_size,
            loss=loss,
            settings=settings,
            optimizer=state,
            validation=validation,
            callbacks=callbacks,
            shuffle=shuffle,
            on_nonfinite=on_nonfinite,
            progress=progress,
            history=history,
        )
        self.history = history  # a callback may have trained the network in between
        for callback in stateful:
            callback.finish(self)
        return history

    def _validation(self, data: Any, loss: Loss | CustomLoss) -> tuple[Array, Any] | None:
        if data is None:
            return None
        if not isinstance(data, tuple | list) or len(data) != 2:
            raise TypeError("validation_data: expected a pair (x, y)")
        x, y = data
        return self._data(x, y, loss, "validation_data")

    def _optimizer_state(self, optimizer: Optimizer) -> _core.Optimizer:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected an optimizer, got {optimizer!r}")
        if self._optimizer is None or self._optimizer[0] != optimizer:
            self._optimizer = optimizer, optimizer.create(self.engine.parameters)
            self.learning_rate_factor = 1.0
        return self._optimizer[1]

    def profile(
        self,
        x: Any,
        y: Any,
        *,
        batch_size: int | None = 32,
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
            As in `fit`. The parameters, the random state and the optimizer's state stay as they are.
        seconds : float
            How long to train for the measurement, at least.

        Returns
        -------
        Profile
            Print it for a table.
        """
        from ranvier import profiling

        loss = loss or self._default_loss
        samples, targets = self._data(x, y, loss)
        batch_size = _checked_batch_size(batch_size, len(samples))
        return profiling.profile(self, samples, targets, batch_size, loss, optimizer or Adam(), seconds)

    # --- description and files ------------------------------------------------------------------------------

    def shapes(self, input_shape: tuple[int, ...]) -> list[tuple[int, ...]]:
        """Return the shape of a sample after each layer."""
        return self.engine.predictor(tuple(input_shape)).shapes

    def summary(self, input_shape: tuple[int, ...] | None = None) -> None:
        """Print each layer with its output's shape and its number of parameters.

        Parameters
        ----------
        input_shape : tuple of int, optional
            Of one sample; the one seen last unless given.
        """
        print(summary_text(self, input_shape if input_shape is not None else self.input_shape))

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
            Replaced in one step if it exists.
        metadata : mapping of str to str, optional
            More entries for the file; `load` gives them back as ``network.metadata``.
        training_state : bool
            Whether to add what `fit` needs to go on as if it had never stopped: the optimizer's state, with its
            `learning_rate_factor`, and the position of the random layers. Then `load`, and `fit` with an equal
            optimizer, give the very bits of an uninterrupted training.

        Raises
        ------
        ValueError
            If a layer, an initializer or, with the training state, a schedule is of your own.
        """
        from ranvier import checkpoint

        checkpoint.save(self, path, metadata, training_state)
