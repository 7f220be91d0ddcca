"""How images relate to each other: identical, the same picture, similar."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.copies.candidates import (
    CANDIDATE_SHARE,
    Pairs,
    Sides,
    candidate_pairs,
    identical_pairs,
)
from indexer.analysis.copies.confirmation import INSTALL, Pictures, can_compare, confirm
from indexer.analysis.copies.near import Limit, near_pairs
from indexer.analysis.graph import Graph
from indexer.store import Version
from indexer.vector_index import MappedVectors

Kind = Literal["identical", "same", "similar"]
"""Of two images: their files are the same, byte for byte; they show the same picture; they are
within a distance."""

MEASURED_AT_ONCE = 1024


class Partner(NamedTuple):
    """An image of the second side, and the one of the first that it is a copy of or nearest to."""

    id: int
    of_id: int
    kind: Kind
    distance: float


@dataclass(frozen=True, slots=True)
class Relations:
    """The pairs of images that are copies or similar, as positions in the graph, (m, 2)."""

    identical: Pairs
    same: Pairs
    similar: Pairs
    """Those within the distance, whatever else they are."""
    compared: int | None
    """How many pictures were compared with others; None without OpenCV."""
    unread: int
    """How many of these could not be read."""
    why: str
    """Why the first of those could not be read."""

    @classmethod
    def of(
        cls, version: Version, graph: Graph, limit: Limit, sides: Sides, pictures: Pictures
    ) -> "Relations":
        """Find the pairs of two ``sides``. The same picture is looked for farther than ``limit``.

        Raises :class:`~indexer.errors.StoreCorrupt`.
        """
        near = near_pairs(version, graph, limit.within)
        same, compared = np.empty((0, 2), np.int64), None
        if can_compare():
            farthest = max(limit.within, CANDIDATE_SHARE * limit.median)
            candidates = candidate_pairs(version, graph, farthest, sides)
            same, compared = confirm(pictures, graph.ids, candidates), len(np.unique(candidates))
        return cls(
            identical=identical_pairs(version, graph, sides),
            same=same,
            similar=near[sides.meet(near[:, 0], near[:, 1])],
            compared=compared,
            unread=len(pictures.unread),
            why=next(iter(pictures.unread.values()), ""),
        )

    def partners(self, graph: Graph, vectors: MappedVectors, sides: Sides) -> list[Partner]:
        """Return those of the second side that have a partner, the nearest to theirs first.

        Of several an image with an identical file is taken, else one that shows the same picture,
        else the nearest.
        """
        kinds: tuple[Kind, ...] = ("identical", "same", "similar")
        related = self.identical, self.same, self.similar
        pairs = np.concatenate(related)
        kind = np.repeat(np.arange(len(kinds)), [len(one) for one in related])
        pairs, kind = np.concatenate([pairs, pairs[:, ::-1]]), np.tile(kind, 2)
        is_right = sides.first[pairs[:, 0]] & sides.second[pairs[:, 1]]
        ids, kind = graph.ids[pairs[is_right]], kind[is_right]
        distances = _distances(vectors, ids)
        order = np.lexsort((ids[:, 0], distances, kind))
        _, best = np.unique(ids[order, 1], return_index=True)
        chosen = order[best]
        chosen = chosen[np.lexsort((ids[chosen, 1], distances[chosen]))]
        return [
            Partner(other, own, kinds[number], distance)
            for (own, other), number, distance in zip(
                ids[chosen].tolist(), kind[chosen].tolist(), distances[chosen].tolist(), strict=True
            )
        ]


def _distances(vectors: MappedVectors, pairs: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the distances of pairs of ids (m, 2)."""
    rows = vectors.rows(pairs.reshape(-1)).reshape(-1, 2)
    squared = [np.empty(0, np.float32)]
    for start in range(0, len(rows), MEASURED_AT_ONCE):
        some = rows[start : start + MEASURED_AT_ONCE].T
        squared.append(vectors.squared_distances_of_pairs(*some))
    return np.sqrt(np.concatenate(squared))


def comparison_notes(compared: int | None, unread: int, why: str) -> list[str]:
    """Return what to say of pictures that were not compared."""
    nothing = "so that only identical files are known to be copies; all else is called similar."
    if compared is None:
        return [f"Pictures were not compared, {nothing} To compare them: {INSTALL}"]
    if unread == compared > 0:
        where = "Say where the images are now: dataset.root in config.yaml."
        return [f"No picture could be read, {nothing} {where} The first: {why}"]
    if unread:
        what = f"{unread:,} of {compared:,} pictures that were to be compared"
        return [f"{what} could not be read: whether they are copies is unknown. The first: {why}"]
    return []
