"""Exact search: every stored vector compared, straight from the memory-mapped segments."""

from collections.abc import Iterable, Sequence

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt, UnknownImage
from indexer.vector_index.base import Distances, Ids, Part, Vectors

# FAISS computes 20 and more queries at once as |x|^2 + |q|^2 - 2xq, which loses the last digits
# of small distances; below that it subtracts first, as the original does.
QUERIES_AT_ONCE = 16


def flat_file(vectors: Vectors) -> memoryview:
    """Return vectors (n, dim) as the bytes of an ``IndexFlatL2`` file."""
    index = faiss.IndexFlatL2(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors, np.float32))
    content: memoryview = faiss.serialize_index(index).data
    return content


class ExactIndex:
    """The ``IndexFlatL2`` of every segment, searched one after the other, results merged.

    The files are mapped, not read: opening takes milliseconds at any size. ``deleted`` ids are
    never found. Raises :class:`StoreCorrupt` if a file is not what its segment promises.
    """

    def __init__(self, parts: Iterable[Part], dim: int, deleted: Ids) -> None:
        self.dim = dim
        deleted = np.sort(deleted)
        self._parts = [_FlatPart(part, dim, deleted) for part in parts]
        ids = [np.empty(0, np.int64), *(part.ids[part.alive] for part in self._parts)]
        numbers = [np.full(len(own), number) for number, own in enumerate(ids[1:])]
        rows = [np.flatnonzero(part.alive) for part in self._parts]
        order = np.argsort(np.concatenate(ids), kind="stable")
        self.ids: Ids = np.concatenate(ids)[order]
        """The ids that can be found, ascending."""
        self._number = np.concatenate([np.empty(0, np.int64), *numbers])[order]
        self._row = np.concatenate([np.empty(0, np.int64), *rows])[order]

    def search(
        self, queries: Vectors, k: int, *, allowed: Ids | None = None
    ) -> tuple[Distances, Ids]:
        """Find the ``k`` nearest vectors; see :class:`~indexer.vector_index.base.VectorIndex`."""
        queries = np.ascontiguousarray(queries, np.float32)
        found = [part.search(queries, k, allowed) for part in self._parts]
        return nearest([no_results(len(queries), k), *found], k)

    def vectors(self, ids: Ids) -> Vectors:
        """Return the stored vectors of image ids, (n, dim). Raises :class:`UnknownImage`."""
        places = np.minimum(np.searchsorted(self.ids, ids), max(len(self.ids) - 1, 0))
        unknown = ids if not len(self.ids) else ids[self.ids[places] != ids]
        if len(unknown):
            raise UnknownImage(
                f"No image of the index has the id {unknown[0]}.",
                "Ids come from search results; they change when a file's content changes.",
            )
        vectors = np.empty((len(ids), self.dim), np.float32)
        for number, row, vector in zip(
            self._number[places], self._row[places], vectors, strict=True
        ):
            self._parts[number].index.reconstruct(int(row), vector)
        return vectors

    def squared_distances(self, query: Vectors, ids: Ids) -> Distances:
        """Return the squared distances of one query (dim,) to the stored vectors of ids, (n,).

        FAISS' own arithmetic: bit for bit what :meth:`search` finds for the same vectors.
        """
        vectors, query = self.vectors(ids), np.ascontiguousarray(query, np.float32)
        squared = np.empty(len(ids), np.float32)
        faiss.fvec_L2sqr_ny(
            *(faiss.swig_ptr(array) for array in (squared, query, vectors)), self.dim, len(ids)
        )
        return squared


def no_results(queries: int, k: int) -> tuple[Distances, Ids]:
    """Return ``k`` empty slots for every query: distance inf, id -1."""
    return np.full((queries, k), np.inf, np.float32), np.full((queries, k), -1, np.int64)


def nearest(candidates: Sequence[tuple[Distances, Ids]], k: int) -> tuple[Distances, Ids]:
    """Merge blocks of candidates, each (n, m) squared distances and ids, into the best ``k``.

    Returns roots and ids, ascending by distance, then by id; slots with id -1 are empty and last.
    """
    squared = np.concatenate([squared for squared, _ in candidates], axis=1)
    ids = np.concatenate([ids for _, ids in candidates], axis=1)
    squared = np.where(ids < 0, np.inf, np.maximum(squared, 0))
    order = np.lexsort((ids, squared), axis=1)[:, :k]
    best = np.take_along_axis(squared, order, axis=1).astype(np.float32)
    return np.sqrt(best), np.take_along_axis(ids, order, axis=1)


class _FlatPart:
    """One mapped segment with the ids of its rows and the mask of those that still count."""

    def __init__(self, part: Part, dim: int, deleted: Ids) -> None:
        try:
            self.index = faiss.read_index(str(part.path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise StoreCorrupt(f"{part.path} cannot be opened: {error}") from error
        kind, shape = type(self.index), (self.index.ntotal, self.index.d)
        if kind is not faiss.IndexFlatL2 or shape != (len(part.ids), dim):
            raise StoreCorrupt(f"{part.path} is no IndexFlatL2 of {len(part.ids)} x {dim}.")
        self.ids = part.ids
        low, high = (part.ids.min(), part.ids.max()) if len(part.ids) else (0, 0)
        own = deleted[np.searchsorted(deleted, low) : np.searchsorted(deleted, high, "right")]
        self.alive: NDArray[np.bool_] = ~np.isin(part.ids, own)

    def search(self, queries: Vectors, k: int, allowed: Ids | None) -> tuple[Distances, Ids]:
        """Return squared distances and image ids of the best rows; id -1 marks an empty slot."""
        wanted = self.alive if allowed is None else self.alive & np.isin(self.ids, allowed)
        parameters = None
        if not wanted.all():
            bits = np.packbits(wanted, bitorder="little")
            parameters = faiss.SearchParameters(sel=faiss.IDSelectorBitmap(bits))
        blocks = range(0, len(queries), QUERIES_AT_ONCE)
        found = [
            self.index.search(queries[i : i + QUERIES_AT_ONCE], k, params=parameters)
            for i in blocks
        ]
        squared = np.concatenate([np.empty((0, k), np.float32), *(d for d, _ in found)])
        rows = np.concatenate([np.empty((0, k), np.int64), *(rows for _, rows in found)])
        ids = np.full_like(rows, -1)
        ids[rows >= 0] = self.ids[rows[rows >= 0]]
        return squared, ids
