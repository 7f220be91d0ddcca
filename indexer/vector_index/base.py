"""What every vector index offers, and what it is made from."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Rows = NDArray[np.int64]
Distances = NDArray[np.float32]
Vectors = NDArray[np.float32]


class Part(NamedTuple):
    """One file of vectors and the image id of each: a segment, as an index sees it."""

    path: Path
    ids: Ids


class Stage(NamedTuple):
    """One step of a search and how many stored vectors were left after it."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """How far an approximate search looks: the more it does, the more it finds."""

    nprobe: int
    """Inverted lists visited."""
    reranked: int
    """Candidates whose exact distances are measured; more where ``k`` asks for it."""


class Encoded(NamedTuple):
    """What a coder makes of some vectors: the content of a file, and how badly it fits them.

    The content is bytes, not the buffer of a BytesIO: Python 3.12.1 crashes where it collects a
    cycle of objects that holds one, as an error's traceback does.
    """

    content: bytes
    error: float


class Coder(Protocol):
    """The trained part of a structure derived from the vectors; encodes a part at a time."""

    def to_bytes(self) -> bytes:
        """Return the coder as the content of a file."""

    def encode(self, vectors: Vectors) -> Encoded:
        """Encode vectors (n, dim). The mean error over a collection grows as the training ages."""


class Found(NamedTuple):
    """The nearest vectors of each query: distances float32 (n, k) and image ids int64 (n, k).

    ``stages`` are those of the first query.
    """

    distances: Distances
    ids: Ids
    stages: list[Stage]


class VectorIndex(Protocol):
    """Finds the nearest stored vectors. Speaks image ids; safe to search from several threads."""

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> Found:
        """Find the ``k`` nearest vectors of each query, float32 (n, dim).

        Distances are Euclidean and ascending. With ``allowed`` only these ids are found. Where
        fewer than ``k`` exist, the rest is inf and -1. ``parameters`` say how far an approximate
        index looks, which visits all its lists without them; exact search ignores them.
        """


class Candidates(NamedTuple):
    """What one query may find: squared distances float32 (m,), image ids int64 (m,), stages."""

    squared: Distances
    ids: Ids
    stages: Sequence[Stage] = ()


def nearest(found: Sequence[Candidates], k: int) -> tuple[Distances, Ids]:
    """Return the best ``k`` candidates of every query: distances (n, k) and ids (n, k).

    Ascending by distance, then by id; where there are fewer, the rest is inf and -1.
    """
    distances = np.full((len(found), k), np.inf, np.float32)
    ids = np.full((len(found), k), -1, np.int64)
    for row, (squared, own, _) in enumerate(found):
        if len(squared) > 4 * k:
            few = squared <= np.partition(squared, k - 1)[k - 1]
            squared, own = squared[few], own[few]
        best = np.lexsort((own, squared))[:k]
        distances[row, : len(best)] = np.sqrt(squared[best])
        ids[row, : len(best)] = own[best]
    return distances, ids


def gamma(operations: int) -> float:
    """Bound the relative error of a float32 sum of products, in any order of summation.

    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1:
    n u / (1 - n u), u being half the distance between 1 and the next number.
    """
    unit = np.finfo(np.float32).eps / 2 * operations
    return float(unit / (1 - unit))
