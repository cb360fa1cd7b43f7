"""The lecture notes' face of a network: the methods of their ``Network`` class, under their names.

They work on networks made from a list of sizes: sigmoid layers and the quadratic cost. Samples are the notes'
columns of shape (n, 1) or rows of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranvier.checks import as_values, integer, real
from ranvier.data import pairs_to_arrays
from ranvier.history import History
from ranvier.losses import QuadraticLoss
from ranvier.optimizers import SGD
from ranvier.training import count_hits
from ranvier.types import Array

__all__ = ["LectureNotes"]


class LectureNotes:
    """Mixed into `Network`; every method asks for a network made from sizes."""

    sizes: list[int] | None

    def _own(self: Any) -> Any:
        if self.sizes is None:
            raise AttributeError(
                "this method belongs to networks made from sizes, like Network([784, 30, 10]); "
                "a network made from layers has fit, predict and evaluate"
            )
        return self

    @property
    def num_layers(self) -> int:
        """The number of layers, the input's included."""
        return len(self._own().sizes or ())

    @property
    def biases(self) -> list[Array]:
        """One column (y, 1) for each layer after the input; writeable views. Assigning a list copies it in."""
        network = self._own()
        return [value[:, None] for name, value in network.parameters().items() if name.endswith("bias")]

    @biases.setter
    def biases(self, values: Sequence[Any]) -> None:
        _copy_into(self.biases, values, "biases")

    @property
    def weights(self) -> list[Array]:
        """One matrix (y, x) for each layer after the input; writeable views. Assigning a list copies it in."""
        network = self._own()
        return [value for name, value in network.parameters().items() if name.endswith("weight")]

    @weights.setter
    def weights(self, values: Sequence[Any]) -> None:
        _copy_into(self.weights, values, "weights")

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
        network = self._own()
        array = np.asarray(a)
        inputs = (network.sizes or [0])[0]
        output: Array
        if array.shape == (inputs, 1):
            output = network.predict(array.reshape(1, inputs)).reshape(-1, 1)
        elif array.shape == (inputs,):
            output = network.predict(array[None])[0]
        else:
            output = network.predict(array)
        return output

    def SGD(
        self,
        training_data: Any,
        epochs: int,
        mini_batch_size: int,
        eta: float,
        test_data: Any = None,
    ) -> None:
        """Train by mini-batch stochastic gradient descent, and print each epoch as the notes do.

        Parameters
        ----------
        training_data : pair of arrays (x, y) or list of (x, y) pairs
            x of shape (m, n), y integer labels or one-hot rows; or pairs of columns.
        epochs, mini_batch_size : int
        eta : float
            The learning rate.
        test_data : optional
            In the same forms. If given, its number of hits is printed after each epoch.
        """
        network = self._own()
        integer(mini_batch_size, "mini_batch_size", 1)
        optimizer = SGD(real(eta, "eta"))
        x, y = pairs_to_arrays(training_data, "training_data")
        test = (
            None
            if test_data is None
            else network._data(*pairs_to_arrays(test_data, "test_data"), QuadraticLoss(), "test_data")
        )

        def report(network: Any, epoch: int, history: History) -> None:
            if test is None:
                print(f"Epoch {epoch - 1} complete")
            else:
                print(f"Epoch {epoch - 1}: {network.evaluate((test.x, test.y))} / {len(test.x)}")

        network.fit(
            x,
            y,
            epochs=epochs,
            batch_size=mini_batch_size,
            loss=QuadraticLoss(),
            optimizer=optimizer,
            callbacks=[report],
            progress=False,
        )

    def update_mini_batch(self, mini_batch: Any, eta: float) -> None:
        """Take one step of gradient descent on a mini-batch: a list of (x, y) pairs or a pair of arrays."""
        network = self._own()
        x, y = pairs_to_arrays(mini_batch, "mini_batch")
        network.train_step(x, y, loss=QuadraticLoss(), optimizer=SGD(real(eta, "eta")))

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
        network = self._own()
        target = np.asarray(y)
        target = target.reshape(1) if target.ndim == 0 else target.reshape(1, -1)
        gradients = network.loss_gradients(np.asarray(x).reshape(1, -1), target, loss=QuadraticLoss())
        nabla_b = [grad[:, None] for name, grad in gradients.items() if name.endswith("bias")]
        nabla_w = [grad for name, grad in gradients.items() if name.endswith("weight")]
        return nabla_b, nabla_w

    def cost_derivative(self, output_activations: Any, y: Any) -> Array:
        """Return the derivative of the quadratic cost to the output activations, ``output_activations - y``."""
        difference: Array = np.asarray(output_activations) - np.asarray(y)
        return difference

    def _count_hits(self, data: Any) -> int:
        network = self._own()
        test = network._data(*pairs_to_arrays(data, "test_data"), QuadraticLoss(), "test_data")
        return count_hits(network.predict(test.x), test.y)


def _copy_into(views: list[Array], values: Sequence[Any], name: str) -> None:
    if len(values) != len(views):
        raise ValueError(f"{name}: expected {len(views)} arrays, got {len(values)}")
    arrays = [
        as_values(value, view.shape, view.dtype, f"{name}[{i}]")
        for i, (value, view) in enumerate(zip(values, views, strict=True))
    ]
    for view, array in zip(views, arrays, strict=True):
        view[...] = array
