"""What distances mean in a collection: how near two of its images that chance picks are.

It is found in a sample, the same whenever a version is opened, and so costs the same whatever the
collection holds.
"""

from collections.abc import Callable, Hashable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from indexer.vector_index import MappedVectors
from indexer.vector_index.base import Ids, Rows, Vectors

SAMPLED = 2000
"""How many images are compared with each other: two million pairs."""

MAX_DISTANCE = 2.0
"""The distance of opposite vectors of length 1: there is no larger one."""

BINS = 4096
"""Into how many parts the distances from 0 to 2 are divided."""

NEAR_SHARE = 1 / 3
"""What is within this share of the median distance of two images is probably one picture.

Of the demo's photographs, encoded by the embedded encoder, this is 0.42: its three pictures that
are there in two sizes are at most 0.19 apart, all others at least 0.62. A median hardly changes if
many of the images are copies.
"""

EVIDENCE = 50
"""From how many pairs a share is estimated, at least."""

REACHING = 0.99
"""The share of the images that have another one, which is no copy, within :attr:`Scale.reach`.

So one in a hundred pictures that belong to a collection is said to match nothing. This was chosen
among the definitions that docs/analysis.md compares.
"""

MIN_IMAGES = 20
"""From how many images the reach is estimated, at least."""

Shares = NDArray[np.float64]
Labels = Sequence[Set[Hashable]]
"""The labels of n images, of which each may have several or none."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How far apart the images of a sample are, and which of them share a label."""

    within: Shares
    """The share of all pairs that are nearer than each of BINS + 1 distances, from 0 to 2."""
    alike: Shares
    """The share of the pairs in each of BINS parts of the distances that share a label, or NaN."""
    median: float
    """The median distance of two images that chance picks; 0 if there are no two."""
    reach: float | None
    """The distance within which an image finds another one, if it has a match at all."""
    field: str | None = None
    """The field that has the labels, if there are any."""

    @classmethod
    def of(
        cls,
        vectors: MappedVectors,
        field: str | None = None,
        labels: Callable[[Ids], Labels] | None = None,
    ) -> "Scale":
        """Compare a sample of the vectors; ``labels`` returns those of image ids in ``field``."""
        rows = sampled_rows(len(vectors))
        distances = _distances(vectors.vectors(rows))
        upper = np.triu(np.ones(distances.shape, np.bool_), 1)
        pairs = distances[upper]
        counts = _counts(pairs)
        known = labels(vectors.ids[rows]) if labels else [frozenset()] * len(rows)
        has = _membership(known)
        labelled = has.max(axis=1, initial=0) > 0
        have = upper & labelled[:, np.newaxis] & labelled
        share = have & (has @ has.T > 0)
        median = float(np.median(pairs)) if len(pairs) else 0.0
        return cls(
            within=np.cumsum([0, *counts]) / max(len(pairs), 1),
            alike=falling_shares(_counts(distances[have]), _counts(distances[share])),
            median=median,
            reach=_reach(distances, NEAR_SHARE * median),
            field=field,
        )

    @property
    def near(self) -> float:
        """The distance within which two images are probably one picture."""
        return NEAR_SHARE * self.median

    def share_within(self, distance: float) -> float | None:
        """Return the share, 0 to 1, of all pairs that are nearer; None if there are no pairs."""
        if not self.within[-1]:
            return None
        return float(np.interp(distance * BINS / MAX_DISTANCE, np.arange(BINS + 1), self.within))

    def share_alike(self, distance: float) -> float | None:
        """Return the share, 0 to 1, of the pairs at a distance that share a label.

        None where no pairs were seen: nearer than the nearest of them and farther than the
        farthest, or if too few have labels.
        """
        share = self.alike[min(int(distance * BINS / MAX_DISTANCE), BINS - 1)]
        return None if np.isnan(share) else float(share)

    def is_beyond(self, distance: float) -> bool:
        """Tell whether the best result is so far away that probably nothing matches the query."""
        return self.reach is not None and distance > self.reach


def sampled_rows(count: int) -> Rows:
    """Return up to :data:`SAMPLED` of so many rows, always the same, ascending."""
    if count <= SAMPLED:
        return np.arange(count)
    chosen = np.random.default_rng(0).choice(count, SAMPLED, replace=False, shuffle=False)
    return np.sort(chosen)


def falling_shares(counts: NDArray[np.int64], hits: NDArray[np.int64]) -> Shares:
    """Return the share of hits in each bin (n,), which falls from bin to bin: an isotonic fit.

    Bins are pooled until each pool has :data:`EVIDENCE`, then pools that would rise (the pool
    adjacent violators algorithm). It is NaN before the first and after the last count.
    """
    shares = np.full(len(counts), np.nan)
    used = np.flatnonzero(counts)
    pools: list[tuple[int, int, int]] = []  # the last bin, the counts and the hits of each
    count = hit = 0
    for number in used.tolist():
        count, hit = count + int(counts[number]), hit + int(hits[number])
        if count < EVIDENCE and number != used[-1]:
            continue
        while pools and (count < EVIDENCE or hit * pools[-1][1] > pools[-1][2] * count):
            _, before, hits_before = pools.pop()
            count, hit = count + before, hit + hits_before
        pools.append((number, count, hit))
        count = hit = 0
    start = int(used[0]) if len(used) else 0
    for end, count, hit in pools:
        if count >= EVIDENCE:
            shares[start : end + 1] = hit / count
        start = end + 1
    return shares


def _distances(vectors: Vectors) -> NDArray[np.float32]:
    """Return the distances of all vectors (n, dim) to each other, (n, n).

    A matrix product is exact enough: it errs in the fourth digit of small distances.
    """
    distances = vectors @ vectors.T
    squares = np.diagonal(distances).copy()
    distances *= -2
    distances += squares
    distances += squares[:, np.newaxis]
    np.maximum(distances, 0, out=distances)
    np.sqrt(distances, out=distances)
    return np.asarray(distances, np.float32)


def _counts(distances: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count distances in each of BINS equal parts."""
    numbers = np.minimum(distances * (BINS / MAX_DISTANCE), BINS - 1).astype(np.int32)
    return np.bincount(numbers, minlength=BINS)


def _reach(distances: NDArray[np.float32], near: float) -> float | None:
    """Return how far most images are from the nearest other that is no copy of them.

    Copies do not count: where everything is there twice, all images would be very near another.
    """
    if len(distances) < MIN_IMAGES:
        return None
    others = np.where(distances > near, distances, np.inf).min(axis=1)
    others = others[np.isfinite(others)]
    return float(np.quantile(others, REACHING)) if len(others) else None


def _membership(labels: Labels) -> NDArray[np.float32]:
    """Return which labels each of n images has, 0 or 1, float32 (n, labels)."""
    names = dict.fromkeys(label for some in labels for label in some)
    numbers = {name: number for number, name in enumerate(names)}
    has = np.zeros((len(labels), len(numbers)), np.float32)
    for row, some in enumerate(labels):
        has[row, [numbers[label] for label in some]] = 1
    return has
