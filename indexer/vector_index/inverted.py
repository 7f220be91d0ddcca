"""Inverted lists: a trained FAISS index that encodes parts, and is filled from their files."""

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.errors import ConfigError, StoreCorrupt
from indexer.vector_index.base import Encoded, Rows, Vectors
from indexer.vector_index.factory import new_index
from indexer.vector_index.mapped import MappedPart, MappedVectors
from indexer.vector_index.principal import SAMPLE, principal_axes

TRAINING_VECTORS_PER_LIST = 64
"""FAISS recommends 39 to 256."""

MIN_TRAINING_VECTORS = 10_000
MAX_TRAINING_BYTES = 2**29

BLOCK = 8192
"""Vectors that are transformed or encoded at once."""

Codes = NDArray[np.uint8]


class ApproximateCoder:
    """A trained FAISS index without vectors, which turns vectors into list numbers and codes."""

    def __init__(self, index: faiss.Index) -> None:
        self._index = index
        self._inverted = faiss.extract_index_ivf(index)

    @classmethod
    def train(cls, vectors: MappedVectors, factory: str) -> "ApproximateCoder":
        """Train the index ``factory`` names on a random sample of the vectors.

        Raises :class:`~indexer.errors.ConfigError` if it cannot be trained on these vectors.
        """
        index, inverted = new_index(factory, vectors.dim)
        try:
            _train(index, inverted, vectors)
        except RuntimeError as error:
            raise ConfigError(
                f"index.approximate: {factory} cannot be trained on {len(vectors)} vectors: "
                f"{str(error).rpartition(': ')[2]}.",
                "Choose auto, or fewer lists (about the square root of the number of images).",
            ) from error
        return cls(index)

    @classmethod
    def load(cls, path: Path) -> "ApproximateCoder":
        """Read what :meth:`to_bytes` returned. Raises :class:`StoreCorrupt`."""
        try:
            return cls(faiss.deserialize_index(np.frombuffer(path.read_bytes(), np.uint8)))
        except (OSError, RuntimeError) as error:
            raise StoreCorrupt(f"{path} cannot be opened: {error}") from error

    def to_bytes(self) -> bytes:
        """Return the coder as the content of a FAISS index file."""
        content: bytes = faiss.serialize_index(self._index).tobytes()
        return content

    def encode(self, vectors: Vectors) -> Encoded:
        """Return the content of a part's file, in the layout that :meth:`filled` copies.

        List by list: how many vectors each has, int64 (lists,); their rows in the part, uint32
        (n,); their codes, n times the code size in bytes. The error is the mean squared distance
        of a vector to the centre of its list.
        """
        count, error, chain = len(vectors), 0.0, _transforms(self._index)
        lists = np.empty(count, np.int64)
        codes = np.empty((count, self._inverted.code_size), np.uint8)
        for start in range(0, count, BLOCK):
            block = np.ascontiguousarray(vectors[start : start + BLOCK], np.float32)
            block = np.ascontiguousarray(_transformed(chain, block))
            squared, nearest = self._inverted.quantizer.search(block, 1)
            rows = slice(start, start + len(block))
            lists[rows], error = nearest[:, 0], error + float(squared.sum())
            self._inverted.encode_vectors(
                len(block), *map(faiss.swig_ptr, (block, lists[rows], codes[rows]))
            )
        order = np.argsort(lists, kind="stable")
        file = BytesIO()
        sizes = np.bincount(lists, minlength=self._inverted.nlist)
        np.save(file, sizes.astype(np.int64), allow_pickle=False)
        np.save(file, order.astype(np.uint32), allow_pickle=False)
        file.write(codes[order].data)
        return Encoded(file.getvalue(), error / max(count, 1))

    def filled(self, files: Sequence[Path], vectors: MappedVectors) -> faiss.Index:
        """Return the index filled with the codes of all rows, under their row numbers.

        Raises :class:`StoreCorrupt` if a file is not what :meth:`encode` makes of its part.
        """
        inverted = self._inverted
        parts = [
            _read_lists(path, part, int(start), inverted.nlist, inverted.code_size)
            for path, part, start in zip(files, vectors.parts, vectors.starts, strict=False)
        ]
        totals = np.sum([np.zeros(inverted.nlist, np.int64), *(part.sizes for part in parts)], 0)
        # Each list gets its size at once: lists that grow take twice the memory.
        for number in np.flatnonzero(totals).tolist():
            inverted.invlists.resize(number, int(totals[number]))
        offsets = np.zeros(inverted.nlist, np.int64)
        for part in parts:
            ends = np.cumsum(part.sizes)
            for number in np.flatnonzero(part.sizes).tolist():
                size, end = int(part.sizes[number]), int(ends[number])
                inverted.invlists.update_entries(
                    number,
                    int(offsets[number]),
                    size,
                    faiss.swig_ptr(part.rows[end - size : end]),
                    faiss.swig_ptr(part.codes[end - size : end]),
                )
            offsets += part.sizes
        inverted.ntotal = self._index.ntotal = int(totals.sum())
        return self._index


class _PartLists(NamedTuple):
    """The inverted lists of a part: the size of each, then row numbers and codes, list by list."""

    sizes: Rows
    rows: Rows
    codes: Codes


def _read_lists(path: Path, part: MappedPart, start: int, lists: int, code_size: int) -> _PartLists:
    """Map a file that :meth:`ApproximateCoder.encode` made, without deleted vectors."""
    count = len(part.ids)
    try:
        with path.open("rb") as file:
            sizes, order = (np.load(file, allow_pickle=False) for _ in range(2))
            codes: Codes = np.empty((0, code_size), np.uint8)
            if count:
                codes = np.asarray(np.memmap(file, np.uint8, "r", file.tell()))
                codes = codes.reshape(count, code_size)
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{path} does not hold the codes of {count} vectors: {error}") from error
    shapes = (sizes.dtype, sizes.shape, order.dtype, order.shape)
    if shapes != (np.int64, (lists,), np.uint32, (count,)):
        raise StoreCorrupt(f"{path} does not hold the codes of {count} vectors.")
    complete = order.max(initial=0) < max(count, 1)
    complete = complete and bool((np.bincount(order, minlength=count) == 1).all())
    if sizes.min(initial=0) < 0 or sizes.sum() != count or not complete:
        raise StoreCorrupt(f"{path} is damaged: its lists do not hold each vector once.")
    rows = np.full(count, -1, np.int64)
    rows[part.alive] = np.arange(start, start + len(part.alive))
    rows = rows[order]
    if len(part.alive) < count:
        kept = rows >= 0
        sizes = np.bincount(np.repeat(np.arange(lists), sizes)[kept], minlength=lists)
        rows, codes = rows[kept], codes[kept]
    return _PartLists(sizes, rows, codes)


def _train(index: faiss.Index, inverted: faiss.IndexIVF, vectors: MappedVectors) -> None:
    """Train an index; its lists on a sample that fits memory but has a vector for each list."""
    rows = np.random.default_rng(0).permutation(len(vectors))
    chain = _transforms(index)
    for transform in chain:
        sample = vectors.vectors(np.sort(rows[:SAMPLE]))
        if isinstance(transform, faiss.PCAMatrix):
            _set_axes(transform, sample)
        else:
            transform.train(sample)
    wanted = max(inverted.nlist * TRAINING_VECTORS_PER_LIST, MIN_TRAINING_VECTORS)
    wanted = min(wanted, MAX_TRAINING_BYTES // (4 * inverted.d))
    wanted = max(wanted, inverted.nlist)
    transformed = [
        _transformed(chain, vectors.vectors(np.sort(rows[start : start + BLOCK])))
        for start in range(0, min(wanted, len(rows)), BLOCK)
    ]
    inverted.train(np.concatenate(transformed)[:wanted])
    index.is_trained = True


def _transforms(index: faiss.Index) -> list[faiss.VectorTransform]:
    if not isinstance(index, faiss.IndexPreTransform):
        return []
    return [faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())]


def _transformed(chain: list[faiss.VectorTransform], vectors: Vectors) -> Vectors:
    for transform in chain:
        vectors = transform.apply(vectors)
    return vectors


def _set_axes(transform: faiss.PCAMatrix, sample: Vectors) -> None:
    """Train a PCA with :func:`principal_axes`: FAISS takes minutes at 4096 dimensions."""
    axes = principal_axes(sample, transform.d_out)
    matrix = axes.directions.astype(np.float32)
    faiss.copy_array_to_vector(matrix.ravel(), transform.A)
    faiss.copy_array_to_vector(-(axes.directions @ axes.mean).astype(np.float32), transform.b)
    transform.is_orthonormal = transform.is_trained = True
