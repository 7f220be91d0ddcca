"""The types of the vector indexes: what they are made from and what they return."""

from abc import ABC, abstractmethod
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


class CandidateIndex(ABC):
    """A :class:`VectorIndex` that finds squared distances.

    Indexes over parts of the vectors are merged by these: of two that differ the roots may be
    equal, and the order would then be another.
    """

    @abstractmethod
    def candidates(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> list[Candidates]:
        """Return the ``ks[i]`` nearest of query ``i``, ascending by distance, then by id.

        Arguments are those of :meth:`VectorIndex.search`.
        """

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> Found:
        """Find the ``k`` nearest vectors of each query; see :class:`VectorIndex`."""
        ks = [k] * len(queries)
        return _found(self.candidates(queries, ks, allowed=allowed, parameters=parameters), k)

    def search_each(self, queries: Vectors, ks: Sequence[int]) -> list[Found]:
        """Find the ``ks[i]`` nearest vectors of query ``i`` (n, dim); return a Found for each.

        In exact search it is equal, to the last bit, to what :meth:`search` finds for the query
        alone.
        """
        found = self.candidates(queries, ks)
        return [_found([candidates], k) for candidates, k in zip(found, ks, strict=True)]


def nearest(candidates: Candidates, k: int) -> Candidates:
    """Return the ``k`` nearest candidates, or all, ascending by distance, then by id."""
    squared, ids, stages = candidates
    if len(squared) > 4 * k:
        few = squared <= np.partition(squared, k - 1)[k - 1]
        squared, ids = squared[few], ids[few]
    order = np.lexsort((ids, squared))[:k]
    return Candidates(squared[order], ids[order], stages)


def _found(candidates: Sequence[Candidates], k: int) -> Found:
    """Return the candidates of each query, up to ``k`` in order, with the roots as distances."""
    distances = np.full((len(candidates), k), np.inf, np.float32)
    ids = np.full((len(candidates), k), -1, np.int64)
    for row, (squared, own, _) in enumerate(candidates):
        distances[row, : len(own)] = np.sqrt(squared)
        ids[row, : len(own)] = own
    return Found(distances, ids, list(candidates[0].stages) if candidates else [])


def gamma(operations: int) -> float:
    """Bound the relative error of a float32 sum of products, in any order of summation.

    N. J. Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, section 3.1:
    n u / (1 - n u), u being half the distance between 1 and the next number.
    """
    unit = np.finfo(np.float32).eps / 2 * operations
    return float(unit / (1 - unit))
