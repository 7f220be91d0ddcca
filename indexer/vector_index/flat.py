"""Files of vectors as FAISS writes an ``IndexFlatL2``: made, read by rows, and merged."""

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.errors import StoreCorrupt
from indexer.vector_index.base import Rows, Vectors

MERGE_BYTES = 2**24
"""Vectors in memory while files are merged."""

COUNT_AT = 8
"""Where an ``IndexFlatL2`` file has the number of vectors: int64, after its kind and dimension."""


def flat_file(vectors: Vectors) -> memoryview:
    """Return vectors (n, dim) as the bytes of an ``IndexFlatL2`` file."""
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    content: memoryview = faiss.serialize_index(index).data
    return content


def merged_file(parts: Sequence[tuple[Path, Rows]], dim: int) -> Iterator[memoryview]:
    """Yield, piece by piece, the bytes of an ``IndexFlatL2`` file of some rows of others.

    Whatever the size of the files, about :data:`MERGE_BYTES` of vectors are in memory at a time.
    Raises :class:`StoreCorrupt`.
    """
    yield _head(sum(len(rows) for _, rows in parts), dim)
    step = max(1, MERGE_BYTES // (4 * dim))
    for path, rows in parts:
        for start in range(0, len(rows), step):
            vectors = read_vectors(path, rows[start : start + step])
            yield vectors.data.cast("B")


def read_vectors(path: Path, rows: Rows) -> Vectors:
    """Return some rows of an ``IndexFlatL2`` file, (n, dim). Raises :class:`StoreCorrupt`."""
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        return index.reconstruct_batch(np.ascontiguousarray(rows, np.int64))  # type: ignore[no-any-return]
    except RuntimeError as error:
        raise StoreCorrupt(f"{path} cannot be read: {error}") from error


def _head(count: int, dim: int) -> memoryview:
    """Return what an ``IndexFlatL2`` file of so many vectors holds before them.

    It is an empty file's, whose last number is how many float32 follow.
    """
    head = bytearray(flat_file(np.empty((0, dim), np.float32)))
    struct.pack_into("<q", head, COUNT_AT, count)
    struct.pack_into("<q", head, len(head) - 8, count * dim)
    return memoryview(head)
