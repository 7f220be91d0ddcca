"""How much approximate search finds: recall against exact search, measured for several nprobe."""

from typing import NamedTuple

import numpy as np

from indexer.vector_index.approximate import ApproximateIndex
from indexer.vector_index.base import Distances, Vectors
from indexer.vector_index.exact import ExactIndex

K = 30
QUERIES = 128
"""Stored vectors asked for, and as many changed ones, which are in no list."""

NOISE = 0.5
"""Standard deviation of the logarithm of the factors that change a vector's components."""

ENOUGH = 0.999
"""Nobody needs to visit more lists than it takes for this recall."""


class RecallPoint(NamedTuple):
    """Recall@30 with ``nprobe`` lists visited, over stored and over changed vectors."""

    nprobe: int
    stored: float
    changed: float

    @property
    def recall(self) -> float:
        """The lower of the two: what may be promised."""
        return min(self.stored, self.changed)


def measure_recall(exact: ExactIndex, approximate: ApproximateIndex) -> list[RecallPoint]:
    """Measure recall@30 with 1, 2, 4, ... lists visited, up to all or :data:`ENOUGH`.

    A result counts as found if it is no farther than the 30th true neighbour, so that it does not
    matter which of several equally near ones is returned.
    """
    vectors = exact.vectors
    if not len(vectors):
        return []
    random = np.random.default_rng(1)
    chosen = np.sort(random.permutation(len(vectors))[:QUERIES])
    stored = vectors.vectors(chosen)
    changed = stored * np.exp(random.normal(0, NOISE, stored.shape)).astype(np.float32)
    changed /= np.linalg.norm(changed, axis=1, keepdims=True)
    k = min(K, len(vectors))
    truths = [exact.search(queries, k)[0] for queries in (stored, changed)]
    points: list[RecallPoint] = []
    nprobe = 1
    while not points or (points[-1].recall < ENOUGH and points[-1].nprobe < approximate.lists):
        recalls = [
            _recall(approximate, queries, truth, min(nprobe, approximate.lists))
            for queries, truth in zip((stored, changed), truths, strict=True)
        ]
        points.append(RecallPoint(min(nprobe, approximate.lists), *recalls))
        nprobe *= 2
    return points


def _recall(
    approximate: ApproximateIndex, queries: Vectors, truth: Distances, nprobe: int
) -> float:
    distances, _ = approximate.search(queries, truth.shape[1], nprobe=nprobe)
    return float((distances <= truth[:, -1:] * (1 + 1e-6)).mean())
