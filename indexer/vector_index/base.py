"""What every vector index offers, and what it is made from."""

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Distances = NDArray[np.float32]
Vectors = NDArray[np.float32]


class Part(NamedTuple):
    """One file of vectors and the image id of each: a segment, as an index sees it."""

    path: Path
    ids: Ids


class VectorIndex(Protocol):
    """Finds the nearest stored vectors. Speaks image ids; safe to search from several threads."""

    def search(
        self, queries: Vectors, k: int, *, allowed: Ids | None = None
    ) -> tuple[Distances, Ids]:
        """Find the ``k`` nearest vectors of each query, float32 (n, dim).

        Returns Euclidean distances float32 (n, k), ascending, and image ids int64 (n, k). With
        ``allowed`` only these ids count. Where fewer than ``k`` exist the rest is inf and -1.
        """
