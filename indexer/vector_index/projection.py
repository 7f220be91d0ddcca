"""The projection of the vectors onto the first two principal axes, which the map shows."""

from collections.abc import Sequence
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt
from indexer.vector_index.base import Encoded, Vectors
from indexer.vector_index.mapped import MappedPart, MappedVectors
from indexer.vector_index.mapping import map_array
from indexer.vector_index.principal import SAMPLE, PrincipalAxes, principal_axes

OUTLIERS = 0.5
"""Per cent of the images, at either end of an axis, that are put on the edge."""

SIDE = 65535


class Projection(NamedTuple):
    """Image ids uint32 (n,) and their points uint16 (n, 2): x and y, 0 to 65535, y downwards."""

    ids: NDArray[np.uint32]
    points: NDArray[np.uint16]

    def to_bytes(self) -> bytes:
        """Return the number of images, the ids and the points as little-endian bytes."""
        count = np.array([len(self.ids)], "<u4")
        parts = (count, self.ids.astype("<u4"), self.points.astype("<u2"))
        return b"".join(part.tobytes() for part in parts)


class ProjectionCoder:
    """Projects vectors onto two axes: the trained part of a projection."""

    def __init__(self, axes: PrincipalAxes) -> None:
        self._axes = axes

    @classmethod
    def train(cls, vectors: MappedVectors) -> "ProjectionCoder":
        """Find the two axes of a random sample of the vectors."""
        chosen = np.random.default_rng(0).permutation(len(vectors))[:SAMPLE]
        return cls(principal_axes(vectors.vectors(np.sort(chosen)), 2))

    @classmethod
    def load(cls, path: Path) -> "ProjectionCoder":
        """Read what :meth:`to_bytes` returned. Raises :class:`StoreCorrupt`."""
        try:
            with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
                return cls(PrincipalAxes(file["mean"], file["directions"]))
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise StoreCorrupt(f"{path} cannot be read: {error}") from error

    def to_bytes(self) -> bytes:
        """Return the coder as the content of a file."""
        file = BytesIO()
        np.savez(file, mean=self._axes.mean, directions=self._axes.directions)
        return file.getvalue()

    def encode(self, vectors: Vectors) -> Encoded:
        """Return the content of a part's file: coordinates on the axes, float32 (n, 2).

        The error is the mean share of the squared length (about the mean) outside the two axes.
        """
        directions = self._axes.directions.T.astype(np.float32)
        points = vectors @ directions - (self._axes.mean @ self._axes.directions.T)
        # |x - mean|^2 without a copy of all vectors
        mean = self._axes.mean.astype(np.float32)
        lengths = np.einsum("ij,ij->i", vectors, vectors) - 2 * (vectors @ mean) + mean @ mean
        inside = np.einsum("ij,ij->i", points, points)
        outside = 1 - inside / np.maximum(lengths, 1e-12)
        file = BytesIO()
        np.save(file, points.astype(np.float32), allow_pickle=False)
        return Encoded(file.getvalue(), float(outside.mean()) if len(outside) else 0.0)


class StoredProjection:
    """The projection of a version. Its files are mapped at once and read on first use.

    Raises :class:`StoreCorrupt` if a file has the wrong shape. Without files it is empty.
    """

    def __init__(self, files: Sequence[Path] | None, vectors: MappedVectors) -> None:
        self._vectors = vectors
        self._parts: list[NDArray[np.float32]] | None = None
        if files is not None:
            self._parts = [
                _points(path, part) for path, part in zip(files, vectors.parts, strict=True)
            ]

    @cached_property
    def whole(self) -> Projection:
        """The projection of all images."""
        if self._parts is None:
            return Projection(np.empty(0, np.uint32), np.empty((0, 2), np.uint16))
        flat = [np.empty((0, 2), np.float32)]
        for points, part in zip(self._parts, self._vectors.parts, strict=True):
            flat.append(points[part.alive])
        return Projection(self._vectors.ids.astype(np.uint32), _whole(np.concatenate(flat)))


def _points(path: Path, part: MappedPart) -> NDArray[np.float32]:
    """Map the points of a part, float32 (n, 2)."""
    try:
        points: NDArray[np.float32] = map_array(path)
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} cannot be read: {error}") from error
    if points.dtype != np.float32 or points.shape != (len(part.ids), 2):
        raise StoreCorrupt(f"{path} does not hold the points of {len(part.ids)} vectors.")
    return points


def _whole(flat: NDArray[np.float32]) -> NDArray[np.uint16]:
    """Scale points to whole numbers: the wider axis fills the range, the other is centred."""
    if not len(flat):
        return np.empty((0, 2), np.uint16)
    low, high = np.percentile(flat, [OUTLIERS, 100 - OUTLIERS], axis=0)
    middle, half = (low + high) / 2, float((high - low).max()) / 2 or 1.0
    scaled = (np.clip((flat - middle) / half, -1, 1) + 1) / 2
    points: NDArray[np.uint16] = np.round(scaled * SIDE).astype(np.uint16)
    return points
