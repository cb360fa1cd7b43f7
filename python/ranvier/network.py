"""The network, whole: made from layers, from sizes or from symbolic values, and trained by `fit`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier import hooks, training
from ranvier.batches import ArrayBatches, Batches, StreamBatches, batches_of
from ranvier.checks import boolean, integer
from ranvier.data import held_out, is_stream
from ranvier.history import History
from ranvier.keeping import Keeping
from ranvier.labels import Classes
from ranvier.layers import Layer, PlainLayer
from ranvier.losses import CustomLoss, Loss, checked_loss
from ranvier.optimizers import Adam, Optimizer, checked_optimizer
from ranvier.stepping import AnyLoss, AnyMetrics, require_weights_in_batches

if TYPE_CHECKING:  # loaded where they are used, so that `import ranvier` stays quick
    from ranvier.callbacks import AnyCallback
    from ranvier.fitting import Plan
    from ranvier.initializers import Initializer
    from ranvier.profiling import Profile

__all__ = ["Network", "are_sizes", "load"]


_BATCH_SIZE = 32  # of `fit` unless given


def _checked_batch_size(batch_size: int | None, samples: int) -> int:
    return samples if batch_size is None else min(integer(batch_size, "batch_size", 1), samples)


def _require_stream(x: Any, batch_size: int | None, sample_weight: Any, validation_split: float | None) -> None:
    if not is_stream(x):
        raise TypeError(f"y: expected targets, or x as an iterable of batches (x, y), got {type(x).__name__}")
    if batch_size != _BATCH_SIZE:
        raise TypeError("batch_size: expected none with a stream, whose batches have sizes of their own")
    if validation_split is not None:
        raise TypeError("validation_split: expected None with a stream; give validation_data")
    require_weights_in_batches(sample_weight)


def are_sizes(layers: Any) -> bool:
    """Return whether what a network is to be made from are sizes, and not layers."""
    if not isinstance(layers, Sequence | np.ndarray):
        return False
    return len(layers) > 0 and all(isinstance(item, int | np.integer) for item in layers)


class Network(Keeping):
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
    >>> import ranvier as rv
    >>> net = rv.Network([rv.Linear(2, 3), rv.Linear(3, 2)], seed=0)
    >>> net.predict(np.zeros((5, 2))).shape
    (5, 2)
    """

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

    # --- others of the same layers --------------------------------------------------------------------------

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
