"""The types of the vector indexes: what they are made from and what they return."""

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
    """A segment as an index sees it: a file of vectors and the image id of each."""

    path: Path
    ids: Ids


class Stage(NamedTuple):
    """One step of a search, and how many vectors were left after it."""

    name: str
    rows: int


@dataclass(frozen=True, slots=True)
class SearchParameters:
    """How much an approximate search visits and measures; more gives a higher recall."""

    nprobe: int
    """How many inverted lists are visited."""
    reranked: int
    """How many candidates are measured exactly; more if ``k`` requires it."""


class Encoded(NamedTuple):
    """The encoded vectors, as the content of a file, and their mean error.

    The content is bytes, not the buffer of a BytesIO: Python 3.12.1 crashes when it collects a
    reference cycle that holds one, such as an error's traceback.
    """

    content: bytes
    error: float


class Coder(Protocol):
    """The trained part of a derived structure, which encodes one part of the vectors at a time."""

    def to_bytes(self) -> bytes:
        """Return the coder as the content of a file."""

    def encode(self, vectors: Vectors) -> Encoded:
        """Encode vectors (n, dim). Their mean error grows as the training becomes outdated."""


class Found(NamedTuple):
    """The nearest vectors of each query: distances float32 (n, k) and image ids int64 (n, k).

    ``stages`` are those of the first query.
    """

    distances: Distances
    ids: Ids
    stages: list[Stage]


class VectorIndex(Protocol):
    """Finds the nearest stored vectors by image id. Safe to search from several threads."""

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
    """The candidates of one query: squared distances float32 (m,), image ids int64 (m,), stages."""

    squared: Distances
    ids: Ids
    stages: Sequence[Stage] = ()


def nearest(found: Sequence[Candidates], k: int) -> tuple[Distances, Ids]:
    """Return the best ``k`` candidates of every query: distances (n, k) and ids (n, k).

    Ascending by distance, then by id; if there are fewer, the rest is inf and -1.
    """
    distances = np.full((len(found), k), np.inf, np.float32)
    ids = np.full((len(found), k), -1, np.int64)
    for row, (squared, candidate_ids, _) in enumerate(found):
        if len(squared) > 4 * k:
            few = squared <= np.partition(squared, k - 1)[k - 1]
            squared, candidate_ids = squared[few], candidate_ids[few]
        best = np.lexsort((candidate_ids, squared))[:k]
        distances[row, : len(best)] = np.sqrt(squared[best])
        ids[row, : len(best)] = candidate_ids[best]
    return distances, ids


def gamma(operations: int) -> float:
    """Bound the relative error of a float32 sum of products, in any order of summation.

    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1:
    n u / (1 - n u), u being half the distance between 1 and the next number.
    """
    unit = np.finfo(np.float32).eps / 2 * operations
    return float(unit / (1 - unit))
