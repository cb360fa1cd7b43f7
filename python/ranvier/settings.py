"""The base of layers, losses and optimizers: dataclasses whose fields never change.

``dataclass(frozen=True)`` would do, but generates and compiles six methods for each class, half of the time that
importing this package would then take; here all classes share them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

__all__ = ["Settings"]


class Settings:
    """Fields that are set once; equal and of equal hash if the types and the fields are."""

    def __setattr__(self, name: str, value: object) -> None:
        if name in self.__dict__ or name not in self._fields():
            raise dataclasses.FrozenInstanceError(f"cannot assign to field {name!r}")
        object.__setattr__(self, name, value)

    def __delattr__(self, name: str) -> None:
        raise dataclasses.FrozenInstanceError(f"cannot delete field {name!r}")

    def __eq__(self, other: object) -> bool:
        """Return whether other is of the same type with equal fields."""
        return type(other) is type(self) and other._values() == self._values()

    def __hash__(self) -> int:
        """Return a hash of type and fields."""
        return hash((type(self), self._values()))

    def __repr__(self) -> str:
        """Return the call that makes it, without fields that have their usual values."""
        shown = [
            f"{name}={getattr(self, name)!r}"
            for name, field in self._fields().items()
            if getattr(self, name) != field.default
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def config(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {name: getattr(self, name) for name in self._fields()}

    @classmethod
    def _fields(cls) -> dict[str, Any]:
        fields: dict[str, Any] = cls.__dict__.get("_own_fields", {})
        if not fields:
            fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
            cls._own_fields = fields  # type: ignore[attr-defined]
        return fields

    def _values(self) -> tuple[Any, ...]:
        return tuple(self.config().values())
