"""Files of vectors in the format of FAISS' ``IndexFlatL2``: make, read, merge and label them."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import faiss
import numpy as np

from indexer.errors import StoreCorrupt
from indexer.vector_index.base import Ids, Rows, Vectors

Bytes = bytes | bytearray | memoryview

MERGE_BYTES = 2**24
"""Bytes of vectors in memory while files are merged."""

COUNT_AT = 8
"""Offset of the number of vectors in a file of an index: int64, after type and dimension."""


def flat_file(vectors: Vectors) -> memoryview:
    """Return vectors (n, dim) as the bytes of an ``IndexFlatL2`` file."""
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    content: memoryview = faiss.serialize_index(index).data
    return content


def merged_file(parts: Sequence[tuple[Path, Rows]], dim: int) -> Iterator[memoryview]:
    """Yield the bytes of an ``IndexFlatL2`` file that holds some rows of other files.

    About :data:`MERGE_BYTES` of vectors are in memory at a time. Raises :class:`StoreCorrupt`.
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


def id_mapped_file(ids: Ids, blocks: Iterable[Vectors], dim: int) -> Iterator[Bytes]:
    """Yield, piece by piece, the bytes of an ``IndexIDMap2`` over an ``IndexFlatL2``.

    ``ids`` has the id of every vector of ``blocks``, arrays (n, dim), in their order. FAISS would
    need all vectors in memory to write it.
    """
    empty = bytearray(faiss.serialize_index(faiss.IndexIDMap2(faiss.IndexFlatL2(dim))).data)
    inner, ids_count = len(_head(0, dim)), 8
    head = empty[: len(empty) - inner - ids_count]
    struct.pack_into("<q", head, COUNT_AT, len(ids))
    yield head
    yield _head(len(ids), dim)
    for vectors in blocks:
        yield vectors.data.cast("B")
    yield struct.pack("<q", len(ids))
    yield np.ascontiguousarray(ids, "<i8").data.cast("B")


def _head(count: int, dim: int) -> memoryview:
    """Return the header of an ``IndexFlatL2`` file of ``count`` vectors.

    It is an empty index's with the counts set; the last one is the number of float32 that follow.
    """
    head = bytearray(flat_file(np.empty((0, dim), np.float32)))
    struct.pack_into("<q", head, COUNT_AT, count)
    struct.pack_into("<q", head, len(head) - 8, count * dim)
    return memoryview(head)
