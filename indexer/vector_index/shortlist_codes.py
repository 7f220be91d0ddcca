"""Short codes of vectors, whose distances are lower bounds of the vectors' distances."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt
from indexer.vector_index.base import Distances, Encoded, Vectors
from indexer.vector_index.mapped import MappedVectors
from indexer.vector_index.mapping import map_array
from indexer.vector_index.principal import SAMPLE, PrincipalAxes, principal_axes

FIRST_LEVEL = 64
"""Numbers in a first-level code: 256 bytes per vector, kept in memory."""

SECOND_LEVEL_SHARE = 9
"""The second level has a ninth of the vectors' numbers, a multiple of the first level's."""

SHORTLIST_FROM = 2**28
"""From this many bytes of vectors on a shortlist pays; two cores read fewer in 15 ms."""

SECOND_LEVEL_BLOCKS = 8
"""An eighth of the second level's numbers are lengths of blocks."""

ENCODE_BLOCK = 2048

AXES_AT_ONCE = 32
"""Axes that one vector is multiplied by at a time: 1 MB at 4096 dimensions."""

Components = NDArray[np.float64]

Codes = list[Distances]
"""Codes of queries or of a part, one array for each level."""


class Level(NamedTuple):
    """The make-up of a code: coordinates on principal axes, then lengths of blocks."""

    axes: int
    blocks: int

    @property
    def width(self) -> int:
        """Numbers in a code."""
        return self.axes + self.blocks


def shortlist_levels(dim: int) -> tuple[Level, ...]:
    """Return the levels for vectors of ``dim`` components."""
    first = min(FIRST_LEVEL, max(dim // 4, 2))
    second = dim // SECOND_LEVEL_SHARE // FIRST_LEVEL * FIRST_LEVEL
    levels: tuple[Level, ...] = (Level(first - 1, 1),)
    if second > first:
        blocks = second // SECOND_LEVEL_BLOCKS
        levels += (Level(second - blocks, blocks),)
    return levels


def shortlist_bytes(dim: int, count: int) -> int:
    """Return the size of the codes of ``count`` vectors; 0 if they get no shortlist."""
    if count * dim * 4 < SHORTLIST_FROM:
        return 0
    return count * 4 * sum(level.width for level in shortlist_levels(dim))


def shortlist_memory(dim: int, count: int) -> int:
    """Return how many bytes of the codes of ``count`` vectors are kept in memory.

    They are the first level, and the squared length of each code.
    """
    if not shortlist_bytes(dim, count):
        return 0
    return count * 4 * (shortlist_levels(dim)[0].width + 1)


class ShortlistCoder:
    """Turns vectors into codes: the trained part of a shortlist."""

    def __init__(self, axes: PrincipalAxes, levels: Sequence[Level]) -> None:
        self.axes = axes
        self.levels = tuple(levels)

    @classmethod
    def train(cls, vectors: MappedVectors) -> "ShortlistCoder":
        """Train on a random sample of the vectors."""
        chosen = np.random.default_rng(0).permutation(len(vectors))[:SAMPLE]
        levels = shortlist_levels(vectors.dim)
        sample = vectors.vectors(np.sort(chosen))
        return cls(principal_axes(sample, levels[-1].axes), levels)

    @classmethod
    def load(cls, path: Path) -> "ShortlistCoder":
        """Read what :meth:`to_bytes` returned. Raises :class:`StoreCorrupt`."""
        try:
            with np.load(BytesIO(path.read_bytes()), allow_pickle=False) as file:
                axes = PrincipalAxes(file["mean"], file["directions"])
                levels = tuple(Level(*level) for level in file["levels"].tolist())
        except (OSError, KeyError, TypeError, ValueError, BadZipFile) as error:
            raise StoreCorrupt(f"{path} cannot be read: {error}") from error
        if axes.directions.shape != (levels[-1].axes, len(axes.mean)):
            raise StoreCorrupt(f"{path} does not hold axes that fit its levels.")
        return cls(axes, levels)

    def to_bytes(self) -> bytes:
        """Return the coder as the content of a file."""
        file = BytesIO()
        np.savez(
            file,
            mean=self.axes.mean,
            directions=self.axes.directions,
            levels=np.array(self.levels),
        )
        return file.getvalue()

    def encode(self, vectors: Vectors) -> Encoded:
        """Return the content of a part's file: its codes as one float32 array, level by level.

        The error is the mean share of the squared length (about the mean) outside the axes.
        """
        levels, outside = self.codes(vectors)
        file = BytesIO()
        np.save(file, np.concatenate([codes.ravel() for codes in levels]), allow_pickle=False)
        return Encoded(file.getvalue(), outside)

    def _split(self, centred: Components) -> tuple[Components, Components]:
        """Return the coordinates (n, axes) of centred vectors (n, dim), and the rest (n, dim).

        For one vector most of the time goes into reading the axes. They are read once, a few at a
        time, so that they are still in the cache for the second product.
        """
        axes = self.axes.directions
        step = AXES_AT_ONCE if len(centred) == 1 else len(axes)
        inside, outside = np.empty((len(centred), len(axes))), centred.copy()
        for start in range(0, len(axes), step):
            some = axes[start : start + step]
            coordinates = inside[:, start : start + step] = centred @ some.T
            outside -= coordinates @ some
        return inside, outside

    def codes(self, vectors: Vectors) -> tuple[Codes, float]:
        """Return the codes of vectors (n, dim), one float32 (n, width) array per level.

        Also return the mean share of the squared length (about the mean) outside the last level's
        axes.
        """
        levels = [np.empty((len(vectors), level.width), np.float32) for level in self.levels]
        unexplained = 0.0
        *earlier, last = zip(levels, self.levels, strict=True)
        for start in range(0, len(vectors), ENCODE_BLOCK):
            block = slice(start, start + ENCODE_BLOCK)
            centred = vectors[block].astype(np.float64) - self.axes.mean
            inside, outside = self._split(centred)
            total = np.einsum("ij,ij->i", outside, outside)
            codes, (axes, blocks) = last
            cuts = np.linspace(0, outside.shape[1], blocks, endpoint=False, dtype=int)
            codes[block, :axes] = inside
            codes[block, axes:] = np.sqrt(np.add.reduceat(outside**2, cuts, axis=1))
            for codes, (axes, _) in earlier:  # one length: of the rest of the last level, and ...
                between = np.einsum("ij,ij->i", inside[:, axes:], inside[:, axes:])
                codes[block, :axes] = inside[:, :axes]
                codes[block, axes] = np.sqrt(total + between)  # ... of the axes in between
            length = np.einsum("ij,ij->i", centred, centred)
            unexplained += float((total / np.maximum(length, 1e-12)).sum())
        return levels, unexplained / max(len(vectors), 1)


def map_codes(path: Path, count: int, levels: Sequence[Level]) -> Codes:
    """Map a part's codes, level by level. Raises :class:`StoreCorrupt` if their size differs."""
    try:
        flat: NDArray[np.float32] = map_array(path)
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} cannot be read: {error}") from error
    if flat.dtype != np.float32 or flat.shape != (count * sum(level.width for level in levels),):
        raise StoreCorrupt(f"{path} does not hold the codes of {count} vectors.")
    cuts = np.cumsum([level.width for level in levels])[:-1] * count
    pieces = np.split(flat, cuts)
    return [piece.reshape(count, level.width) for piece, level in zip(pieces, levels, strict=True)]
