"""From neighbours to a page of results, with near-duplicates collapsed if asked for.

Boxes in one picture collapse like near-duplicates.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InvalidQuery

Ids = NDArray[np.int64]
Distances = NDArray[np.float32]
Vectors = NDArray[np.float32]

Pictures = Callable[[Ids], Ids]
"""Returns a number for each of n boxes, int64 (n,), which is that of its picture."""

Neighbours = Callable[[int], tuple[Distances, Ids]]
"""Returns the ``k`` nearest: distances float32 (m,), ascending, and image ids, m <= k."""

ROUNDING = 1e-6
"""The most by which rounding changes the cosine of two vectors, which may be equal."""

DUPLICATE_WINDOW = 100
"""How many ranks below a result its duplicates are looked for."""

MAX_RANKS = 10_000
"""How many ranks a page that collapses near-duplicates may look at, or :data:`MAX_FACTOR` times as
many as the results up to this page, if that is more. Without a limit, a million near-duplicates
would all be ranked to find thirty different images."""

MAX_FACTOR = 4


@dataclass(frozen=True, slots=True)
class RankedHit:
    """A neighbour and its rank, counted from 1, with those that fold under it."""

    rank: int
    image_id: int
    distance: float
    duplicates: tuple["RankedHit", ...] = ()


def first_depth(count: int, k: int, page: int, threshold: float | None, *, collapse: bool) -> int:
    """Return how many neighbours out of ``count`` a page needs at first; 0 if it is beyond all."""
    if (page - 1) * k >= count:
        return 0
    ahead = DUPLICATE_WINDOW + 1 if collapse else int(threshold is not None)
    return min(page * k + ahead, count)


def page_of(
    neighbours: Neighbours, count: int, k: int, page: int, threshold: float | None
) -> tuple[list[RankedHit], bool]:
    """Return one page of ``k`` neighbours out of ``count``, and whether there is another page.

    Page ``p`` is cut from the ``p * k`` nearest, so that pages of exact search never overlap and
    miss no image. ``threshold`` is the largest distance.
    """
    wanted = first_depth(count, k, page, threshold, collapse=False)
    if not wanted:
        return [], False
    ranked = _ranked(*_within(neighbours(wanted), threshold))
    more = len(ranked) > page * k or (threshold is None and len(ranked) == page * k < count)
    return ranked[(page - 1) * k : page * k], more


def collapsed_page_of(
    neighbours: Neighbours,
    vectors: Callable[[Ids], Vectors],
    count: int,
    k: int,
    page: int,
    threshold: float | None,
    near: float,
    pictures: Pictures | None = None,
) -> tuple[list[RankedHit], bool]:
    """Return one page of ``k`` results with their near-duplicates, and whether there is another.

    A neighbour folds under the best-ranked result that is within the distance ``near`` of it, or in
    the same one of ``pictures``, and at most :data:`DUPLICATE_WINDOW` ranks above it. Folding
    depends on better-ranked neighbours alone, so that pages are consistent at any depth. Raises
    :class:`~indexer.errors.InvalidQuery` if so many fold that more than :data:`MAX_RANKS` would
    have to be looked at.
    """
    depth = first_depth(count, k, page, threshold, collapse=True)
    if not depth:
        return [], False
    deepest = max(MAX_RANKS, MAX_FACTOR * page * k)
    while True:
        distances, ids = _within(neighbours(depth), threshold)
        leaders = fold(vectors, ids, near, pictures)
        firsts = np.flatnonzero(leaders == np.arange(len(leaders)))
        # The page is complete once nothing below can fold under one of its results.
        last = firsts[page * k - 1] if len(firsts) > page * k else len(ids)
        if depth == count or len(ids) < depth or last + DUPLICATE_WINDOW < len(ids):
            break
        if depth >= deepest:
            raise InvalidQuery(
                f"The nearest {depth:,} images hold too many near-duplicates to fill this page.",
                "Ask for fewer results, or set collapse_duplicates to false.",
            )
        depth = min(depth * 2, deepest, count)
    ranked = _ranked(distances, ids)
    members: dict[int, list[RankedHit]] = {}
    for row in np.flatnonzero(leaders != np.arange(len(leaders))).tolist():
        members.setdefault(int(leaders[row]), []).append(ranked[row])
    shown = firsts[(page - 1) * k : page * k].tolist()
    results = [replace(ranked[row], duplicates=tuple(members.get(row, ()))) for row in shown]
    return results, len(firsts) > page * k


def fold(
    vectors: Callable[[Ids], Vectors], ids: Ids, near: float, pictures: Pictures | None = None
) -> NDArray[np.int64]:
    """Return for each image, by rank, the position of the one it folds under, or its own.

    ``vectors`` returns the features of images, float32 (n, dim). Those of at most twice
    :data:`DUPLICATE_WINDOW` images are in memory at a time. Equal ones fold whatever ``near`` is.
    """
    least_cosine = 1 - near**2 / 2 - ROUNDING
    leaders = np.arange(len(ids))
    before, seen = vectors(ids[:0]), ids[:0]
    for start in range(0, len(ids), DUPLICATE_WINDOW):
        block = vectors(ids[start : start + DUPLICATE_WINDOW])
        first = start - len(before)
        folds = block @ np.concatenate([before, block]).T >= least_cosine
        if pictures:
            own = pictures(ids[start : start + DUPLICATE_WINDOW])
            folds |= own[:, np.newaxis] == np.concatenate([seen, own])
            seen = own
        for row in range(start, start + len(block)):
            lowest = max(row - DUPLICATE_WINDOW, 0)
            others = lowest + np.flatnonzero(folds[row - start, lowest - first : row - first])
            results = others[leaders[others] == others]
            if len(results):
                leaders[row] = results[0]
        before = block
    return leaders


def _within(found: tuple[Distances, Ids], threshold: float | None) -> tuple[Distances, Ids]:
    """Remove empty slots, and neighbours beyond the threshold."""
    distances, ids = found
    kept = ids >= 0
    if threshold is not None:
        kept &= distances <= threshold
    return distances[kept], ids[kept]


def _ranked(distances: Distances, ids: Ids) -> list[RankedHit]:
    pairs = zip(ids.tolist(), distances.tolist(), strict=True)
    return [RankedHit(rank, *pair) for rank, pair in enumerate(pairs, start=1)]
