"""From neighbours to a page of results: as deep as one likes, near-duplicates collapsed."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InvalidQuery

Ids = NDArray[np.int64]
Distances = NDArray[np.float32]
Vectors = NDArray[np.float32]

Neighbours = Callable[[int], tuple[Distances, Ids]]
"""Returns the ``k`` nearest: distances float32 (m,), ascending, and image ids, m <= k."""

DUPLICATE_DISTANCE = 0.3
"""Two features this near (a cosine of 0.955) are one picture, saved again or cut a little.

Measured with the embedded encoder on the demo's photographs: saved again as JPEG of quality 75 the
95th percentile is 0.27, cut by 2 % on every side 0.31, mirrored 0.37. Of the photographs themselves
only those that exist in two sizes are nearer than 0.3 to another; the others begin at 0.6.
"""

DUPLICATE_REACH = 100
"""How many ranks below a result its duplicates are looked for: the depth a page looks ahead."""

MAX_RANKS = 10_000
"""How many ranks a page that collapses near-duplicates may look at, or else :data:`MAX_FACTOR`
times as many as its last result has. Of a million pictures of one thing all would be ranked
otherwise, to find thirty that differ."""

MAX_FACTOR = 4


@dataclass(frozen=True, slots=True)
class Place:
    """A neighbour's rank, counted from 1, with those that fold under it."""

    rank: int
    image_id: int
    distance: float
    duplicates: tuple["Place", ...] = ()


def first_depth(count: int, k: int, page: int, threshold: float | None, *, collapse: bool) -> int:
    """Return how many neighbours out of ``count`` a page asks for first; 0 if it asks for none."""
    if (page - 1) * k >= count:
        return 0
    ahead = DUPLICATE_REACH + 1 if collapse else int(threshold is not None)
    return min(page * k + ahead, count)


def page_of(
    neighbours: Neighbours, count: int, k: int, page: int, threshold: float | None
) -> tuple[list[Place], bool]:
    """Return one page of ``k`` neighbours out of ``count``, and whether there is another.

    Page ``p`` asks for ``p * k`` neighbours: pages of exact search never overlap and leave nobody
    out. ``threshold`` is the largest distance.
    """
    wanted = first_depth(count, k, page, threshold, collapse=False)
    if not wanted:
        return [], False
    places = _places(*_near(neighbours(wanted), threshold))
    more = len(places) > page * k or (threshold is None and len(places) == page * k < count)
    return places[(page - 1) * k : page * k], more


def collapsed_page_of(
    neighbours: Neighbours,
    vectors: Callable[[Ids], Vectors],
    count: int,
    k: int,
    page: int,
    threshold: float | None,
) -> tuple[list[Place], bool]:
    """Return one page of ``k`` results with their near-duplicates, and whether there is another.

    A neighbour folds under the best-ranked result that is no farther from it than
    :data:`DUPLICATE_DISTANCE` and no more than :data:`DUPLICATE_REACH` ranks above it. What folds
    depends on better-ranked neighbours alone, so the pages fit together however deep one goes.
    Raises :class:`~indexer.errors.InvalidQuery` where there are so many near-duplicates that more
    than :data:`MAX_RANKS` would have to be looked at.
    """
    depth = first_depth(count, k, page, threshold, collapse=True)
    if not depth:
        return [], False
    deepest = max(MAX_RANKS, MAX_FACTOR * page * k)
    while True:
        distances, ids = _near(neighbours(depth), threshold)
        leaders = fold(vectors, ids)
        firsts = np.flatnonzero(leaders == np.arange(len(leaders)))
        all_seen = depth == count or len(ids) < depth
        if all_seen or (len(firsts) > page * k and _closed(firsts, page * k, len(ids))):
            break
        if depth >= deepest:
            raise InvalidQuery(
                f"The nearest {depth:,} images hold too many near-duplicates to fill this page.",
                "Ask for fewer results, or for all images: collapse_duplicates=false.",
            )
        depth = min(depth * 2, deepest, count)
    places = _places(distances, ids)
    members: dict[int, list[Place]] = {}
    for row in np.flatnonzero(leaders != np.arange(len(leaders))).tolist():
        members.setdefault(int(leaders[row]), []).append(places[row])
    shown = firsts[(page - 1) * k : page * k].tolist()
    results = [
        Place(p.rank, p.image_id, p.distance, tuple(members.get(row, ())))
        for row, p in ((row, places[row]) for row in shown)
    ]
    return results, len(firsts) > page * k


def fold(vectors: Callable[[Ids], Vectors], ids: Ids) -> NDArray[np.int64]:
    """Return for each image, by rank, the row it folds under: its own if none.

    ``vectors`` returns those of images, float32 (n, dim). However many images there are, those of
    twice :data:`DUPLICATE_REACH` are in memory at a time.
    """
    least_cosine = 1 - DUPLICATE_DISTANCE**2 / 2
    leaders = np.arange(len(ids))
    before = vectors(ids[:0])
    for start in range(0, len(ids), DUPLICATE_REACH):
        own = vectors(ids[start : start + DUPLICATE_REACH])
        first = start - len(before)
        near = own @ np.concatenate([before, own]).T >= least_cosine
        for row in range(start, start + len(own)):
            lowest = max(row - DUPLICATE_REACH, 0)
            for other in lowest + np.flatnonzero(near[row - start, lowest - first : row - first]):
                if leaders[other] == other:
                    leaders[row] = other
                    break
        before = own
    return leaders


def _closed(firsts: NDArray[np.int64], results: int, seen: int) -> bool:
    """Tell whether all that can fold under the first ``results`` has been seen."""
    return bool(firsts[results - 1] + DUPLICATE_REACH < seen)


def _near(found: tuple[Distances, Ids], threshold: float | None) -> tuple[Distances, Ids]:
    """Drop empty slots and what is farther than the threshold."""
    distances, ids = found
    kept = ids >= 0
    if threshold is not None:
        kept &= distances <= threshold
    return distances[kept], ids[kept]


def _places(distances: Distances, ids: Ids) -> list[Place]:
    pairs = zip(ids.tolist(), distances.tolist(), strict=True)
    return [Place(rank, *pair) for rank, pair in enumerate(pairs, start=1)]
