"""The stored vectors of a version, read block by block."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.store import ImageRow, Version
from indexer.vector_index import read_vectors

BLOCK_BYTES = 2**24
"""Vectors in memory while they are read block by block."""


class Block(NamedTuple):
    """Some images' ids, int64 (n,), and their vectors, float32 (n, dim)."""

    ids: NDArray[np.int64]
    vectors: NDArray[np.float32]


class StoredVectors:
    """The vectors of a version's images, in the order of its segments; deleted ones are left out.

    ``ids`` are the images' ids, int64 (n,), in that order.
    """

    def __init__(self, version: Version) -> None:
        self._catalogue = version.catalogue
        self.dim = version.manifest.dim
        deleted = np.array(version.manifest.deleted, np.int64)
        self._segments = version.segments
        self._rows = [np.flatnonzero(~np.isin(part.ids, deleted)) for part in version.segments]
        ids = [part.ids[rows] for part, rows in zip(self._segments, self._rows, strict=True)]
        self.ids: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *ids])

    def __len__(self) -> int:
        return len(self.ids)

    def blocks(self) -> Iterator[Block]:
        """Yield all vectors, about :data:`BLOCK_BYTES` at a time; show a progress bar on stderr.

        Raises :class:`~indexer.errors.StoreCorrupt`.
        """
        step = max(1, BLOCK_BYTES // (4 * self.dim))
        with tqdm(
            total=len(self), unit="img", desc="Reading vectors", disable=None, delay=1, leave=False
        ) as bar:
            for segment, rows in zip(self._segments, self._rows, strict=True):
                for start in range(0, len(rows), step):
                    some = rows[start : start + step]
                    yield Block(segment.ids[some], read_vectors(segment.vectors_path, some))
                    bar.update(len(some))

    def images(self, ids: NDArray[np.int64]) -> list[ImageRow]:
        """Return the rows of stored images in the order of ``ids``."""
        rows = self._catalogue.get_many(ids)
        return [rows[image_id] for image_id in ids.tolist()]
