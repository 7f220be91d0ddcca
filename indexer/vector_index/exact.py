"""Exact search: the answer of ``IndexFlatL2`` over all vectors, without reading most of them."""

from collections.abc import Sequence

import numpy as np

from indexer.vector_index.base import (
    Candidates,
    Distances,
    Found,
    Ids,
    Rows,
    SearchParameters,
    Stage,
    Vectors,
    gamma,
    nearest,
)
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.shortlist import QueryBounds, Shortlist, at_most

SEEDS = 128
"""Vectors measured first at each level, or 2k if that is more: the k-th distance is what bounds
must beat."""

SCAN_SHARE = 0.4
"""If the last bound leaves more than this share of the vectors, reading all in order is faster.

Whatever the first bound leaves, the second is tried: the codes of all rows are a ninth of the
vectors, and where the first leaves three quarters the second still leaves few."""

MANY = 8
MANY_FROM_BYTES = 2**30
"""Bytes of vectors below which :data:`MANY` queries are answered faster by multiplying everything.
"""

BOUND_BYTES = 2**27
"""Memory for bounds; where there are more queries than fit, they take turns."""


class ExactIndex:
    """Finds the nearest vectors. With a shortlist it reads those it cannot rule out, else all."""

    def __init__(self, vectors: MappedVectors, shortlist: Shortlist | None = None) -> None:
        self.vectors = vectors
        self.shortlist = shortlist

    def search(
        self,
        queries: Vectors,
        k: int,
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> Found:
        """Find the ``k`` nearest vectors; see :class:`~indexer.vector_index.base.VectorIndex`."""
        rows = None if allowed is None else self.vectors.rows_among(allowed)
        found = self._in_turns(queries, [k] * len(queries), rows)
        return Found(*nearest(found, k), self._stages(rows, found[:1]))

    def search_each(self, queries: Vectors, ks: Sequence[int]) -> list[Found]:
        """Find the ``ks[i]`` nearest vectors of each query (n, dim): a :class:`Found` for each.

        It is what :meth:`search` would find for the query alone, to the last bit.
        """
        found = self._in_turns(queries, ks, None)
        return [
            Found(*nearest([own], k), self._stages(None, [own]))
            for own, k in zip(found, ks, strict=True)
        ]

    def measure(self, query: Vectors, rows: Rows | None) -> Candidates:
        """Return the exact distances of a query (dim,) to ascending rows, or to all."""
        squared = self.vectors.squared_distances(query, rows)
        return Candidates(squared, self.vectors.ids if rows is None else self.vectors.ids[rows])

    def _stages(self, rows: Rows | None, found: Sequence[Candidates]) -> list[Stage]:
        """Return all stages of a query: what could be found, then what was left of it."""
        allowed = [] if rows is None else [Stage("allowed", len(rows))]
        left = [stage for candidates in found for stage in candidates.stages]
        return [Stage("stored", len(self.vectors)), *allowed, *left]

    def _in_turns(self, queries: Vectors, ks: Sequence[int], rows: Rows | None) -> list[Candidates]:
        """Answer queries, no more at once than there is memory for."""
        queries = np.ascontiguousarray(queries, np.float32)
        found: list[Candidates] = []
        turn = max(1, BOUND_BYTES // 4 // max(len(self.vectors), 1))
        for start in range(0, len(queries), turn):
            some = slice(start, start + turn)
            found += self._candidates(queries[some], ks[some], rows)
        return found

    def _candidates(
        self, queries: Vectors, ks: Sequence[int], rows: Rows | None
    ) -> list[Candidates]:
        """Answer queries from what their bounds leave, or from everything if that is too much."""
        possible = len(self.vectors) if rows is None else len(rows)
        enough = possible > 8 * max(2 * max(ks), SEEDS)
        found: list[Candidates | None] = [None] * len(queries)
        if len(queries) >= MANY and self.vectors.bytes < MANY_FROM_BYTES:
            enough = enough and rows is not None
        if self.shortlist and enough:
            bounds = self.shortlist.bounds(queries, rows)
            found = self.vectors.share(
                lambda n: self._proved(queries[n], bounds[n], ks[n]),
                range(len(queries)),
            )
        left = [number for number, candidates in enumerate(found) if candidates is None]
        if left:
            stages = (Stage("compared", possible),)
            everything = self._measured(queries[left], [ks[number] for number in left], rows)
            for number, candidates in zip(left, everything, strict=True):
                found[number] = candidates._replace(stages=stages)
        return [candidates for candidates in found if candidates is not None]

    def _proved(self, query: Vectors, bounds: QueryBounds, k: int) -> Candidates | None:
        """Measure what the bounds cannot rule out, or nothing if that is too much.

        At each level those that look nearest are measured first, and what cannot be nearer than the
        k-th of all measured so far is dropped.
        """
        left: QueryBounds | None = bounds
        stages: list[Stage] = []
        squared, ids = np.empty(0, np.float32), np.empty(0, np.int64)
        while left is not None:
            near = self.measure(query, left.take_likely(max(2 * k, SEEDS)))
            squared, ids = np.append(squared, near.squared), np.append(ids, near.ids)
            bounds = left.within(float(np.partition(squared, k - 1)[k - 1]))
            stages.append(Stage(bounds.name, len(bounds) + len(ids)))
            left = bounds.sharper()
        if len(bounds) > SCAN_SHARE * len(self.vectors):
            return None
        rest = self.measure(query, bounds.rows)
        stages.append(Stage("measured", len(rest.ids) + len(ids)))
        return Candidates(np.append(squared, rest.squared), np.append(ids, rest.ids), stages)

    def _measured(self, queries: Vectors, ks: Sequence[int], rows: Rows | None) -> list[Candidates]:
        """Compare all vectors, or all of ``rows``."""
        if rows is None and len(queries) >= MANY:
            estimates = self.vectors.estimates(queries)
            return [self._estimated(*own) for own in zip(queries, estimates, ks, strict=True)]
        return [self.measure(query, rows) for query in queries]

    def _estimated(self, query: Vectors, estimates: Distances, k: int) -> Candidates:
        """Measure every vector whose estimate does not rule it out.

        An estimate is off by at most gamma (|x| + |q|)^2, a measured distance by its gamma-th part.
        """
        rounding = gamma(self.vectors.dim + 4)
        off = rounding * (self.vectors.reach + float(np.linalg.norm(query))) ** 2
        tau = (at_most(estimates, k) + off) * (1 + rounding) / (1 - rounding) + off
        return self.measure(query, np.flatnonzero(estimates <= tau))
