"""Training in the open, step by step; and how good a network is: its loss and its metrics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeAlias, overload

import numpy as np

from ranvier import training
from ranvier.batches import Batches, StreamBatches, batches_of
from ranvier.checks import boolean, integer, real_array
from ranvier.data import Data, as_batch, as_data, has_classes, is_stream
from ranvier.epoch_metrics import AnyMetric, Metrics, listed
from ranvier.history import Evaluation, History
from ranvier.inference import Inference
from ranvier.joint_losses import JointLoss
from ranvier.labels import Classes
from ranvier.losses import CustomLoss, Loss
from ranvier.optimizers import Adam, Optimizer, checked_optimizer
from ranvier.types import Array, Labels

__all__ = ["AnyLoss", "AnyMetrics", "Stepping", "require_weights_in_batches"]

AnyLoss: TypeAlias = Loss | CustomLoss | JointLoss | Mapping[str, Loss | CustomLoss]
AnyMetrics: TypeAlias = Iterable[AnyMetric] | Mapping[str, Iterable[AnyMetric]]


def require_weights_in_batches(sample_weight: Any) -> None:
    """Raise a TypeError if weights are given beside a stream of batches."""
    if sample_weight is not None:
        raise TypeError("sample_weight: expected None with a stream, whose batches have it: (x, y, sample_weight)")


class Stepping(Inference):
    """The part of `ranvier.Network` that evaluates, and trains step by step."""

    # --- data, metrics and evaluation -----------------------------------------------------------------------

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
        require_weights_in_batches(sample_weight)
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
