"""The notes' class: a network of sigmoid layers with the methods of ``network.py`` and ``network2.py``."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from ranvier import network, optimizers
from ranvier.checks import as_values, integer, nonnegative, real
from ranvier.data import Data, is_stream
from ranvier.history import History
from ranvier.layers import Linear, layers_of_sizes
from ranvier.losses import BCELoss, BCEWithLogitsLoss, Loss, QuadraticLoss
from ranvier.notes import network2
from ranvier.notes.costs import (
    CrossEntropyCost,
    QuadraticCost,
    checked_cost,
    cost_name,
    named_cost,
    sigmoid,
    sigmoid_prime,
)
from ranvier.notes.monitor import Monitor
from ranvier.notes.samples import Pair, columns, pairs, pairs_to_arrays, rows_of_targets
from ranvier.training import count_hits
from ranvier.types import Array

if TYPE_CHECKING:
    from ranvier.checkpoint import Contents
    from ranvier.initializers import Initializer

__all__ = ["Network", "load"]

Regularization = Literal["L1", "L2"]


class Network(network.Network):
    """The lecture notes' network: a list of sizes makes sigmoid layers.

    ``ranvier.Network([784, 30, 10])`` makes one, too. It has all that any `ranvier.Network` has, and its file.

    Write a subclass to try a method of your own. `SGD` calls an `update_mini_batch`, `backprop` or `cost_derivative`
    that a subclass defines, at Python's speed; without them the compiled trainer runs. An `evaluate` or `feedforward`
    of your own counts the hits and gives the costs that `SGD` reports.

    Parameters
    ----------
    sizes : sequence of int
        The units of each layer, the input's first.
    cost : Cost, optional
        `QuadraticCost` unless given. Any object with ``fn(a, y)`` and ``delta(z, a, y)`` will do; one of your own
        is computed sample by sample.
    seed, dtype, init
        As of `ranvier.Network`. Weights and biases start from N(0, 1), as in the notes' chapter 1, unless ``init`` is
        given. With a ``cost`` they start as in chapter 3, by `default_weight_initializer`.

    Attributes
    ----------
    sizes : list of int
    cost : Cost

    Examples
    --------
    >>> net = Network([2, 3, 1], cost=CrossEntropyCost, seed=0)
    >>> x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([0, 1, 1, 1])
    >>> _, _, training_cost, _ = net.SGD((x, y), 100, 4, 1.0, monitor_training_cost=True)  # doctest: +ELLIPSIS
    Epoch 0 complete
    training cost: ...
    >>> training_cost[-1] < 0.1 < training_cost[0]
    True
    """

    def __init__(
        self,
        sizes: Sequence[int],
        cost: Any = None,
        *,
        seed: int | None = None,
        dtype: Any = "float32",
        init: Initializer | None = None,
    ) -> None:
        if not all(isinstance(size, int | np.integer) for size in sizes):
            raise TypeError(f"sizes: expected ints, got {sizes!r}")
        self.sizes = [int(size) for size in sizes]
        self.cost = QuadraticCost if cost is None else checked_cost(cost)
        super().__init__(layers_of_sizes(self.sizes), seed=seed, dtype=dtype, init=init)
        self.input_shape = (self.sizes[0],)
        if init is None and cost is None:
            self.large_weight_initializer()
        elif init is None:
            self.default_weight_initializer()

    def _initialise(self) -> None:
        if self.init is not None:
            super()._initialise()

    def __repr__(self) -> str:
        """Return the sizes, and the cost and the initializer if they are not the first chapter's."""
        cost = "" if self.cost is QuadraticCost else f", cost={getattr(self.cost, '__name__', self.cost)}"
        init = "" if self.init is None else f", init={self.init}"
        return f"Network({self.sizes}{cost}{init})"

    # --- parameters -----------------------------------------------------------------------------------------

    @property
    def num_layers(self) -> int:
        """The number of layers, the input's included."""
        return len(self.sizes)

    @property
    def biases(self) -> list[Array]:
        """One column (y, 1) for each layer after the input; writeable views. Assigning a list copies it in."""
        return [value[:, None] for name, value in self.parameters().items() if name.endswith("bias")]

    @biases.setter
    def biases(self, values: Sequence[Any]) -> None:
        _copy_into(self.biases, values, "biases")

    @property
    def weights(self) -> list[Array]:
        """One matrix (y, x) for each layer after the input; writeable views. Assigning a list copies it in."""
        return [value for name, value in self.parameters().items() if name.endswith("weight")]

    @weights.setter
    def weights(self, values: Sequence[Any]) -> None:
        _copy_into(self.weights, values, "weights")

    def default_weight_initializer(self) -> None:
        """Start anew: biases from N(0, 1), weights from N(0, 1) over the root of the number of the unit's inputs."""
        self.large_weight_initializer()
        for weight in self.weights:
            weight /= np.sqrt(weight.shape[1])

    def large_weight_initializer(self) -> None:
        """Start anew: biases and weights from N(0, 1)."""
        rng = np.random.default_rng(self.seed)
        for values in (self.biases, self.weights):  # the notes' order
            for value in values:
                value[...] = rng.standard_normal(value.shape)

    # --- use ------------------------------------------------------------------------------------------------

    def feedforward(self, a: Any) -> Array:
        """Return the network's output.

        Parameters
        ----------
        a : array_like
            One sample as a column (n, 1) or a vector (n,), or rows of samples (m, n).

        Returns
        -------
        ndarray
            In the same arrangement.
        """
        array = np.asarray(a)
        if array.shape == (self.sizes[0], 1):
            return self.predict(array.reshape(1, -1)).reshape(-1, 1)
        if array.shape == (self.sizes[0],):
            output: Array = self.predict(array[None])[0]
            return output
        return self.predict(array)

    def evaluate(
        self,
        x: Any,
        y: Any = None,
        *,
        loss: Any = None,
        sample_weight: Any = None,
        metrics: Any = (),
    ) -> Any:
        """Return the number of hits on test data, as the notes do; or, with y, what `ranvier.Network.evaluate` does.

        Parameters
        ----------
        x : array_like, shape (n, ...), or test data
            With y, the samples. Alone, a pair (x, y), the notes' list of pairs, or an iterable of batches.
        y : array_like, optional
            Integer labels or rows of targets.
        loss, sample_weight, metrics : optional
            As in `ranvier.Network.evaluate`.

        Returns
        -------
        int or Evaluation
            The hits are the samples whose largest output is the target's. An iterable of batches gives an
            ``Evaluation``, as do x and y.
        """
        if y is not None or (is_stream(x) and not isinstance(x, list)):
            return super().evaluate(x, y, loss=loss, sample_weight=sample_weight, metrics=metrics)
        if sample_weight is not None:
            raise TypeError("sample_weight: expected x and y with it, got test data, whose hits are counted")
        return self._hits(self._of_pairs(x, "test_data"))

    def total_cost(self, data: Any, lmbda: float = 0.0, regularization: Regularization = "L2") -> float:
        """Return the mean cost of samples with the regularization term.

        Parameters
        ----------
        data : pair of arrays (x, y) or list of (x, y) pairs
        lmbda : float
            The term is ``lmbda / n`` times half the sum of the squared weights, or with "L1" the sum of their
            absolute values, for the n samples of these data.
        regularization : {"L1", "L2"}
        """
        l1, l2 = _penalties(lmbda, regularization)
        samples = self._of_pairs(data, "data")
        return self._mean_cost(samples, l1 / len(samples.x), l2 / len(samples.x))

    def _of_pairs(self, data: Any, name: str, **options: Any) -> Data:
        return self._data(*pairs_to_arrays(data, name), QuadraticLoss(), name, **options)

    def _outputs(self, data: Data) -> Array:
        """Return the outputs of samples, by a `feedforward` of the user's own if there is one."""
        if not self._is_own("feedforward"):
            return self.predict(data.x)
        return np.stack([np.reshape(self.feedforward(x), -1) for x, _ in pairs(data, self.dtype)])

    def _hits(self, data: Data) -> int:
        return count_hits(self._outputs(data), data.y)

    def _mean_cost(self, data: Data, l1: float, l2: float) -> float:
        """Return the mean cost of samples with penalties of the weights."""
        outputs, targets = self._outputs(data).astype(np.float64), rows_of_targets(data, self.sizes[-1])
        if cost_name(self.cost) is not None:  # the library's are sums over all that they are given
            total = self.cost.fn(outputs, targets)
        else:
            total = sum(float(self.cost.fn(a[:, None], y[:, None])) for a, y in zip(outputs, targets, strict=True))
        weights = [weight.astype(np.float64) for weight in self.weights]
        penalty = sum(l1 * float(np.abs(w).sum()) + l2 / 2 * float((w**2).sum()) for w in weights)
        return total / len(outputs) + penalty

    def _is_own(self, *names: str) -> bool:
        """Return whether one of these methods is not this class's, but of a subclass or set by the user."""
        return any(getattr(getattr(self, name), "__func__", None) is not getattr(Network, name) for name in names)

    # --- training -------------------------------------------------------------------------------------------

    def SGD(
        self,
        training_data: Any,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Any = None,
        *,
        lmbda: float = 0.0,
        regularization: Regularization = "L2",
        momentum: float = 0.0,
        evaluation_data: Any = None,
        monitor_evaluation_cost: bool = False,
        monitor_evaluation_accuracy: bool = False,
        monitor_training_cost: bool = False,
        monitor_training_accuracy: bool = False,
        early_stopping_n: int = 0,
        halving_n: int = 0,
    ) -> tuple[list[float], list[int], list[float], list[int]]:
        """Train by mini-batch stochastic gradient descent, and print each epoch as the notes do.

        Each epoch takes the samples in a new random order.

        Parameters
        ----------
        training_data : pair of arrays (x, y) or list of (x, y) pairs
            x of shape (m, n), y integer labels or one-hot rows; or pairs of columns.
        epochs, mini_batch_size : int
        eta : float
            The learning rate.
        test_data : optional
            In the same forms. If given, its number of hits is printed after each epoch.
        lmbda : float
            The regularization parameter λ.
        regularization : {"L1", "L2"}
            What λ weighs: the weights' absolute values, or half their squares, divided by the number of samples.
        momentum : float
            The momentum coefficient μ, from 0 to below 1.
        evaluation_data : optional
            In the same forms: what the monitors, the early stopping and the halving look at.
        monitor_evaluation_cost, monitor_evaluation_accuracy, monitor_training_cost, monitor_training_accuracy : bool
            Whether to print and to return the cost (with its regularization term) or the number of hits after each
            epoch.
        early_stopping_n : int
            If above 0, training ends when the hits on the evaluation data have not risen for that many epochs.
        halving_n : int
            If above 0, the learning rate is halved when the hits on the evaluation data have not risen for that many
            epochs; training ends when it would fall below 1/128 of ``eta``.

        Returns
        -------
        evaluation_cost, evaluation_accuracy, training_cost, training_accuracy : list
            One number an epoch if it was monitored. An accuracy is a number of hits.

        Raises
        ------
        TypeError, ValueError
            If an argument is unfit; nothing has changed then.
        FloatingPointError
            If a batch gives numbers that are infinite or NaN.
        """
        size, eta = integer(mini_batch_size, "mini_batch_size", 1), real(eta, "eta")
        momentum = nonnegative(momentum, "momentum", below=1)
        l1, l2 = _penalties(lmbda, regularization)
        if isinstance(test_data, int | float):
            raise TypeError(f"test_data: expected data, got {test_data!r}; pass lmbda and others by their names")
        x, y = pairs_to_arrays(training_data, "training_data")
        train = self._data(x, y, QuadraticLoss(), "training_data", learn=True)
        test, evaluation = (
            None if data is None else self._of_pairs(data, name, classes=train.classes)
            for data, name in ((test_data, "test_data"), (evaluation_data, "evaluation_data"))
        )
        monitor = Monitor(
            hits=self._counted_hits,
            cost=lambda data: self._mean_cost(data, l1 / len(data.x), l2 / len(data.x)),
            training_data=train,
            evaluation_data=evaluation,
            test_data=test,
            wanted={
                "evaluation cost": monitor_evaluation_cost,
                "evaluation accuracy": monitor_evaluation_accuracy,
                "training cost": monitor_training_cost,
                "training accuracy": monitor_training_accuracy,
            },
            early_stopping_n=early_stopping_n,
            halving_n=halving_n,
        )
        settings = _Descent(l1 / len(train.x), l2 / len(train.x), momentum)
        if self._learns_in_python():
            own: tuple[Any, ...] = (lmbda, len(train.x)) if lmbda else ()
            self._descend_in_python(train, epochs, size, eta, settings, own, monitor)
        else:
            self._descend(train._replace(y=y), epochs, size, eta, settings, monitor)
        return monitor.lists

    def _counted_hits(self, data: Data) -> int:
        """Return the hits, by an `evaluate` of the user's own if there is one."""
        return int(self.evaluate(pairs(data, self.dtype))) if self._is_own("evaluate") else self._hits(data)

    def _learns_in_python(self) -> bool:
        return self._is_own("update_mini_batch", "backprop", "cost_derivative") or cost_name(self.cost) is None

    def _descend(self, train: Data, epochs: int, size: int, eta: float, settings: _Descent, monitor: Monitor) -> None:
        """Train by the compiled trainer."""
        learner = self._learner(settings, fresh=monitor.halving_n > 0)

        def report(trained: Any, epoch: int, history: History) -> bool:
            self._take_over(learner)
            is_last = monitor.after_epoch(epoch - 1)
            if learner.learning_rate_factor != monitor.factor:
                learner.learning_rate_factor = monitor.factor
            return is_last

        try:
            learner.fit(
                train.x,
                train.y,
                epochs=epochs,
                batch_size=size,
                loss=self._loss_of(learner),
                optimizer=self._optimizer(eta, settings),
                callbacks=[report],
                progress=False,
            )
        finally:
            self._take_over(learner)

    def _descend_in_python(
        self,
        train: Data,
        epochs: int,
        size: int,
        eta: float,
        settings: _Descent,
        own_arguments: tuple[Any, ...],
        monitor: Monitor,
    ) -> None:
        """Train by methods of the user's own, sample by sample."""
        is_own = self._is_own("update_mini_batch")
        if is_own and (settings.momentum or settings.l1):
            raise TypeError("momentum, regularization: expected none with an update_mini_batch of your own")
        epochs = integer(epochs, "epochs", 0)
        samples = columns(train, self.sizes[-1], self.dtype)
        velocities = [np.zeros_like(values) for values in self.biases + self.weights]
        self._classes = train.classes
        for epoch in range(epochs):
            self.epochs_trained += 1
            order = self.shuffled(len(samples))
            for first in range(0, len(samples), size):
                mini_batch = [samples[i] for i in order[first : first + size]]
                if is_own:
                    self.update_mini_batch(mini_batch, monitor.factor * eta, *own_arguments)
                else:
                    self._update(mini_batch, monitor.factor * eta, settings, velocities)
            if not all(np.isfinite(values).all() for values in self.biases + self.weights):
                raise FloatingPointError(f"epoch {epoch}: weights or biases are infinite or NaN")
            if monitor.after_epoch(epoch):
                break

    def _update(self, mini_batch: list[Pair], eta: float, settings: _Descent, velocities: list[Array]) -> None:
        """Take one step from the gradients that `backprop` gives of each sample."""
        nabla_b = [np.zeros_like(bias) for bias in self.biases]
        nabla_w = [np.zeros_like(weight) for weight in self.weights]
        for x, y in mini_batch:
            delta_nabla_b, delta_nabla_w = self.backprop(x, y)
            nabla_b = [nb + dnb for nb, dnb in zip(nabla_b, delta_nabla_b, strict=True)]
            nabla_w = [nw + dnw for nw, dnw in zip(nabla_w, delta_nabla_w, strict=True)]
        gradients = [nb / len(mini_batch) for nb in nabla_b] + [
            nw / len(mini_batch) + settings.l1 * np.sign(w) + settings.l2 * w
            for nw, w in zip(nabla_w, self.weights, strict=True)
        ]
        for values, gradient, velocity in zip(self.biases + self.weights, gradients, velocities, strict=True):
            velocity *= settings.momentum
            velocity += gradient
            values -= eta * velocity

    def update_mini_batch(self, mini_batch: Any, eta: float, lmbda: float = 0.0, n: int | None = None) -> None:
        """Take one step of gradient descent on a mini-batch: a list of (x, y) pairs or a pair of arrays.

        Parameters
        ----------
        mini_batch : list of (x, y) pairs or pair of arrays (x, y)
        eta : float
            The learning rate.
        lmbda : float
            The regularization parameter λ of L2.
        n : int, optional
            The number of all training samples, by which λ is divided.
        """
        l1, l2 = _penalties(lmbda, "L2")
        if l2 and n is None:
            raise TypeError("n: expected the number of training samples with lmbda, got none")
        settings = _Descent(l1, l2 / integer(1 if n is None else n, "n", 1), 0.0)
        x, y = pairs_to_arrays(mini_batch, "mini_batch")
        if self._learns_in_python():
            batch = self._data(x, y, QuadraticLoss(), "mini_batch")
            velocities = [np.zeros_like(values) for values in self.biases + self.weights]
            self._update(columns(batch, self.sizes[-1], self.dtype), real(eta, "eta"), settings, velocities)
            return
        learner = self._learner(settings)
        learner.train_step(x, y, loss=self._loss_of(learner), optimizer=self._optimizer(real(eta, "eta"), settings))
        self._take_over(learner)

    def backprop(self, x: Any, y: Any) -> tuple[list[Array], list[Array]]:
        """Return the gradient of the cost of one sample.

        Parameters
        ----------
        x : array_like, shape (n, 1) or (n,)
        y : array_like, shape (m, 1) or (m,), or int
            The wanted output, or its class.

        Returns
        -------
        nabla_b, nabla_w : list of ndarray
            Like `biases` and `weights`, layer by layer.
        """
        target = np.asarray(y)
        target = target.reshape(1) if target.ndim == 0 else target.reshape(1, -1)
        row = np.asarray(x).reshape(1, -1)
        if self.cost is QuadraticCost and not self._is_own("cost_derivative"):
            gradients = self.loss_gradients(row, target, loss=QuadraticLoss())
            nabla_b = [grad[:, None] for name, grad in gradients.items() if name.endswith("bias")]
            return nabla_b, [grad for name, grad in gradients.items() if name.endswith("weight")]
        ((column, wanted),) = columns(self._data(row, target, QuadraticLoss()), self.sizes[-1], self.dtype)
        return self._backprop(column, wanted)

    def _backprop(self, x: Array, y: Array) -> tuple[list[Array], list[Array]]:
        """Return the gradient by the notes' four equations."""
        activations, zs = [x], []
        for bias, weight in zip(self.biases, self.weights, strict=True):
            zs.append(weight @ activations[-1] + bias)
            activations.append(sigmoid(zs[-1]))
        if self._is_own("cost_derivative"):
            delta = self.cost_derivative(activations[-1], y) * sigmoid_prime(zs[-1])
        else:
            delta = self.cost.delta(zs[-1], activations[-1], y)
        nabla_b, nabla_w = [delta], [delta @ activations[-2].T]
        for layer in range(2, self.num_layers):
            delta = (self.weights[1 - layer].T @ delta) * sigmoid_prime(zs[-layer])
            nabla_b.insert(0, delta)
            nabla_w.insert(0, delta @ activations[-layer - 1].T)
        return nabla_b, nabla_w

    def cost_derivative(self, output_activations: Any, y: Any) -> Array:
        """Return the derivative of the quadratic cost to the output activations, ``output_activations - y``."""
        difference: Array = np.asarray(output_activations) - np.asarray(y)
        return difference

    # --- the compiled trainer -------------------------------------------------------------------------------

    def _learner(self, settings: _Descent, fresh: bool = False) -> network.Network:
        """Return what the compiled trainer trains: this network, or one with its parameters that suits it better.

        The cross-entropy's error ``a - y`` is exact only where the last sigmoid is part of the loss, and penalties
        belong to layers.
        """
        if self.cost is QuadraticCost and not fresh and settings == _Descent(0.0, 0.0, 0.0):
            return self
        l1, l2 = settings.l1 / self._cost_scale, settings.l2 / self._cost_scale
        layers = [
            dataclasses.replace(layer, l1=l1, l2=l2) if isinstance(layer, Linear) else layer for layer in self.layers
        ]
        learner = network.Network(
            layers[:-1] if self.cost is CrossEntropyCost else layers, seed=self.seed, dtype=self.dtype
        )
        learner.load_state_dict(self.state_dict())
        if self.frozen:
            learner.freeze(*self.frozen)
        learner.epochs_trained = self.epochs_trained
        learner._classes = self._classes
        return learner

    @property
    def _cost_scale(self) -> int:
        """How many times the compiled loss, a mean over outputs for the cross-entropy, the cost is."""
        return self.sizes[-1] if self.cost is CrossEntropyCost else 1

    def _loss_of(self, learner: network.Network) -> Loss:
        return BCEWithLogitsLoss() if self.cost is CrossEntropyCost else QuadraticLoss()

    def _optimizer(self, eta: float, settings: _Descent) -> optimizers.SGD:
        return optimizers.SGD(eta * self._cost_scale, momentum=settings.momentum)

    def _take_over(self, learner: network.Network) -> None:
        """Take over what a learner has learned."""
        if learner is self:
            return
        self.load_state_dict(learner.state_dict())
        self.epochs_trained, self._classes = learner.epochs_trained, learner._classes

    @property
    def _default_loss(self) -> Loss:
        if cost_name(self.cost) is None:
            raise TypeError(f"loss: expected one, as the network's cost is of your own: {self.cost!r}")
        return QuadraticLoss() if self.cost is QuadraticCost else BCELoss()

    # --- files ----------------------------------------------------------------------------------------------

    def save(
        self,
        path: str | os.PathLike[str],
        metadata: Mapping[str, str] | None = None,
        *,
        training_state: bool = False,
    ) -> None:
        """Write the network with its cost to a file, as `ranvier.Network.save` does.

        Raises
        ------
        ValueError, OSError
            As `ranvier.Network.save` does; also if the cost is one of your own.
        """
        if cost_name(self.cost) is None:
            raise ValueError(f"cost: expected one of the library for a file, got {self.cost!r}")
        super().save(path, metadata, training_state=training_state)

    def _contents(self, training_state: bool) -> Contents:
        contents = super()._contents(training_state)
        contents.sizes, contents.cost = self.sizes, cost_name(self.cost)
        return contents

    def _take(self, contents: Contents) -> None:
        assert contents.sizes is not None
        self.sizes = contents.sizes
        self.cost = QuadraticCost if contents.cost is None else named_cost(contents.cost)
        super()._take(contents)

    def _without_training(self) -> Network:
        return Network(self.sizes, self.cost, seed=self.seed, dtype=self.dtype, init=self.init)


class _Descent(NamedTuple):
    """The settings of gradient descent but for its rate."""

    l1: float  # per sample of the training data
    l2: float
    momentum: float


def _penalties(lmbda: Any, regularization: Any) -> tuple[float, float]:
    """Return λ as the factor of L1 and that of L2."""
    strength = nonnegative(lmbda, "lmbda")
    if regularization not in ("L1", "L2"):
        raise ValueError(f"regularization: expected 'L1' or 'L2', got {regularization!r}")
    return (strength, 0.0) if regularization == "L1" else (0.0, strength)


def _copy_into(views: list[Array], values: Sequence[Any], name: str) -> None:
    if len(values) != len(views):
        raise ValueError(f"{name}: expected {len(views)} arrays, got {len(values)}")
    arrays = [
        as_values(value, view.shape, view.dtype, f"{name}[{i}]")
        for i, (value, view) in enumerate(zip(values, views, strict=True))
    ]
    for view, array in zip(views, arrays, strict=True):
        view[...] = array


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote, or the JSON text of the notes' ``network2.py``, in float64.

    Raises
    ------
    FileNotFoundError, IsADirectoryError
        If there is no such file.
    ValueError
        If it is of another format, or of a network of other layers.
    """
    if not network2.is_json(path):
        loaded = network.load(path)
        if not isinstance(loaded, Network):
            raise ValueError(f"{os.fspath(path)}: expected a network of sizes, got one of layers; use ranvier.load")
        return loaded
    contents = network2.read(path)
    try:
        loaded = Network(contents["sizes"], named_cost(contents["cost"]), dtype="float64")
        loaded.weights, loaded.biases = contents["weights"], contents["biases"]
    except (TypeError, ValueError) as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from None
    return loaded
