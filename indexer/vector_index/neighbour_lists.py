"""Lists of the nearest others of vectors, and what is known of all that are not in them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.vector_index.base import Distances, Ids, gamma
from indexer.vector_index.mapped import MappedVectors

Positions = NDArray[np.integer[Any]]

ROWS = 2048
"""How many lists are changed at once."""

SAME_DISTANCE = 1e-5
"""Squared distances of the same two vectors differ by less, on whatever machine."""


class Lists(NamedTuple):
    """The candidates of n vectors, of which ``ids`` int64 (n,) are ascending.

    ``near`` int32 (n, width) are positions in ``ids``, -1 where there are no more; ``squared``
    float32 (n, width) are squared distances, or lower bounds of them. The squared distance of a
    vector that is not in the list is at least ``horizon`` float32 (n,), infinity if there is none.
    """

    ids: Ids
    near: NDArray[np.int32]
    squared: Distances
    horizon: Distances

    @classmethod
    def empty(cls, ids: Ids, width: int) -> "Lists":
        """Return lists without candidates."""
        return cls(
            ids,
            np.full((len(ids), width), -1, np.int32),
            np.full((len(ids), width), np.inf, np.float32),
            np.full(len(ids), np.inf, np.float32),
        )

    def among(self, ids: Ids) -> "Lists":
        """Return the lists of some other ids, int64 (m,), ascending.

        Vectors that are not here get empty lists; vectors that are not there vanish from all lists.
        What holds of the horizons still does.
        """
        made = Lists.empty(ids, self.near.shape[1])
        places = np.append(positions_of(ids, self.ids), np.int32(-1))  # of a vector, then of none
        kept = np.flatnonzero(places[:-1] >= 0)
        for rows in split(kept, ROWS):
            near = places[self.near[rows]]
            squared = np.where(near >= 0, self.squared[rows], np.float32(np.inf))
            order = np.argsort(near < 0, axis=1, kind="stable")
            made.near[places[rows]] = np.take_along_axis(near, order, 1)
            made.squared[places[rows]] = np.take_along_axis(squared, order, 1)
            made.horizon[places[rows]] = self.horizon[rows]
        return made


def known_ids(lists: Lists, vectors: MappedVectors, *, measured: bool) -> Ids:
    """Return the ids whose vectors are those that the lists were made from.

    The distance to one of its candidates tells a vector from another; ``measured`` distances are
    the same on every machine but for the last digits. An id can have got another content where the
    newest version was lost, since its ids were then given again.
    """
    rows, kept = vectors.rows(lists.ids), []
    tolerance = SAME_DISTANCE if measured else 3 * product_error(vectors)
    for block in split(np.flatnonzero(lists.near[:, 0] >= 0), ROWS):
        squared = vectors.squared_distances_of_pairs(rows[block], rows[lists.near[block, 0]])
        kept.append(block[np.abs(squared - lists.squared[block, 0]) <= tolerance])
    known: Ids = lists.ids[np.concatenate([np.empty(0, np.int64), *kept])]
    return known


def product_error(vectors: MappedVectors) -> float:
    """Bound the error of |x|^2 + |y|^2 - 2xy."""
    return gamma(vectors.dim + 16) * (2 * vectors.max_norm) ** 2


def positions_of(ids: Ids, some: Ids) -> NDArray[np.int32]:
    """Return the positions of some ids in ascending ids, int32, -1 for one that is not there."""
    if not len(ids):
        return np.full(len(some), -1, np.int32)
    places = np.minimum(np.searchsorted(ids, some), len(ids) - 1)
    return np.where(ids[places] == some, places, -1).astype(np.int32)


def split(positions: NDArray[np.int_], size: int) -> Iterator[NDArray[np.int_]]:
    """Yield the positions in blocks."""
    for start in range(0, len(positions), size):
        yield positions[start : start + size]
