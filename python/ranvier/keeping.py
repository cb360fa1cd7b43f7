"""Files and copies of a network: `save`, `copy.deepcopy` and `pickle`."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from ranvier.history import History
from ranvier.labels import Classes
from ranvier.layers import Layer, PlainLayer
from ranvier.losses import Loss
from ranvier.stepping import Stepping

if TYPE_CHECKING:  # loaded where it is used, so that `import ranvier` stays quick
    from ranvier.checkpoint import Contents

__all__ = ["Keeping"]

_Kept = TypeVar("_Kept", bound="Keeping")


class Keeping(Stepping):
    """The part of `ranvier.Network` that writes it to files and copies it."""

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

    # --- copies ---------------------------------------------------------------------------------------------

    def copy(self: _Kept) -> _Kept:
        """Return a network of its own with the same parameters and training state.

        Layers, loss and optimizer are shared: those of the library never change. ``copy.deepcopy`` copies these, too,
        if they are of your own. Gradients that no `step` has used are not copied.
        """
        return self._copied(self.layers, dict(self.__dict__))

    def _copied(self: _Kept, layers: tuple[Layer | PlainLayer, ...], attributes: dict[str, Any]) -> _Kept:
        twin = object.__new__(type(self))
        twin.__dict__.update(attributes)
        twin.layers = layers
        with self.engine.parameters.reading():  # both of one moment
            twin.engine = self.engine.copy(layers)
            twin._training = self._training.copy(twin.engine)
        return twin

    def __copy__(self: _Kept) -> _Kept:
        """Return what `copy` does."""
        return self.copy()

    def __deepcopy__(self: _Kept, memo: dict[int, Any]) -> _Kept:
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
