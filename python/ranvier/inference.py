"""What a network gives for samples: outputs, probabilities, classes, and what inner layers make of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.checks import integer
from ranvier.data import as_samples, require_apart
from ranvier.joint_losses import JointLoss, LossOfRows
from ranvier.labels import Classes
from ranvier.layers import Layer, PlainLayer
from ranvier.losses import CrossEntropyLoss, Loss, checked_loss
from ranvier.parameterized import Parameterized
from ranvier.probabilities import predicted_numbers, probabilities
from ranvier.rows import Rows
from ranvier.tracing import layer_outputs
from ranvier.types import Array

if TYPE_CHECKING:  # loaded where it is used, so that `import ranvier` stays quick
    from ranvier.predictor import Predictor

__all__ = ["Inference"]


class Inference(Parameterized):
    """The part of `ranvier.Network` that predicts; what the outputs mean follows from the loss."""

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

    # --- the loss -------------------------------------------------------------------------------------------

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
