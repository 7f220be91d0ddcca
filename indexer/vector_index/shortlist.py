"""The shortlist: which vectors cannot be among the nearest, proved from a few coordinates each.

The proof. Let P be an orthonormal projection, R = I - P'P what it leaves out, and b the blocks into
which the components of R are cut. Then, by Pythagoras and the reverse triangle inequality,

    |q - x|^2 = |Pq - Px|^2 + sum_b |Rq_b - Rx_b|^2 >= |Pq - Px|^2 + sum_b (|Rq_b| - |Rx_b|)^2

so the distance between the codes [P(x - mean), |R(x - mean)_b|] is a lower bound of the true one.
Once k vectors are known whose exact distances are at most tau, a vector whose bound exceeds tau
cannot be nearer. P holds the first principal axes, which make the bound tight. The codes come in
levels: the first, few numbers for every vector, lies in memory; later ones, with more numbers, are
mapped and read for the vectors the level before has left.

The slack. Codes are computed in float64 and stored in float32, bounds and distances are computed in
float32, so a bound may come out too large and a distance too small. ``_Slack`` adds up by how
much at most; it is derived, not tuned, and costs a few rows in a hundred thousand.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.vector_index.base import Distances, Rows, Vectors, gamma
from indexer.vector_index.codes import Codes, Level, ShortlistCoder, map_codes
from indexer.vector_index.mapped import MappedVectors, distances_by_row

MANY = 8
"""From this many queries on, their last-level bounds are computed at once for all vectors."""


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
        alive = [own[0][part.alive] for own, part in zip(mapped, vectors.parts, strict=True)]
        self.first = np.concatenate([empty, *alive])
        """First-level codes of all rows."""
        self.outside = np.ascontiguousarray(self.first[:, -1])
        """Their last number: the length outside the first level's axes."""
        self._squares = np.einsum("ij,ij->i", self.first, self.first)
        self.later = [
            _MappedLevel([own[number] for own in mapped], vectors)
            for number in range(1, len(coder.levels))
        ]
        # The length of a code is that of its vector, whatever the level.
        reach = float(np.sqrt(self._squares.max(initial=0)))
        self.slack = _Slack(vectors.dim, coder.levels, reach)

    def bounds(self, queries: Vectors, rows: Rows | None = None) -> list["QueryBounds"]:
        """Return the bounds of queries (n, dim) to all vectors, or to ``rows`` only.

        A few queries get those of the first level. For many, multiplying the last level's codes as
        matrices is cheaper than reading many of its rows for each.
        """
        codes, _ = self._coder.codes(queries)
        level = 0 if len(queries) < MANY else len(codes) - 1
        products = self._products(level, codes[level])
        products *= -2
        products += self._squares
        products += np.einsum("ij,ij->i", codes[level], codes[level])[:, np.newaxis]
        if rows is not None:
            others = np.ones(len(self._vectors), np.bool_)
            others[rows] = False
            products[:, others] = np.inf
        return [
            QueryBounds(self, [own[number] for own in codes], level, bounds)
            for number, bounds in enumerate(products)
        ]

    def _products(self, level: int, codes: Distances) -> Distances:
        """Return the inner products of queries' codes (n, width) with those of all rows."""
        if level:
            return self.later[level - 1].products(codes)
        if len(codes) == 1:
            products: Distances = (self.first @ codes[0])[np.newaxis]
        else:
            products = codes @ self.first.T
        return products


class QueryBounds:
    """One query's lower bounds: its ``codes`` of every level, and ``squared`` (n,) of one level."""

    def __init__(self, shortlist: Shortlist, codes: Codes, level: int, squared: Distances) -> None:
        self._shortlist = shortlist
        self._codes = codes
        self._level = level
        self._squared = squared

    def likely(self, count: int) -> Rows:
        """Return up to about ``count`` rows that are probably near, ascending.

        A wrong guess costs time, not correctness: it only finds a small tau to start from.
        """
        shortlist, codes = self._shortlist, self._codes
        guess = self._squared
        if not self._level:  # in many dimensions, what lies outside the axes is at right angles
            guess = guess + 2 * codes[0][-1] * shortlist.outside
        if self._level == len(shortlist.later):
            return _small(guess, count)
        rows = _small(guess, count * 8)
        closer = shortlist.later[-1].squared_distances(codes[-1], rows)
        return rows[closer <= np.partition(closer, count)[count]] if len(rows) > count else rows

    def possible(self, tau: float) -> Iterator[tuple[str, Rows]]:
        """Yield, level after level, its name and the rows whose squared distance may be ``tau``."""
        shortlist, length = self._shortlist, float(np.linalg.norm(self._codes[0]))
        limit = shortlist.slack.product_limit(tau, length, self._level)
        rows = np.flatnonzero(self._squared <= limit)
        yield f"bound of {len(self._codes[self._level])} numbers", rows
        for number in range(self._level + 1, len(self._codes)):
            code = self._codes[number]
            closer = shortlist.later[number - 1].squared_distances(code, rows)
            rows = rows[closer <= shortlist.slack.difference_limit(tau, length, number)]
            yield f"bound of {len(code)} numbers", rows


class _MappedLevel:
    """One level's codes of every part, mapped."""

    def __init__(self, codes: Codes, vectors: MappedVectors) -> None:
        self._codes = codes
        self._data = [faiss.swig_ptr(own) for own in codes]
        self._vectors = vectors

    def squared_distances(self, code: Distances, rows: Rows) -> Distances:
        """Return the squared distances of a query's code to those of ascending rows."""
        code = np.ascontiguousarray(code)
        return self._vectors.by_part(
            rows, len(code), lambda part, local: distances_by_row(code, self._data[part], local)
        )

    def products(self, codes: Distances) -> Distances:
        """Return the inner products of queries' codes (n, width) with those of all rows."""
        products = np.empty((len(codes), len(self._vectors)), np.float32)
        starts = self._vectors.starts
        for number, part in enumerate(self._vectors.parts):
            own = codes @ self._codes[number].T
            products[:, starts[number] : starts[number + 1]] = own[:, part.alive]
        return products


class _Slack:
    """How far rounding can carry a bound above, or a distance below, its true value.

    A code is off by at most ``coding`` times its vector's length |v - mean|: half a float32 step
    where it is stored, and what the float64 sums of d terms before may lose. What float32
    loses in sums is :func:`~indexer.vector_index.base.gamma`. ``tau`` is a measured distance, and
    the answer is to hold all vectors that measure no more: both may be off, hence ``distance``.
    """

    def __init__(self, dim: int, levels: Sequence[Level], reach: float) -> None:
        self._reach = reach
        self._levels = levels
        self._coding = float(np.finfo(np.float32).eps + 4 * dim * np.finfo(np.float64).eps)
        one = gamma(dim + 2)
        self._distance = (1 + one) / (1 - one) ** 2

    def product_limit(self, tau: float, length: float, level: int) -> float:
        """Return the largest bound, got as |a|^2 + |b|^2 - 2ab, that a distance^2 tau may have.

        |a|^2 is taken from the first level, hence the 8 half steps more.
        """
        rounding = gamma(self._levels[level].width + 12) * (self._reach + length) ** 2
        return self._limit(tau, length) + rounding

    def difference_limit(self, tau: float, length: float, level: int) -> float:
        """Return the largest bound, got as |a - b|^2, that a distance^2 tau may have."""
        return self._limit(tau, length) * (1 + gamma(self._levels[level].width + 2))

    def _limit(self, tau: float, length: float) -> float:
        distance = np.sqrt(tau * self._distance)
        return float((distance + self._coding * (self._reach + length)) ** 2)


def _small(values: Distances, count: int) -> Rows:
    """Return where up to ``count`` small finite values are, ascending: the least of as many groups.

    Taking every ``count``-th value into a group keeps neighbours, which are often alike, apart.
    """
    groups = values[: len(values) // count * count].reshape(-1, count)
    places = np.sort(groups.argmin(axis=0) * count + np.arange(count))
    finite: Rows = places[np.isfinite(values[places])]
    return finite


def at_most(values: Distances, k: int) -> float:
    """Return a number that at least ``k`` values do not exceed, close to the smallest such one."""
    groups = max(1024, 8 * k)
    if len(values) < 8 * groups:
        return float(np.partition(values, k - 1)[k - 1]) if k < len(values) else np.inf
    return float(np.partition(values[_small(values, groups)], k - 1)[k - 1])
