"""Embeddings: numbers for indices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ranvier.checks import integer, set_fields
from ranvier.layers.base import Layer


@dataclass(repr=False, eq=False)
class Embedding(Layer):
    """The row of a table for each index: samples of any shape get one more axis, of embedding_dim numbers.

    Indices are integers from 0 to below num_embeddings, as int32, int64, or numbers of the network's dtype, which holds
    them exactly. (uint8 is for pixels, and becomes fractions of 255.) An index out of range, or a fraction, is an error
    that names the sample.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        ``weight`` is (num_embeddings, embedding_dim); at most 2**24 embeddings in float32.
    """

    num_embeddings: int
    embedding_dim: int
    kind: ClassVar[str] = "embedding"

    def __post_init__(self) -> None:
        set_fields(
            self,
            num_embeddings=integer(self.num_embeddings, "num_embeddings", 1),
            embedding_dim=integer(self.embedding_dim, "embedding_dim", 1),
        )

    def initial(self, rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        """Draw from N(0, 1), as PyTorch does."""
        return {"weight": rng.standard_normal((self.num_embeddings, self.embedding_dim))}
