"""The map of a collection: its features laid out on a plane, near ones alike."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Vectors = NDArray[np.float32]

SAMPLE = 4_000
"""Vectors the plane is fitted to: two axes need no more, however large the collection is."""

ITERATIONS = 8
BLOCK = 8_192
CENTRAL = 0.5  # per cent on either side of an axis that may lie on the edge: outliers


class Map(NamedTuple):
    """Image ids uint32 (n,) and their places uint16 (n, 2): x and y, 0 to 65535, y downwards."""

    ids: NDArray[np.uint32]
    places: NDArray[np.uint16]

    def to_bytes(self) -> bytes:
        """Return the number of images, the ids and the places, little endian, one after another."""
        count = np.array([len(self.ids)], "<u4")
        return b"".join(
            part.tobytes() for part in (count, self.ids.astype("<u4"), self.places.astype("<u2"))
        )


def lay_out(ids: Ids, vectors: Callable[[Ids], Vectors]) -> Map:
    """Lay images out by the first two principal components of their features.

    ``vectors`` returns the features of ids, float32 (n, dim). The axes come from a sample spread
    over the collection; both have the same scale. The few images far outside lie on the edge.
    """
    chosen = ids[np.linspace(0, len(ids) - 1, min(len(ids), SAMPLE), dtype=np.int64)]
    mean, axes = _plane(vectors(chosen)) if len(ids) else (0.0, np.zeros((1, 2), np.float32))
    blocks = [
        (vectors(ids[start : start + BLOCK]) - mean) @ axes for start in range(0, len(ids), BLOCK)
    ]
    flat = np.concatenate([np.empty((0, 2), np.float32), *blocks])
    return Map(ids.astype(np.uint32), _whole(flat))


def _plane(sample: Vectors) -> tuple[Vectors, Vectors]:
    """Return the mean (dim,) and the first two principal axes (dim, 2) of a sample.

    Subspace iteration: the eigenvectors of a 4096 x 4096 covariance would take minutes.
    """
    mean = sample.mean(axis=0)
    centred = sample - mean
    axes = np.random.default_rng(0).standard_normal((sample.shape[1], 8)).astype(np.float32)
    for _ in range(ITERATIONS):
        axes, _ = np.linalg.qr(centred.T @ (centred @ axes))
    projected = centred @ axes
    _, turn = np.linalg.eigh(projected.T @ projected)  # ascending
    return mean, axes @ turn[:, :-3:-1]


def _whole(flat: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Return places as whole numbers, the wider axis filling 0 to 65535, the other centred."""
    if not len(flat):
        return np.empty((0, 2), np.uint16)
    low, high = np.percentile(flat, [CENTRAL, 100 - CENTRAL], axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2 or 1.0
    scaled = (np.clip((flat - middle) / half, -1, 1) + 1) / 2
    places: NDArray[np.uint16] = np.round(scaled * 65535).astype(np.uint16)
    return places
