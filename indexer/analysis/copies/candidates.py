"""Which pairs of images may show the same picture: near ones, few of each image."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.copies.near import in_different_pictures
from indexer.analysis.graph import Graph
from indexer.store import Version

CANDIDATE_SHARE = 0.7
"""Copies are looked for within this share of the median distance of two images.

Of 1,369 planted copies the farthest was at 0.63, with a border; without one at 0.56, a copy of half
the width.
"""

CANDIDATES = 5
"""How many of its nearest are compared with each image. All of these copies were among three."""

BLOCK = 4096
"""Images whose neighbours are looked at together."""

Pairs = NDArray[np.int64]
"""Positions in the graph, (m, 2)."""


class Sides(NamedTuple):
    """Which images are compared with which, as masks (n,): those of one with those of the other."""

    first: NDArray[np.bool_]
    second: NDArray[np.bool_]

    @classmethod
    def all(cls, count: int) -> "Sides":
        """Compare all images with each other."""
        everything = np.ones(count, np.bool_)
        return cls(everything, everything)

    def meet(self, one: NDArray[np.integer], other: NDArray[np.integer]) -> NDArray[np.bool_]:
        """Tell which pairs of images, of the same shape, are compared."""
        met: NDArray[np.bool_] = self.first[one] & self.second[other]
        met |= self.second[one] & self.first[other]
        return met


def identical_pairs(version: Version, graph: Graph, sides: Sides) -> Pairs:
    """Return pairs that connect all images with identical files."""
    found = []
    for ids in version.catalogue.same_content():
        positions = np.searchsorted(graph.ids, ids)
        ours, theirs = positions[sides.first[positions]], positions[sides.second[positions]]
        if len(ours) and len(theirs):
            found += [(ours[0], other) for other in theirs if other != ours[0]]
            found += [(one, theirs[0]) for one in ours[1:] if one != theirs[0]]
    return np.unique(np.array(found, np.int64).reshape(-1, 2), axis=0)


def candidate_pairs(version: Version, graph: Graph, within: float, sides: Sides) -> Pairs:
    """Return the pairs to look at, ascending, the lower position first.

    Of identical files only the first is paired with others. Boxes in one picture are no pair.
    """
    first = _first_of_content(version, graph, sides)
    found = [np.empty((0, 2), np.int64)]
    for start in range(0, len(graph), BLOCK):
        own = np.arange(start, min(start + BLOCK, len(graph)))
        own = own[first[own] == own]
        near = graph.neighbours[own]
        is_near = (near >= 0) & (graph.distances[own] <= within)
        near = np.where(is_near, first[near], -1)
        one = np.broadcast_to(own[:, None], near.shape)
        is_near &= (near != one) & sides.meet(one, near)
        is_near &= np.cumsum(is_near, axis=1) <= CANDIDATES
        found.append(np.stack([one[is_near], near[is_near]], axis=1))
    pairs = np.unique(np.sort(np.concatenate(found), axis=1), axis=0)
    if version.manifest.dataset.items == "boxes":
        pairs = in_different_pictures(version, graph, pairs)
    return pairs


def _first_of_content(version: Version, graph: Graph, sides: Sides) -> NDArray[np.int64]:
    """Return for each image the first on the same side with the same file, which may be itself."""
    first = np.arange(len(graph))
    for ids in version.catalogue.same_content():
        positions = np.searchsorted(graph.ids, ids)
        side = 2 * sides.first[positions] + sides.second[positions]
        for value in np.unique(side):
            alike = positions[side == value]
            first[alike] = alike[0]
    return first


def in_reading_order(pairs: Pairs) -> Pairs:
    """Return the pairs so that those of one image, and of its neighbours, follow each other.

    Images get numbers as they are reached from one to the next, the neighbours of each at once; a
    pair comes when its later image is reached.
    """
    images, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    both = np.concatenate([places, places[:, ::-1]])
    both = both[np.argsort(both[:, 0], kind="stable")]
    starts = np.searchsorted(both[:, 0], np.arange(len(images) + 1)).tolist()
    others = both[:, 1].tolist()
    number = np.full(len(images), -1)
    reached = 0
    for root in range(len(images)):
        if number[root] >= 0:
            continue
        number[root], reached = reached, reached + 1
        queue = [root]
        for one in queue:
            for other in others[starts[one] : starts[one + 1]]:
                if number[other] < 0:
                    number[other], reached = reached, reached + 1
                    queue.append(other)
    numbered = np.sort(number[places], axis=1)
    return pairs[np.lexsort((numbered[:, 0], numbered[:, 1]))]
