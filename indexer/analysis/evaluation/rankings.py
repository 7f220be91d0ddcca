"""Rankings of all images by their distance to one of them, and what is measured of many."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.analysis.evaluation.measures import Values, chance, measure
from indexer.analysis.labels import Labels
from indexer.vector_index import MappedVectors
from indexer.vector_index.base import Rows

BINS = 100
BIN_WIDTH = 0.02
"""Of the histograms of distances, which reach 2: the vectors have length 1."""

Ids = NDArray[np.int64]


class Ranking(NamedTuple):
    """All images that are searched but for the one that asks, the nearest first."""

    ids: Ids
    distances: NDArray[np.float32]
    shared: NDArray[np.bool_]
    """Which of the m labels of the one that asks each of them has, (m, n)."""

    @property
    def gains(self) -> NDArray[np.int64]:
        """How many labels each shares with the one that asks."""
        gains: NDArray[np.int64] = self.shared.sum(axis=0)
        return gains


class Rankings:
    """Ranks the images ``searched``, ascending ids, by their distance to one of them, exactly.

    ``rows_of`` returns where the vectors of images are, if another store has them.
    """

    def __init__(
        self,
        vectors: MappedVectors,
        labels: Labels,
        searched: Ids,
        rows_of: Callable[[Ids], Rows] | None = None,
    ) -> None:
        self._vectors = vectors
        self._labels = labels
        self._searched = searched
        self._rows_of = rows_of or vectors.rows
        rows = self._rows_of(searched)
        self._rows = np.sort(rows)
        self._order = np.argsort(np.argsort(rows))
        """Where an image that is searched is among the ascending rows."""

    def of(self, image_id: int) -> Ranking:
        """Return the ranking of an image."""
        row = self._rows_of(np.array([image_id]))
        query = self._vectors.vectors(row)[0]
        squared = self._vectors.squared_distances(query, self._rows)[self._order]
        order = np.argsort(squared, kind="stable")  # of equal distances the lower id comes first
        order = order[self._searched[order] != image_id]
        return Ranking(
            self._searched[order],
            np.sqrt(np.maximum(squared[order], 0)),
            self._labels.shared(image_id, self._searched)[:, order],
        )


class Measured(NamedTuple):
    """What was measured of the rankings of the images that share a label with another one."""

    asked: Ids
    """These images, ascending (n,)."""
    values: Values
    """Of each its measures (n, m)."""
    chances: Values
    """What chance would give (n, m)."""
    groups: NDArray[np.int64]
    """Pairs of the place of one of these images and the number of a label it has (p, 2)."""
    own: Values
    """Of each pair the average precision if only that label counts, and by chance (p, 2).

    NaN if no other image has the label.
    """
    relevant: NDArray[np.int64]
    irrelevant: NDArray[np.int64]
    """How many pairs have a distance in each of :data:`BINS` bins."""


def measure_all(rankings: Rankings, labels: Labels, chosen: Sequence[int], k: int) -> Measured:
    """Measure the ranking of each image in which something is relevant, one after the other."""
    asked: list[int] = []
    values, chances, groups, own = [], [], [], []
    pairs = np.zeros((2, BINS), np.int64)
    for image_id in tqdm(chosen, "Ranking", unit="image", disable=None):
        ranking = rankings.of(image_id)
        gains = ranking.gains
        if gains.any():
            for number, has in zip(labels.of(image_id), ranking.shared, strict=True):
                groups.append((len(asked), number))
                own.append(_own(has.astype(np.int64)))
            asked.append(image_id)
            values.append(measure(gains, k))
            chances.append(chance(gains, k))
            bins = np.minimum(ranking.distances / BIN_WIDTH, BINS - 1).astype(np.int64)
            of_relevant = np.bincount(bins[gains > 0], minlength=BINS)
            pairs += of_relevant, np.bincount(bins, minlength=BINS) - of_relevant
    return Measured(
        np.array(asked, np.int64),
        np.array(values),
        np.array(chances),
        np.array(groups, np.int64),
        np.array(own),
        *pairs,
    )


def _own(has: NDArray[np.int64]) -> tuple[float, float]:
    """Return the average precision if what has one label is relevant, and by chance."""
    if not has.any():
        return math.nan, math.nan
    return measure(has, 1).average_precision, chance(has, 1).average_precision
