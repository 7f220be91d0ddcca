"""Concurrent exact searches in batches: together they take less time than one by one."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from indexer.search.batching import Batcher
from indexer.search.paging import Ids, Vectors
from indexer.search.queries import Vector
from indexer.vector_index import Found, SearchParameters
from indexer.vector_index.base import CandidateIndex

MAX_BATCH = 32
"""The most searches in a batch. Larger batches take no less time per search."""

MAX_RESULTS = 512
"""Searches for more results take long, so that no others are batched with them."""


class _Asked(NamedTuple):
    """A query, float32 (dim,), and how many results it wants."""

    query: Vector
    k: int


class BatchedIndex:
    """An index of exact search that batches the searches of many threads.

    The results are equal, to the last bit, to those of single searches. Searches among some images
    only, or for more than :data:`MAX_RESULTS`, are not batched.
    """

    def __init__(self, exact: CandidateIndex) -> None:
        self._exact = exact
        self.batcher = Batcher[_Asked, Found](self._search_all, MAX_BATCH)
        """Makes the batches."""

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> Found:
        """Find the ``k`` nearest; see :class:`~indexer.vector_index.base.VectorIndex`."""
        if allowed is not None or k > MAX_RESULTS or not len(queries):
            return self._exact.search(queries, k, allowed=allowed)
        found = self.search_each(list(queries), [k] * len(queries))
        distances = np.concatenate([one.distances for one in found])
        return Found(distances, np.concatenate([one.ids for one in found]), found[0].stages)

    def search_each(self, queries: Sequence[Vector], ks: Sequence[int]) -> Sequence[Found]:
        """Find the ``ks[i]`` nearest vectors of query ``i``, float32 (dim,); a Found for each."""
        return self.batcher.run([_Asked(*pair) for pair in zip(queries, ks, strict=True)])

    def _search_all(self, asked: Sequence[_Asked]) -> list[Found]:
        queries = np.stack([one.query for one in asked])
        return self._exact.search_each(queries, [one.k for one in asked])
