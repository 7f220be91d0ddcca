"""The stored vectors: every segment's ``IndexFlatL2`` file, mapped into memory, not read."""

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

from indexer.errors import StoreCorrupt, UnknownImage
from indexer.machine import available_cores
from indexer.vector_index.base import Distances, Ids, Part, Rows, Vectors

Item = TypeVar("Item")
Result = TypeVar("Result")

WORTH_SHARING = 4_000_000
"""From this many bytes on, reading them on several cores pays for waking the threads."""

MULTIPLY_ROWS = 1024
"""Rows multiplied at once: the product stays in the cache."""


class MappedVectors:
    """The vectors of all segments that still count, numbered by row in the segments' order.

    Opening takes milliseconds at any size. Rows of ``deleted`` ids do not exist. Raises
    :class:`StoreCorrupt` if a file is not what its segment promises.
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
        self._sorted_ids = self.ids[self._by_id]
        self._shared = threading.local()
        self._pool = ThreadPoolExecutor(  # threads that knew this object would keep it for ever
            available_cores(), "search", initializer=partial(_work_alone, self._shared)
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

    def rows_among(self, ids: Ids) -> Rows:
        """Return the rows of those image ids that exist, ascending, each once."""
        rows, known = self._look_up(ids)
        return np.unique(rows[known])

    def vectors(self, rows: Rows) -> Vectors:
        """Return the vectors of rows, (n, dim), in their order."""
        vectors = np.empty((len(rows), self.dim), np.float32)
        numbers = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(numbers):
            own, part = numbers == number, self.parts[number]
            vectors[own] = part.matrix[part.alive[rows[own] - self.starts[number]]]
        return vectors

    def squared_distances(self, query: Vectors, rows: Rows | None = None) -> Distances:
        """Return the squared distances of a query (dim,) to ascending rows, or to all.

        They are read in place and subtracted first, as the original does: a vector has distance 0
        to itself, and the same distance whatever rows it is measured with.
        """
        if rows is not None:
            return self.by_part(rows, query, [part.data for part in self.parts])
        squared = np.empty(len(self), np.float32)

        def measure(number: int) -> None:
            part, start = self.parts[number], self.starts[number]
            own = squared[start : start + len(part.alive)]
            with one_openmp_thread():
                distances_by_row(query, part.data, part.alive, own)

        self.share(measure, range(len(self.parts)))
        return squared

    def by_part(self, rows: Rows, query: Vectors, data: Sequence[object]) -> Distances:
        """Return the squared distances of a query (d,) to ascending rows, using all cores.

        ``data`` has the matrix of each part: d numbers for every row of its file.
        """
        measured = np.empty(len(rows), np.float32)

        def fill(piece: slice) -> None:
            some, out = rows[piece], measured[piece]
            with one_openmp_thread():
                for number, own in self._pieces(some):
                    part, local = self.parts[number], some[own] - self.starts[number]
                    local = local if part.is_whole else part.alive[local]
                    distances_by_row(query, data[number], local, out[own])

        pieces = min(available_cores(), 1 + len(rows) * len(query) * 4 // WORTH_SHARING)
        cuts = np.linspace(0, len(rows), pieces + 1, dtype=int)
        self.share(fill, [slice(a, b) for a, b in pairwise(cuts)])
        return measured

    def share(self, work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """Return ``work(item)`` of all items, using all cores unless those are shared already."""
        if len(items) == 1 or getattr(self._shared, "already", False):
            return [work(item) for item in items]
        return list(self._pool.map(work, items))

    @cached_property
    def squares(self) -> Distances:
        """|x|^2 of every row; reads all vectors once."""
        squares = [np.empty(0, np.float32)]
        squares += [np.einsum("ij,ij->i", part.matrix, part.matrix) for part in self.parts]
        alive = [own[part.alive] for own, part in zip(squares[1:], self.parts, strict=True)]
        return np.concatenate([squares[0], *alive])

    @cached_property
    def reach(self) -> float:
        """The largest |x|; reads all vectors once."""
        return float(np.sqrt(self.squares.max(initial=0)))

    @property
    def bytes(self) -> int:
        """How many bytes the vectors have."""
        return len(self) * self.dim * 4

    def estimates(self, queries: Vectors) -> Distances:
        """Return squared distances (n, rows) of queries (n, dim) to all rows as a matrix product.

        |x|^2 + |q|^2 - 2xq loses the last digits of these three, which are large beside a small
        distance, and is many times faster for many queries.
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
        """Read all vectors into memory and lock them there; return why they are not locked."""
        problem = None
        for part in self.parts:
            part.read()
            problem = problem or part.lock()
        return problem

    def _look_up(self, ids: Ids) -> tuple[Rows, np.ndarray]:
        places = np.minimum(np.searchsorted(self._sorted_ids, ids), max(len(self) - 1, 0))
        if not len(self):
            return places, np.zeros(len(ids), np.bool_)
        return self._by_id[places], self._sorted_ids[places] == ids

    def _pieces(self, rows: Rows) -> Iterator[tuple[int, slice]]:
        """Yield each part that holds some of the ascending rows, and which of them."""
        cuts = np.searchsorted(rows, self.starts)
        for number in np.flatnonzero(np.diff(cuts)):
            yield int(number), slice(cuts[number], cuts[number + 1])


class MappedPart:
    """One mapped segment: its index, the ids of its rows, and which rows still count."""

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
        wanted = ~np.isin(part.ids, own)
        self.alive: Rows = np.flatnonzero(wanted)
        """The rows of the file that count, ascending."""
        self.is_whole = len(self.alive) == len(part.ids)
        """True if all count."""
        self.data = self.index.get_xb()
        """Where FAISS finds the vectors."""
        self.matrix: Vectors = np.empty((0, dim), np.float32)
        """The same as an array (n, dim), without a copy."""
        if len(part.ids):
            self.matrix = faiss.rev_swig_ptr(self.data, len(part.ids) * dim).reshape(-1, dim)

    def read(self) -> None:
        """Touch every page of the file, so that it is in memory."""
        self.matrix.reshape(-1)[:: mmap.PAGESIZE // 4].max(initial=0)

    def lock(self) -> str | None:
        """Lock the vectors into memory, which reads them; return why that failed, if it did."""
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


def _work_alone(shared: threading.local) -> None:
    """Let this thread share no work, neither here nor in OpenMP."""
    shared.already = True
    faiss.omp_set_num_threads(1)


@contextmanager
def one_openmp_thread() -> Iterator[None]:
    """Let OpenMP start no threads for this one during the block.

    FAISS would start a team for every call, and wait for it, to share one query among its threads.
    """
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def distances_by_row(query: Vectors, data: object, rows: Rows, squared: Distances) -> None:
    """Set ``squared`` (n,) to the L2 distances of a query (d,) to rows of the matrix at ``data``.

    FAISS reads the rows where they lie, four at a time, and leaves the interpreter free meanwhile.
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
