"""The stored vectors: the ``IndexFlatL2`` files of all segments, mapped into memory."""

import ctypes
import errno
import mmap
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property, partial
from itertools import pairwise
from typing import TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt, UnknownImage
from indexer.machine import available_cores
from indexer.vector_index.base import Distances, Ids, Part, Rows, Vectors

Item = TypeVar("Item")
Result = TypeVar("Result")

PARALLEL_FROM_BYTES = 4_000_000
"""From this many bytes on, reading on several cores is faster than on one."""

MULTIPLY_ROWS = 1024
"""Rows that are multiplied at once, so that the product stays in the cache."""


class MappedVectors:
    """The vectors of all segments without the ``deleted`` ids, numbered by row, in order.

    Opening takes milliseconds at any size. Raises :class:`StoreCorrupt` if a file does not hold the
    vectors of its segment.
    """

    def __init__(self, parts: Iterable[Part], dim: int, deleted: Ids) -> None:
        self.dim = dim
        deleted = np.sort(deleted)
        self.parts = [MappedPart(part, dim, deleted) for part in parts]
        ids = [np.empty(0, np.int64), *(part.ids[part.alive] for part in self.parts)]
        self.ids: Ids = np.concatenate(ids)
        """The image id of every row."""
        self.starts: Rows = np.cumsum([0, *(len(part.alive) for part in self.parts)])
        """The first row of each part, and the number of rows."""
        self._by_id = np.argsort(self.ids, kind="stable")
        self.sorted_ids: Ids = self.ids[self._by_id]
        """The image ids, ascending."""
        self._thread = threading.local()
        # No thread of the pool may refer to self, which would then never be freed.
        self._pool = ThreadPoolExecutor(
            available_cores(), "search", initializer=partial(_use_one_thread, self._thread)
        )

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, ids: Ids) -> Rows:
        """Return the rows of image ids, in their order. Raises :class:`UnknownImage`."""
        rows, known = self._look_up(ids)
        if not known.all():
            raise UnknownImage(
                f"No image of the index has the id {ids[~known][0]}.",
                "Ids come from search results; they change when a file's content changes.",
            )
        return rows

    def has(self, ids: Ids) -> NDArray[np.bool_]:
        """Tell which image ids exist, (n,)."""
        _, known = self._look_up(ids)
        return known

    def rows_among(self, ids: Ids) -> Rows:
        """Return the rows of the image ids that exist, ascending, each once."""
        rows, known = self._look_up(ids)
        chosen = np.zeros(len(self), np.bool_)
        chosen[rows[known]] = True
        return np.flatnonzero(chosen)

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows, (n, dim), in their order."""
        vectors = np.empty((len(rows), self.dim), np.float32)
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(numbers):
            in_part, part = numbers == number, self.parts[number]
            vectors[in_part] = part.matrix[part.alive[rows[in_part] - self.starts[number]]]
        return vectors

    def squared_distances(self, query: Vectors, rows: Rows | None = None) -> Distances:
        """Return the squared distances of a query (dim,) to ascending rows, or to all.

        The vectors are subtracted before squaring, as the original does: the distance of a vector
        to itself is 0, and distances do not depend on which rows are measured together.
        """
        if rows is not None:
            return self.by_part(rows, query, [part.data for part in self.parts])
        squared = np.empty(len(self), np.float32)

        def measure(number: int) -> None:
            part, start = self.parts[number], self.starts[number]
            out = squared[start : start + len(part.alive)]
            with one_openmp_thread():
                distances_by_row(query, part.data, part.alive, out)

        self.parallel_map(measure, range(len(self.parts)))
        return squared

    def squared_distances_of_pairs(self, first: Rows, second: Rows) -> Distances:
        """Return the squared distances of pairs of rows (n,), as :meth:`squared_distances` does.

        The vectors of ``first`` are copied, each once: so many have to fit into memory.
        """
        rows, number_of = np.unique(first, return_inverse=True)
        vectors, squared = self.vectors(rows), np.empty(len(first), np.float32)
        by_second = np.argsort(second, kind="stable")
        for number, within in self._pieces(second[by_second]):
            part, pairs = self.parts[number], by_second[within]
            own, out = part.alive[second[pairs] - self.starts[number]], squared[pairs]
            ours = np.ascontiguousarray(number_of[pairs], np.int64)
            faiss.pairwise_indexed_L2sqr(
                self.dim,
                len(pairs),
                faiss.swig_ptr(vectors),
                faiss.swig_ptr(ours),
                part.data,
                faiss.swig_ptr(own),
                faiss.swig_ptr(out),
            )
            squared[pairs] = out
        return squared

    def by_part(self, rows: Rows, query: Vectors, data: Sequence[object]) -> Distances:
        """Return the squared distances of a query (d,) to ascending rows, using all cores.

        ``data`` has the matrix of each part: d numbers for every row of its file.
        """
        measured = np.empty(len(rows), np.float32)

        def fill(piece: slice) -> None:
            some, out = rows[piece], measured[piece]
            with one_openmp_thread():
                for number, within in self._pieces(some):
                    part, local = self.parts[number], some[within] - self.starts[number]
                    local = local if part.is_whole else part.alive[local]
                    distances_by_row(query, data[number], local, out[within])

        pieces = min(available_cores(), 1 + len(rows) * len(query) * 4 // PARALLEL_FROM_BYTES)
        cuts = np.linspace(0, len(rows), pieces + 1, dtype=int)
        self.parallel_map(fill, [slice(a, b) for a, b in pairwise(cuts)])
        return measured

    def parallel_map(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``work(item)`` for all items, on all cores unless a pool thread calls it."""
        if len(items) == 1 or getattr(self._thread, "is_pooled", False):
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    @cached_property
    def squares(self) -> Distances:
        """|x|^2 of every row; the first use reads all vectors."""
        squares = [
            np.einsum("ij,ij->i", part.matrix, part.matrix)[part.alive] for part in self.parts
        ]
        return np.concatenate([np.empty(0, np.float32), *squares])

    @cached_property
    def max_norm(self) -> float:
        """The largest |x|; the first use reads all vectors."""
        return float(np.sqrt(self.squares.max(initial=0)))

    @property
    def bytes(self) -> int:
        """The size of all vectors in bytes."""
        return len(self) * self.dim * 4

    def estimates(self, queries: Vectors) -> Distances:
        """Return squared distances (n, rows) of queries (n, dim) to all rows by a matrix product.

        |x|^2 + |q|^2 - 2xq is many times faster for many queries, but inexact: the rounding errors
        of the three terms are large compared with a small distance.
        """
        estimates = np.empty((len(queries), len(self)), np.float32)
        for part, start in zip(self.parts, self.starts, strict=False):
            for first in range(0, len(part.alive), MULTIPLY_ROWS):
                rows = part.alive[first : first + MULTIPLY_ROWS]
                products = part.matrix[rows[0] : rows[-1] + 1] @ queries.T
                if len(rows) < len(products):
                    products = products[rows - rows[0]]
                estimates[:, start + first : start + first + len(rows)] = products.T
        estimates *= -2
        estimates += self.squares
        estimates += np.einsum("ij,ij->i", queries, queries)[:, np.newaxis]
        return estimates

    def make_resident(self) -> str | None:
        """Read all vectors into memory and lock them there; return why that failed, if it did."""
        problem = None
        for part in self.parts:
            part.read()
            problem = problem or part.lock()
        return problem

    def _look_up(self, ids: Ids) -> tuple[Rows, np.ndarray]:
        positions = np.minimum(np.searchsorted(self.sorted_ids, ids), max(len(self) - 1, 0))
        if not len(self):
            return positions, np.zeros(len(ids), np.bool_)
        return self._by_id[positions], self.sorted_ids[positions] == ids

    def _pieces(self, rows: Rows) -> Iterator[tuple[int, slice]]:
        """Yield the number of each part that holds some of the ascending rows, and their slice."""
        cuts = np.searchsorted(rows, self.starts)
        for number in np.flatnonzero(np.diff(cuts)):
            yield int(number), slice(cuts[number], cuts[number + 1])


class MappedPart:
    """One mapped segment: its vectors, their ids, and the rows that are not deleted."""

    def __init__(self, part: Part, dim: int, deleted: Ids) -> None:
        try:
            self.index = faiss.read_index(str(part.path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise StoreCorrupt(f"{part.path} cannot be opened: {error}") from error
        kind, shape = type(self.index), (self.index.ntotal, self.index.d)
        if kind is not faiss.IndexFlatL2 or shape != (len(part.ids), dim):
            raise StoreCorrupt(f"{part.path} is not an IndexFlatL2 of {len(part.ids)} x {dim}.")
        self.ids = part.ids
        low, high = (part.ids.min(), part.ids.max()) if len(part.ids) else (0, 0)
        first, end = np.searchsorted(deleted, low), np.searchsorted(deleted, high, "right")
        self.alive: Rows = np.flatnonzero(~np.isin(part.ids, deleted[first:end]))
        """The rows of the file that are not deleted, ascending."""
        self.is_whole = len(self.alive) == len(part.ids)
        """True if no row is deleted."""
        self.data = self.index.get_xb()
        """FAISS' pointer to the vectors."""
        self.matrix: Vectors = np.empty((0, dim), np.float32)
        """The vectors as an array (n, dim), without a copy."""
        if len(part.ids):
            self.matrix = faiss.rev_swig_ptr(self.data, len(part.ids) * dim).reshape(-1, dim)

    def read(self) -> None:
        """Read every page of the file into memory."""
        self.matrix.reshape(-1)[:: mmap.PAGESIZE // 4].max(initial=0)

    def lock(self) -> str | None:
        """Lock the vectors into memory; return why that failed, if it did."""
        start = self.matrix.ctypes.data & ~(mmap.PAGESIZE - 1)
        size = self.matrix.ctypes.data + self.matrix.nbytes - start
        try:
            mlock = ctypes.CDLL(None, use_errno=True).mlock
        except (OSError, TypeError, AttributeError):
            return "this system has no mlock"
        if mlock(ctypes.c_void_p(start), ctypes.c_size_t(size)):
            number = ctypes.get_errno()
            limit = " (the limit is `ulimit -l`)" if number in (errno.ENOMEM, errno.EPERM) else ""
            return f"{os.strerror(number)}{limit}"
        return None


def _use_one_thread(thread: threading.local) -> None:
    """Mark a thread of the pool, and let OpenMP use one thread there."""
    thread.is_pooled = True
    faiss.omp_set_num_threads(1)


@contextmanager
def one_openmp_thread() -> Iterator[None]:
    """Let OpenMP use one thread for the calls of this thread in the block.

    FAISS would start and wait for a team of threads in every call, to divide one query among them.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def distances_by_row(query: Vectors, data: object, rows: Rows, squared: Distances) -> None:
    """Set ``squared`` (n,) to the squared distances of a query (d,) to rows of a matrix.

    ``data`` is FAISS' pointer to the matrix. FAISS reads the rows in place and releases the
    interpreter lock.
    """
    faiss.fvec_L2sqr_by_idx(
        faiss.swig_ptr(squared),
        faiss.swig_ptr(query),
        data,
        faiss.swig_ptr(rows),
        len(query),
        1,
        len(rows),
    )
