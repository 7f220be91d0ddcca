"""The nearest other vectors of every vector: pairs of blocks are multiplied, each pair once.

For vectors x and y, |x|^2 + |y|^2 - 2xy takes a tenth of the time of a subtraction, and the
distance of x to y is that of y to x. But products are inexact, and what comes out must equal exact
search of each vector, to the last bit. So every vector has a few more candidates than neighbours,
and a horizon: no vector that is not among its candidates is nearer than that. The candidates are
measured by subtraction at the end; if the k-th of them is nearer than the horizon, the k nearest
are proved. The few vectors of which that is not so are searched singly.

What has been compared is always complete for the vectors seen so far. Therefore a collection that
has grown is compared further, and so is one that a killed process has left.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.vector_index.base import (
    CandidateIndex,
    Distances,
    SearchParameters,
    Vectors,
    gamma,
)
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.neighbour_lists import (
    Lists,
    Positions,
    positions_of,
    product_error,
    split,
)

BLOCK = 2048
"""Vectors of a block: the product of two blocks takes 16 MB."""

SPARE = 14
"""How many candidates a vector has beyond its k neighbours."""

SEARCHED_AT_ONCE = 64


class Neighbours(ABC):
    """Finds the nearest others of all vectors of an index; see :class:`ExactNeighbours`.

    ``lists`` has all of its ids; ``compared`` bool (n,) tells which of them have been compared with
    each other. If ``lists.squared`` are distances, not bounds, ``measured`` is true.
    """

    def __init__(
        self,
        index: CandidateIndex,
        vectors: MappedVectors,
        k: int,
        lists: Lists,
        compared: NDArray[np.bool_],
        *,
        measured: bool,
        parameters: SearchParameters | None = None,
    ) -> None:
        self.lists = lists
        self.compared = compared
        self.pairs = 0
        """How many pairs of vectors were multiplied."""
        self.searched = 0
        """How many vectors were searched singly."""
        self._k = k
        self._index = index
        self._parameters = parameters
        self._vectors = vectors
        self._rows = vectors.rows(lists.ids)
        self._changed = compared & (not measured)

    @property
    def changed(self) -> int:
        """How many vectors have candidates that are still to be measured."""
        return int(self._changed.sum())

    @property
    @abstractmethod
    def left(self) -> int:
        """How much there is to do for :meth:`grow`, in the unit of what it yields."""

    @abstractmethod
    def grow(self) -> Iterator[int]:
        """Compare all vectors that were not, block after block; yield how much was done."""

    def finish(self) -> Iterator[int]:
        """Measure the candidates, and search what they do not prove; yield how many are done."""
        for block in split(np.arange(len(self.compared)), BLOCK):
            self._measure(block[self._changed[block]])
            unproved = block[~self._are_proved(block)]
            for few in split(unproved, SEARCHED_AT_ONCE):
                self._search(few)
            yield len(block)

    @abstractmethod
    def _are_proved(self, block: Positions) -> NDArray[np.bool_]:
        """Tell which vectors' k nearest are the first k of their lists."""

    def _insert(
        self, block: Positions, at: Positions, near: Positions, bounds: NDArray[np.floating[Any]]
    ) -> None:
        """Add candidates (m,) to the lists of ``block[at]``, ``at`` ascending; keep the nearest."""
        lists, width = self.lists, self.lists.near.shape[1]
        first = np.flatnonzero(np.diff(at, prepend=-1))
        counts = np.diff(first, append=len(at))
        which = block[at[first]]
        row = np.repeat(np.arange(len(first)), counts)
        column = width + np.arange(len(at)) - np.repeat(first, counts)
        shape = (len(first), width + int(counts.max()))
        all_bounds, all_near = np.full(shape, np.inf, np.float32), np.full(shape, -1, np.int32)
        all_bounds[:, :width], all_near[:, :width] = lists.squared[which], lists.near[which]
        all_bounds[row, column], all_near[row, column] = bounds, near
        order = np.argpartition(all_bounds, width, axis=1)[:, : width + 1]
        all_bounds = np.take_along_axis(all_bounds, order, 1)
        lists.squared[which] = all_bounds[:, :width]
        lists.near[which] = np.take_along_axis(all_near, order[:, :width], 1)
        lists.horizon[which] = np.minimum(lists.horizon[which], all_bounds[:, width])
        self._changed[which] = True

    def _measure(self, block: Positions) -> None:
        """Measure the candidates of a block exactly, and sort them by distance, then by id."""
        near = self.lists.near[block]
        at, slot = np.nonzero(near >= 0)
        squared = np.full(near.shape, np.inf, np.float32)
        squared[at, slot] = self._vectors.squared_distances_of_pairs(
            self._rows[block[at]], self._rows[near[at, slot]]
        )
        order = np.lexsort((near, squared))
        self.lists.near[block] = np.take_along_axis(near, order, 1)
        self.lists.squared[block] = np.take_along_axis(squared, order, 1)
        self._changed[block] = False

    def _search(self, block: Positions) -> None:
        """Search a few vectors by themselves."""
        lists, width = self.lists, self.lists.near.shape[1]
        found = self._index.candidates(
            self._vectors.vectors(self._rows[block]),
            [width + 1] * len(block),
            parameters=self._parameters,
        )
        for position, candidates in zip(block.tolist(), found, strict=True):
            others = candidates.ids != lists.ids[position]
            ids, squared = candidates.ids[others][:width], candidates.squared[others][:width]
            lists.near[position], lists.squared[position] = -1, np.inf
            lists.near[position, : len(ids)] = positions_of(lists.ids, ids)
            lists.squared[position, : len(ids)] = squared
            lists.horizon[position] = squared[-1] if len(ids) == width else np.inf
        self.searched += len(block)


class ExactNeighbours(Neighbours):
    """Finds the neighbours that exact search of every vector finds, with the same distances."""

    @property
    def left(self) -> int:
        """How many pairs of vectors there are to compare."""
        compared, new = int(self.compared.sum()), int((~self.compared).sum())
        return new * compared + new * (new - 1) // 2

    @cached_property
    def _rounding(self) -> float:
        """Bound the relative error of a product, and of what is computed of it here."""
        return gamma(self._vectors.dim + 16)

    @cached_property
    def _error(self) -> float:
        """Bound the error of |x|^2 + |y|^2 - 2xy."""
        return product_error(self._vectors)

    def grow(self) -> Iterator[int]:
        """Compare all vectors that were not; after each two blocks yield how many pairs."""
        for block in split(np.flatnonzero(~self.compared), BLOCK):
            yield self._compare(block, block)
            for others in split(np.flatnonzero(self.compared), BLOCK):
                yield self._compare(block, others)
            self.compared[block] = True
            yield 0

    def _compare(self, block: Positions, others: Positions) -> int:
        """Offer the vectors of two blocks, or of one, to each other; return how many pairs."""
        rows, columns = self._rows[block], self._rows[others]
        products = self._vectors.vectors(rows) @ self._vectors.vectors(columns).T
        squares = self._vectors.squares
        if block is others:
            np.fill_diagonal(products, -np.inf)
            pairs = len(block) * (len(block) - 1) // 2
        else:
            pairs = len(block) * len(others)
            self._offer(others, block, products.T, squares[columns], squares[rows])
        self._offer(block, others, products, squares[rows], squares[columns])
        self.pairs += pairs
        return pairs

    def _offer(
        self,
        block: Positions,
        others: Positions,
        products: Vectors,
        own_squares: Distances,
        other_squares: Distances,
    ) -> None:
        """Add those of ``others`` to the lists of ``block`` that their horizons do not rule out."""
        rounding, error = self._rounding, self._error
        horizon, width = self.lists.horizon[block].astype(np.float64), self.lists.near.shape[1]
        if np.isinf(horizon).all() and len(others) > 2 * width:
            # Nothing is known of these: the nearest, and the first that is not among them, suffice.
            estimates = other_squares / 2 - products
            some = np.argpartition(estimates, width, axis=1)[:, : width + 1]
            at, other = np.repeat(np.arange(len(block)), width + 1), some.reshape(-1)
        else:
            reach = horizon / (1 - rounding) + error
            least = (own_squares + other_squares.min(initial=np.inf) - reach) / 2
            least = np.nextafter(least.astype(np.float32), np.float32(-np.inf))
            at, other = _exceeding(products, least)
        found = products[at, other].astype(np.float64)
        bounds = own_squares[at] + (other_squares[other] - 2 * found) - error
        bounds = np.maximum(bounds * (1 - rounding), 0)
        nearer = (bounds < horizon[at]) & np.isfinite(found)
        if nearer.any():
            self._insert(block, at[nearer], others[other[nearer]], bounds[nearer])

    def _are_proved(self, block: Positions) -> NDArray[np.bool_]:
        """Tell which vectors' k nearest are the first k of their lists."""
        horizon, squared = self.lists.horizon[block], self.lists.squared[block, self._k - 1]
        proved: NDArray[np.bool_] = np.isinf(horizon) | (squared < horizon)
        return proved


class ApproximateNeighbours(Neighbours):
    """Finds neighbours by approximate search of every vector.

    A vector that was compared before gets those new ones as neighbours that it is a neighbour of.
    """

    @property
    def left(self) -> int:
        """How many vectors there are to search."""
        return int((~self.compared).sum())

    def grow(self) -> Iterator[int]:
        """Search all vectors that were not compared; after some of them yield how many."""
        for block in split(np.flatnonzero(~self.compared), SEARCHED_AT_ONCE):
            self._search(block)
            self._return(block)
            self.compared[block] = True
            yield len(block)

    def _return(self, block: Positions) -> None:
        """Make the vectors of a block neighbours of their own that were compared before."""
        lists = self.lists
        at, slot = np.nonzero(lists.near[block] >= 0)
        own, near, squared = block[at], lists.near[block[at], slot], lists.squared[block[at], slot]
        is_new = self.compared[near] & (squared < lists.horizon[near])
        is_new &= ~(lists.near[near] == own[:, np.newaxis]).any(axis=1)
        order = np.flatnonzero(is_new)[np.argsort(near[is_new], kind="stable")]
        if len(order):
            some, at = np.unique(near[order], return_inverse=True)
            self._insert(some, at, own[order], squared[order])

    def _are_proved(self, block: Positions) -> NDArray[np.bool_]:
        """Tell which vectors have as many neighbours as there can be."""
        most = min(self._k, len(self.compared) - 1)
        enough: NDArray[np.bool_] = (self.lists.near[block] >= 0).sum(axis=1) >= most
        return enough


def _exceeding(products: Vectors, least: Distances) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Return the rows, ascending, and columns of what exceeds the ``least`` of its row.

    NumPy finds them several times as fast if it goes through the memory in order, flat.
    """
    if products.flags.c_contiguous:
        found = np.flatnonzero(products > least[:, np.newaxis])
        return np.divmod(found, products.shape[1])
    columns, rows = np.divmod(np.flatnonzero(least < products.T), len(least))
    order = np.argsort(rows, kind="stable")
    return rows[order], columns[order]
