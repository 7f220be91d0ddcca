"""Approximate search: inverted lists propose, exact distances decide."""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.vector_index.base import (
    CandidateIndex,
    Candidates,
    Ids,
    Rows,
    SearchParameters,
    Stage,
    Vectors,
    nearest,
)
from indexer.vector_index.exact import ExactIndex
from indexer.vector_index.inverted import ApproximateCoder

CANDIDATES_PER_RESULT = 8
"""At least this many candidates are measured per result."""

MIN_CANDIDATES = 256
"""How many candidates are measured if no parameters are given."""


class ApproximateIndex(CandidateIndex):
    """An inverted-file index whose candidates are ranked by their exact distances."""

    def __init__(self, coder: ApproximateCoder, files: Sequence[Path], exact: ExactIndex) -> None:
        self._index = coder.filled(files, exact.vectors)
        self._inverted = faiss.extract_index_ivf(self._index)
        self._exact = exact

    @property
    def lists(self) -> int:
        """How many inverted lists there are."""
        return int(self._inverted.nlist)

    def candidates(
        self,
        queries: Vectors,
        ks: Sequence[int],
        *,
        allowed: Ids | None = None,
        parameters: SearchParameters | None = None,
    ) -> list[Candidates]:
        """Return about the ``ks[i]`` nearest of query ``i``; see :class:`CandidateIndex`.

        Every distance is exact. A neighbour is missed if it is in none of the visited lists, or if
        its code puts it too far away. More than ``nprobe`` lists are visited only if those hold
        fewer than ``k`` images. If all images that may be found would be measured, exact search
        answers.
        """
        queries = np.ascontiguousarray(queries, np.float32)
        vectors = self._exact.vectors
        rows = None if allowed is None else vectors.rows_among(allowed)
        possible = len(vectors) if rows is None else len(rows)
        parameters = parameters or SearchParameters(self.lists, MIN_CANDIDATES)
        most = max(ks, default=0)
        wanted = max(most * CANDIDATES_PER_RESULT, parameters.reranked)
        if possible <= wanted:
            return self._exact.candidates(queries, ks, allowed=allowed)
        found = self._proposed(queries, most, wanted, rows, parameters.nprobe)
        stages = [Stage("stored", len(vectors)), Stage("allowed", possible)]

        def measured(n: int) -> Candidates:
            own = self._exact.measure(queries[n], np.sort(found[n][found[n] >= 0]))
            proposed = Stage("proposed", len(own.ids))
            return nearest(own._replace(stages=[*stages, proposed]), ks[n])

        return vectors.parallel_map(measured, range(len(queries)))

    def proposed(self, queries: Vectors, k: int, parameters: SearchParameters) -> Ids:
        """Return the candidates of searches for ``k``, best code first: ids (n, reranked) or -1."""
        rows = self._proposed(queries, k, parameters.reranked, None, parameters.nprobe)
        return np.where(rows >= 0, self._exact.vectors.ids[rows], -1)

    def _proposed(
        self, queries: Vectors, k: int, wanted: int, rows: Rows | None, nprobe: int
    ) -> Rows:
        """Return rows (n, wanted), -1 where empty; double the lists until ``k`` are found."""
        selector = None
        if rows is not None:
            allowed = np.zeros(len(self._exact.vectors), np.bool_)
            allowed[rows] = True
            bits = np.packbits(allowed, bitorder="little")
            selector = faiss.IDSelectorBitmap(bits)
        found = np.empty((len(queries), wanted), np.int64)
        left = np.arange(len(queries))
        while len(left):
            parameters = faiss.SearchParametersIVF(nprobe=nprobe, sel=selector)
            if isinstance(self._index, faiss.IndexPreTransform):
                parameters = faiss.SearchParametersPreTransform(index_params=parameters)
            found[left] = self._index.search(queries[left], wanted, params=parameters)[1]
            few = (found[left] >= 0).sum(axis=1) < k
            left = left[few] if nprobe < self.lists else left[:0]
            nprobe = min(nprobe * 2, self.lists)
        return found
