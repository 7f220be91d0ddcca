"""Exact search: the results of ``IndexFlatL2``, mostly without reading all vectors."""

from collections.abc import Iterator, Sequence

import numpy as np

from indexer.vector_index.base import (
    CandidateIndex,
    Candidates,
    Distances,
    Ids,
    Rows,
    SearchParameters,
    Stage,
    Vectors,
    gamma,
    nearest,
)
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.shortlist import QueryBounds, Shortlist, kth_upper_bound
from indexer.vector_index.shortlist_codes import Codes

SEEDS = 128
"""How many vectors are measured first at each level, or 2k if that is more. Vectors whose bound
exceeds the k-th of these distances are ruled out."""

SCAN_SHARE = 0.4
"""If the last bound leaves more than this share of the vectors, reading all in order is faster.

The second bound is always tried: its codes have a ninth of the vectors' bytes, and even where the
first bound leaves three quarters of the rows, the second leaves few."""

BATCH_FROM_QUERIES = 8
BATCH_BELOW_BYTES = 2**30
"""From this many queries on, over fewer bytes of vectors than this, multiplying all is faster."""

BOUND_BYTES = 2**27
"""Memory for bounds; more queries than fit are answered in turns."""


class ExactIndex(CandidateIndex):
    """Exact search. With a shortlist it reads only the vectors that it cannot rule out."""

    def __init__(self, vectors: MappedVectors, shortlist: Shortlist | None = None) -> None:
        self.vectors = vectors
        self.shortlist = shortlist

    def candidates(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
        within: Sequence[float] | None = None,
        codes: Codes | None = None,
    ) -> list[Candidates]:
        """Return the ``ks[i]`` nearest of query ``i``; see :class:`CandidateIndex`.

        With ``within`` only those whose squared distance is at most ``within[i]`` have to be among
        them: as many nearer ones are known to exist elsewhere. :meth:`seeds` of all parts of a
        collection tell such a distance. The queries' ``codes`` are computed unless they are given.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        rows = None if allowed is None else self.vectors.rows_among(allowed)
        taus = [np.inf] * len(queries) if within is None else within
        found: list[Candidates] = []
        for turn in self._turns(queries):
            bounds = self._bounds(queries[turn], ks[turn], rows, _some(codes, turn))
            found += self._candidates(queries[turn], ks[turn], rows, taus[turn], bounds)
        return [
            nearest(own._replace(stages=self._stages(rows, own.stages)), k)
            for own, k in zip(found, ks, strict=True)
        ]

    def seeds(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: Ids | None = None,
        codes: Codes | None = None,
    ) -> list[Distances]:
        """Return squared distances of vectors that are probably near, up to ``ks[i]`` of query i.

        They are ascending. There are none where :meth:`candidates` would not use bounds.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        rows = None if allowed is None else self.vectors.rows_among(allowed)
        found: list[Distances] = []
        for turn in self._turns(queries):
            bounds = self._bounds(queries[turn], ks[turn], rows, _some(codes, turn))
            found += self._seeds(queries[turn], ks[turn], bounds)
        return found

    def measure(self, query: Vectors, rows: Rows | None) -> Candidates:
        """Return the exact distances of a query (dim,) to ascending rows, or to all."""
        squared = self.vectors.squared_distances(query, rows)
        return Candidates(squared, self.vectors.ids if rows is None else self.vectors.ids[rows])

    def _stages(self, rows: Rows | None, left: Sequence[Stage]) -> list[Stage]:
        """Return the stages of a query: the vectors stored and allowed, then those left."""
        allowed = [] if rows is None else [Stage("allowed", len(rows))]
        return [Stage("stored", len(self.vectors)), *allowed, *left]

    def _turns(self, queries: Vectors) -> Iterator[slice]:
        """Yield slices of queries whose bounds fit into memory."""
        step = max(1, BOUND_BYTES // 4 // max(len(self.vectors), 1))
        for start in range(0, len(queries), step):
            yield slice(start, start + step)

    def _bounds(
        self, queries: Vectors, ks: Sequence[int], rows: Rows | None, codes: Codes | None
    ) -> list[QueryBounds] | None:
        """Return the bounds of queries, or None if measuring all vectors is faster."""
        possible = len(self.vectors) if rows is None else len(rows)
        enough = possible > 8 * max(2 * max(ks), SEEDS)
        if len(queries) >= BATCH_FROM_QUERIES and self.vectors.bytes < BATCH_BELOW_BYTES:
            enough = enough and rows is not None
        return self.shortlist.bounds(queries, rows, codes) if self.shortlist and enough else None

    def _seeds(
        self, queries: Vectors, ks: Sequence[int], bounds: list[QueryBounds] | None
    ) -> list[Distances]:
        """Return the least squared distances of the vectors with the least bounds."""
        if bounds is None:
            return [np.empty(0, np.float32)] * len(queries)
        return self.vectors.parallel_map(
            lambda n: np.sort(self._likely(queries[n], bounds[n], ks[n]).squared)[: ks[n]],
            range(len(queries)),
        )

    def _candidates(
        self,
        queries: Vectors,
        ks: Sequence[int],
        rows: Rows | None,
        taus: Sequence[float],
        bounds: list[QueryBounds] | None,
    ) -> list[Candidates]:
        """Return the candidates that the bounds leave, or all vectors if that is too many."""
        found: list[Candidates | None] = [None] * len(queries)
        if bounds is not None:
            found = self.vectors.parallel_map(
                lambda n: self._proved(queries[n], bounds[n], ks[n], taus[n]),
                range(len(queries)),
            )
        left = [number for number, candidates in enumerate(found) if candidates is None]
        if left:
            stages = (Stage("compared", len(self.vectors) if rows is None else len(rows)),)
            everything = self._measured(queries[left], [ks[number] for number in left], rows)
            for number, candidates in zip(left, everything, strict=True):
                found[number] = candidates._replace(stages=stages)
        return [candidates for candidates in found if candidates is not None]

    def _proved(
        self, query: Vectors, bounds: QueryBounds, k: int, within: float
    ) -> Candidates | None:
        """Measure the vectors that the bounds cannot rule out; return None if they are too many.

        At each level the vectors with the least bounds are measured first. Those that cannot be
        nearer than the k-th nearest measured so far are dropped, or not ``within`` the squared
        distance that is known: those of the first level have then been measured for it.
        """
        left: QueryBounds | None = bounds
        stages: list[Stage] = []
        squared, ids, tau = np.empty(0, np.float32), np.empty(0, np.int64), within
        while left is not None:
            if stages or np.isinf(within):
                near = self._likely(query, left, k)
                squared, ids = np.append(squared, near.squared), np.append(ids, near.ids)
                if len(squared) >= k:
                    tau = min(tau, float(np.partition(squared, k - 1)[k - 1]))
            bounds = left.within(tau)
            stages.append(Stage(bounds.name, len(bounds) + len(ids)))
            left = bounds.next_level()
        if len(bounds) > SCAN_SHARE * len(self.vectors):
            return None
        rest = self.measure(query, bounds.rows)
        stages.append(Stage("measured", len(rest.ids) + len(ids)))
        return Candidates(np.append(squared, rest.squared), np.append(ids, rest.ids), stages)

    def _likely(self, query: Vectors, bounds: QueryBounds, k: int) -> Candidates:
        """Take the vectors with the least bounds out of ``bounds`` and measure them."""
        return self.measure(query, bounds.take_likely(max(2 * k, SEEDS)))

    def _measured(self, queries: Vectors, ks: Sequence[int], rows: Rows | None) -> list[Candidates]:
        """Measure all vectors, or all of ``rows``."""
        if rows is None and len(queries) >= BATCH_FROM_QUERIES:
            estimates = self.vectors.estimates(queries)
            return [self._estimated(*args) for args in zip(queries, estimates, ks, strict=True)]
        return [self.measure(query, rows) for query in queries]

    def _estimated(self, query: Vectors, estimates: Distances, k: int) -> Candidates:
        """Measure every vector that its estimate does not rule out.

        The error of an estimate is at most gamma (|x| + |q|)^2, that of a squared distance d at
        most gamma d.
        """
        rounding = gamma(self.vectors.dim + 4)
        error = rounding * (self.vectors.max_norm + float(np.linalg.norm(query))) ** 2
        tau = (kth_upper_bound(estimates, k) + error) * (1 + rounding) / (1 - rounding) + error
        return self.measure(query, np.flatnonzero(estimates <= tau))


def _some(codes: Codes | None, queries: slice) -> Codes | None:
    """Return the codes of some of the queries."""
    return codes and [level_codes[queries] for level_codes in codes]
