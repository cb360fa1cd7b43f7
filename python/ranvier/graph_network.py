"""Networks that are made from symbolic values: of any wiring, with several inputs and outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ranvier.checks import boolean
from ranvier.data import Data, as_samples, is_stream
from ranvier.epoch_metrics import Metrics
from ranvier.joint_losses import JointLoss, LossOfRows
from ranvier.joint_metrics import JointMetrics, listed_by_output
from ranvier.layers import Layer, PlainLayer
from ranvier.losses import Loss, checked_loss
from ranvier.network import Network
from ranvier.types import Array
from ranvier.wiring import Wiring, wired

if TYPE_CHECKING:
    from ranvier.initializers import Initializer
    from ranvier.tables import Table

__all__ = ["GraphNetwork"]


class _RowsOfBatches:
    """The samples of a stream of batches, packed."""

    def __init__(self, batches: Iterable[Any], packed: Callable[[Any], Any]) -> None:
        self._batches, self._packed = batches, packed

    def __iter__(self) -> Iterator[Any]:
        for batch in self._batches:
            yield self._packed(batch[0] if isinstance(batch, tuple | list) else batch)


class GraphNetwork(Network):
    """The network that ``ranvier.Network(inputs=..., outputs=...)`` makes. See `ranvier.Network` for what it takes.

    With several inputs, samples come as a dict of arrays by the names of the inputs, all of one length; with several
    outputs, targets and predictions do. The arrays of several inputs are copied into rows, with bytes as fractions of
    255, before anything happens with them; batches of a stream are so one by one.
    """

    _wiring: Wiring

    def __init__(
        self,
        layers: None = None,
        *,
        inputs: Any,
        outputs: Any,
        seed: int | None = None,
        dtype: Any = "float32",
        init: Initializer | None = None,
    ) -> None:
        if layers is not None:
            raise TypeError("layers: expected either layers, or inputs and outputs, got both")
        self._wiring, ordered = wired(inputs, outputs)
        self._set_up(ordered, seed, dtype, init)
        self._initialise()

    def _set_up(self, layers: Iterable[Any], seed: int | None, dtype: Any, init: Any) -> None:
        super()._set_up(layers, seed, dtype, init)
        self.input_shape = self._wiring.sample_shape

    def __repr__(self) -> str:
        """Return the shapes of inputs and outputs by name, and the layers."""
        sides = [
            dict(zip(ends.names, ends.shapes, strict=True)) for ends in (self._wiring.inputs, self._wiring.outputs)
        ]
        return f"Network(inputs={sides[0]}, outputs={sides[1]}, layers={list(self.layers)})"

    @property
    def _has_several_outputs(self) -> bool:
        return not self._wiring.outputs.is_one

    def require_list(self, name: str) -> None:
        """Raise a TypeError, for a function of that name."""
        raise TypeError(
            f"{name}: expected a network whose layers stand one behind the other, got one that is made from Inputs"
        )

    def _require_one_output(self, name: str) -> None:
        if self._has_several_outputs:
            raise TypeError(f"{name}: expected a network with one output, got {list(self._wiring.outputs.names)}")

    # --- arrays and rows ------------------------------------------------------------------------------------

    def _samples(self, x: Any, name: str) -> Any:
        return super()._samples(self._wiring.inputs.packed(x, self.dtype, name), name)

    def _packed(self, x: Any, y: Any, loss: Any, what: str) -> tuple[Any, Any]:
        """Return samples and targets as rows; ``what`` comes before x and y in errors."""
        rows = self._wiring.inputs.packed(x, self.dtype, f"{what}x")
        if not isinstance(loss, LossOfRows):
            (target,) = self._wiring.outputs.by_name(y, f"{what}y").values()
            return rows, target
        samples = len(rows) if hasattr(rows, "__len__") else len(as_samples(rows, self.dtype, f"{what}x"))
        return rows, loss.packed_targets(y, samples, self.dtype, f"{what}y")

    def _data(
        self, x: Any, y: Any, loss: Any, of: str = "", sample_weight: Any = None, *args: Any, **options: Any
    ) -> Data:
        x, y = self._packed(x, y, loss, f"{of} " if of else "")
        if sample_weight is not None and isinstance(loss, LossOfRows):
            loss.require_weighable()
        return super()._data(x, y, loss, of, sample_weight, *args, **options)

    def _batch(self, batch: Any, loss: Any, output_shape: Any, of: str, classes: Any) -> Data:
        if isinstance(batch, tuple | list) and len(batch) in (2, 3):
            batch = (*self._packed(batch[0], batch[1], loss, f"{of}: "), *batch[2:])
            if len(batch) == 3 and batch[2] is not None and isinstance(loss, LossOfRows):
                loss.require_weighable()
        return super()._batch(batch, loss, output_shape, of, classes)

    def predict(self, x: Any, out: Array | None = None) -> Any:
        """Return the outputs: an array of a single one, or a dict of arrays. See `ranvier.Network.predict`."""
        if self._has_several_outputs and out is not None:
            raise TypeError("out: expected None, since there are several outputs")
        rows = super().predict(self._wiring.inputs.packed(x, self.dtype, "x"), out)
        return self._wiring.outputs.unpacked(rows)

    def forward(self, x: Any) -> Any:
        """Return the outputs in training mode, as `predict` does, and keep what `backward` needs."""
        return self._wiring.outputs.unpacked(super().forward(x))

    def backward(self, grad_output: Any, *, input_gradient: bool = False) -> Any:
        """Go back from the last `forward`; gradients to several outputs and inputs come in dicts."""
        rows = self._wiring.outputs.packed(grad_output, self.dtype, "grad_output")
        if not boolean(input_gradient, "input_gradient"):
            return super().backward(rows)
        return self._wiring.inputs.unpacked(super().backward(rows, input_gradient=True))

    def activations(self, x: Any, layers: Iterable[int] | None = None) -> dict[int, Array]:
        """Return the outputs of inner layers in evaluation mode, by position."""
        wanted, samples = sorted(self._positions(layers)), self._samples(x, "x")
        return {position: self.engine.ending_with(position).predict(samples) for position in wanted}

    def adapt(self, x: Any, *, steps: int | None = None) -> None:
        """Take the means and standard deviations of data into the `Standardize` layers. See `ranvier.Network.adapt`."""
        inputs, dtype = self._wiring.inputs, np.dtype(np.float64)
        if not is_stream(x):
            return super().adapt(inputs.packed(x, dtype, "x"), steps=steps)
        batches = _RowsOfBatches(x, lambda batch: inputs.packed(batch, dtype, "x"))
        return super().adapt(iter(batches) if iter(x) is x else batches, steps=steps)

    # --- losses and metrics ---------------------------------------------------------------------------------

    @property
    def loss(self) -> Any:
        """The loss that `fit` or `train_step` used last: with several outputs, a `JointLoss`."""
        loss: Any = self._training.loss
        if isinstance(loss, LossOfRows):
            return loss.joint
        return self._default_loss if loss is None else loss

    @property
    def _default_loss(self) -> Loss:
        if self._has_several_outputs:
            raise TypeError(f"loss: expected one for each of {list(self._wiring.outputs.names)}, in a dict, got none")
        return super()._default_loss

    def _checked_loss(self, loss: Any) -> Any:
        outputs = self._wiring.outputs
        if self._has_several_outputs:
            if not isinstance(loss, Mapping | JointLoss):
                raise TypeError(f"loss: expected a dict or JointLoss for {list(outputs.names)}, got {loss!r}")
            return LossOfRows(loss if isinstance(loss, JointLoss) else JointLoss(loss), outputs)
        return checked_loss(outputs.by_name(loss, "loss")[outputs.names[0]])

    def _ends(self, loss: Any) -> Iterable[tuple[Layer | PlainLayer | None, Any]]:
        losses: dict[Any, Any] = (
            loss.joint.losses if isinstance(loss, LossOfRows) else {self._wiring.outputs.names[0]: loss}
        )
        for name, source in zip(self._wiring.outputs.names, self._wiring.ends, strict=True):
            yield self.layers[source] if source >= 0 else None, losses[name]

    def _listed(self, metrics: Any) -> Any:
        if self._has_several_outputs:
            return listed_by_output(metrics, self._wiring.outputs.names)
        return super()._listed(metrics)

    def _metrics(self, wanted: Any, batches: Any, data: Data | None, loss: Any, of_training: Any = None) -> Metrics:
        if not isinstance(loss, LossOfRows):
            return super()._metrics(wanted, batches, data, loss, of_training)
        first = batches.first if data is None or data.is_read_by_rows() else data
        return JointMetrics(self._listed(wanted), first, loss, of_training)

    @property
    def classes_(self) -> Any:
        """The labels that the single output stands for."""
        self._require_one_output("classes_")
        return super().classes_

    @classes_.setter
    def classes_(self, values: Any) -> None:
        self._require_one_output("classes_")
        Network.classes_.fset(self, values)  # type: ignore[attr-defined]

    def predict_proba(self, x: Any) -> Array:
        """Return the probability of each class, of a network with one output."""
        self._require_one_output("predict_proba")
        return super().predict_proba(x)

    def predict_classes(self, x: Any) -> Any:
        """Return the class of each sample, of a network with one output."""
        self._require_one_output("predict_classes")
        return super().predict_classes(x)

    def profile(self, *args: Any, **options: Any) -> Any:
        """Measure how long each layer takes, of a network with one output."""
        self._require_one_output("profile")
        return super().profile(*args, **options)

    # --- description and copies -----------------------------------------------------------------------------

    def shapes(self, input_shape: tuple[int, ...] | None = None) -> list[tuple[int, ...]]:
        """Return the shape of a sample after each layer; the inputs have the shapes that they were made with."""
        return super().shapes(self._wiring.sample_shape if input_shape is None else input_shape)

    def summary(self, input_shape: tuple[int, ...] | None = None) -> Table:
        """Return a table of the layers, each with what it reads, its output's shape and its number of parameters."""
        from ranvier.summary import summary

        shapes = self.shapes(input_shape)
        return summary(self.layers, self.parameters(), self.dtype.name, shapes, self._wiring)

    def _without_training(self) -> Network:
        return self._of_dtype(self.dtype)

    def _of_dtype(self, dtype: Any) -> Network:
        twin: Network = object.__new__(type(self))
        twin._wiring = self._wiring
        twin._set_up(self.layers, self.seed, dtype, self.init)
        return twin
