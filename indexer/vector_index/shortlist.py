"""The shortlist: prove from a few coordinates which vectors cannot be among the nearest.

The proof. Let P be an orthonormal projection, R = I - P'P what it leaves out, and b the blocks into
which the components of R are cut. Then, by Pythagoras and the reverse triangle inequality,

    |q - x|^2 = |Pq - Px|^2 + sum_b |Rq_b - Rx_b|^2 >= |Pq - Px|^2 + sum_b (|Rq_b| - |Rx_b|)^2

so the distance between the codes [P(x - mean), |R(x - mean)_b|] is a lower bound of the true one.
Once k vectors are known whose exact distances are at most tau, a vector whose bound exceeds tau
cannot be nearer. P holds the first principal axes, which make the bound tight. The codes have
levels: the first, of few numbers per vector, is in memory; later ones, of more numbers, are mapped
and read for the vectors that the previous level left.

The slack. Codes are computed in float64 and stored in float32, bounds and distances are computed in
float32, so a bound may be too large and a distance too small. ``_Slack`` bounds both errors; it is
derived, not tuned, and lets through a few rows in a hundred thousand.
"""

from collections.abc import Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.vector_index.base import Distances, Rows, Vectors, gamma
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.shortlist_codes import Codes, Level, ShortlistCoder, map_codes

MULTIPLY_FROM = 48
"""From this many queries on, the last level's bounds are computed for all vectors at once. For
fewer, it is faster to read only the codes of the rows that the first level leaves."""

GATHER_SHARE = 4
"""If fewer than a fourth of the rows are asked for, only their first-level codes are multiplied."""


class Shortlist:
    """The codes of all vectors: the first level in memory, the others mapped."""

    def __init__(
        self, coder: ShortlistCoder, files: Sequence[Path], vectors: MappedVectors
    ) -> None:
        self._coder = coder
        self._vectors = vectors
        mapped = [
            map_codes(path, len(part.ids), coder.levels)
            for path, part in zip(files, vectors.parts, strict=True)
        ]
        empty = np.empty((0, coder.levels[0].width), np.float32)
        alive = [codes[0][part.alive] for codes, part in zip(mapped, vectors.parts, strict=True)]
        self.first = np.concatenate([empty, *alive])
        """First-level codes of all rows."""
        self.squares = np.einsum("ij,ij->i", self.first, self.first)
        """The squared lengths of the first-level codes."""
        self.later = [
            _MappedLevel([codes[number] for codes in mapped], vectors)
            for number in range(1, len(coder.levels))
        ]
        # A code of any level has the length of its centred vector.
        max_norm = float(np.sqrt(self.squares.max(initial=0)))
        self.slack = _Slack(vectors.dim, coder.levels, max_norm)

    def bounds(
        self, queries: Vectors, rows: Rows | None = None, codes: Codes | None = None
    ) -> list["QueryBounds"]:
        """Return the bounds of queries (n, dim) to all vectors, or only to ascending ``rows``.

        They are those of the first level for a few queries. For many, multiplying the matrices of
        the last level is faster than reading rows of it for each query. The queries' ``codes`` are
        computed unless they are given.
        """
        many = len(queries) >= MULTIPLY_FROM
        few_rows = rows is not None and len(rows) * GATHER_SHARE < len(self.squares)
        codes = codes or query_codes(self._coder, queries, self._vectors)
        level = len(codes) - 1 if many and not few_rows else 0
        doubled = -2 * codes[level]
        if level:
            squared = self.later[level - 1].products(doubled)
        elif len(queries) > 1:
            squared = doubled @ (self.first[rows] if few_rows else self.first).T
        else:  # a matrix-vector product, as fast as the matrix can be read
            squared = ((self.first[rows] if few_rows else self.first) @ doubled[0])[np.newaxis]
        if rows is not None and not few_rows:
            squared = squared[:, rows]
        squared += self.squares if rows is None else self.squares[rows]
        return [
            QueryBounds(self, [level_codes[n] for level_codes in codes], level, rows, bounds)
            for n, bounds in enumerate(squared)
        ]


def query_codes(coder: ShortlistCoder, queries: Vectors, vectors: MappedVectors) -> Codes:
    """Return the codes of queries (n, dim), computed together or, faster for a few, one by one.

    The threads of ``vectors`` compute them.
    """
    if len(queries) >= MULTIPLY_FROM:
        return coder.codes(queries)[0]
    rows = [query[np.newaxis] for query in queries]
    alone = vectors.parallel_map(lambda row: coder.codes(row)[0], rows)
    return [np.concatenate(level_codes) for level_codes in zip(*alone, strict=True)]


class QueryBounds:
    """Lower bounds of one query's squared distances to the rows that are left of a search.

    ``squared`` (m,) are the bounds of one ``level`` to ``rows``, or to all rows if that is None.
    Bounds that were computed as a product lack the term |q|^2, as does the limit they are compared
    with.
    """

    def __init__(
        self,
        shortlist: Shortlist,
        codes: Codes,
        level: int,
        rows: Rows | None,
        squared: Distances,
        *,
        is_product: bool = True,
    ) -> None:
        self._shortlist = shortlist
        self._codes = codes
        self._level = level
        self._rows = rows
        self._squared = squared
        self._is_product = is_product
        self._length = float(np.linalg.norm(codes[level].astype(np.float64)))

    def __len__(self) -> int:
        return len(self._squared)

    @property
    def name(self) -> str:
        """The name of this stage."""
        return f"bound of {len(self._codes[self._level])} numbers"

    @property
    def rows(self) -> Rows:
        """The rows that are left, ascending."""
        return np.arange(len(self)) if self._rows is None else self._rows

    def take_likely(self, count: int) -> Rows:
        """Remove and return about ``count`` rows with the least bounds, ascending.

        They are probably the nearest. Which rows are taken affects the time, not the result.
        """
        positions = np.flatnonzero(self._squared <= kth_upper_bound(self._squared, count))[
            : 2 * count
        ]
        self._squared[positions] = np.inf
        return positions if self._rows is None else self._rows[positions]

    def within(self, tau: float) -> "QueryBounds":
        """Return the bounds of those rows whose squared distance may be at most ``tau``."""
        slack = self._shortlist.slack
        if self._is_product:
            limit = slack.product_limit(tau, self._length, self._level) - self._length**2
        else:
            limit = slack.difference_limit(tau, self._length, self._level)
        positions = np.flatnonzero(self._squared <= limit)
        rows = positions if self._rows is None else self._rows[positions]
        return self._with(self._level, rows, self._squared[positions], is_product=self._is_product)

    def next_level(self) -> "QueryBounds | None":
        """Return the bounds of the next level to the same rows, or None after the last level."""
        if self._level == len(self._shortlist.later):
            return None
        later, code = self._shortlist.later[self._level], self._codes[self._level + 1]
        rows = self.rows
        squared = later.squared_distances(code, rows)
        return self._with(self._level + 1, rows, squared, is_product=False)

    def _with(
        self, level: int, rows: Rows, squared: Distances, *, is_product: bool
    ) -> "QueryBounds":
        return QueryBounds(
            self._shortlist, self._codes, level, rows, squared, is_product=is_product
        )


class _MappedLevel:
    """The mapped codes of one level, part by part."""

    def __init__(self, codes: Codes, vectors: MappedVectors) -> None:
        self._codes = codes
        self._data = [faiss.swig_ptr(part_codes) for part_codes in codes]
        self._vectors = vectors

    def squared_distances(self, code: Distances, rows: Rows) -> Distances:
        """Return the squared distances of a query's code to the codes of ascending rows."""
        code = np.ascontiguousarray(code)
        return self._vectors.by_part(rows, code, self._data)

    def products(self, codes: Distances) -> Distances:
        """Return the inner products of queries' codes (n, width) with the codes of all rows."""
        products = np.empty((len(codes), len(self._vectors)), np.float32)
        starts = self._vectors.starts
        for number, part in enumerate(self._vectors.parts):
            out = products[:, starts[number] : starts[number + 1]]
            if part.is_whole:
                np.matmul(codes, self._codes[number].T, out=out)
            else:
                out[:] = (codes @ self._codes[number].T)[:, part.alive]
        return products


class _Slack:
    """How far rounding can raise a bound above, or lower a distance below, its true value.

    The error of a code is at most ``coding`` times its vector's length |v - mean|: half a float32
    step for storing it, plus the rounding of float64 sums of d terms. The rounding of float32 sums
    is :func:`~indexer.vector_index.base.gamma`. ``tau`` is a measured squared distance, and all
    vectors that measure no more must be found; ``distance`` allows for the errors of both.
    """

    def __init__(self, dim: int, levels: Sequence[Level], max_norm: float) -> None:
        self._max_norm = max_norm
        self._levels = levels
        self._coding = float(np.finfo(np.float32).eps + 4 * dim * np.finfo(np.float64).eps)
        one = gamma(dim + 2)
        self._distance = (1 + one) / (1 - one) ** 2

    def product_limit(self, tau: float, length: float, level: int) -> float:
        """Return the largest |a|^2 + |b|^2 - 2ab that a squared distance ``tau`` may have as bound.

        |a|^2 is taken from the first level, hence 8 more half steps.
        """
        rounding = gamma(self._levels[level].width + 12) * (self._max_norm + length) ** 2
        return self._limit(tau, length) + rounding

    def difference_limit(self, tau: float, length: float, level: int) -> float:
        """Return the largest |a - b|^2 that a squared distance ``tau`` may have as bound."""
        return self._limit(tau, length) * (1 + gamma(self._levels[level].width + 2))

    def _limit(self, tau: float, length: float) -> float:
        distance = np.sqrt(tau * self._distance)
        return float((distance + self._coding * (self._max_norm + length)) ** 2)


def kth_upper_bound(values: Distances, k: int) -> float:
    """Return an upper bound of the ``k``-th smallest value, close to it.

    Of many values it is the k-th smallest of the minima of groups. Groups are strided, so that
    consecutive values, which are often similar, are in different groups.
    """
    groups = max(1024, 8 * k)
    if len(values) >= 8 * groups:
        values = values[: len(values) // groups * groups].reshape(-1, groups).min(axis=0)
    return float(np.partition(values, k - 1)[k - 1]) if k < len(values) else np.inf
