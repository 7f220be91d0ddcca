"""Neighbour graphs on disk: the nearest images of every image of a version.

A graph is made from a published version, beside builds: versions do not refer to it, and no build
waits for it. Only a process that holds ``graphs/graph.lock`` writes graphs. It writes under a name
that builds leave alone, and renames a finished graph to the name of its version.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from indexer.config import Mode
from indexer.errors import NoGraph, StoreBusy, StoreCorrupt
from indexer.store.files import (
    Bytes,
    FileRecord,
    Record,
    check_size,
    find_damage,
    read_record,
    refuse_link,
    sync,
    write_file,
    write_record,
)
from indexer.store.records import Manifest, Name
from indexer.store.store import Store

RECORD = "graph.json"
GRAPH_FORMAT = 1
GRAPH_HINT = "Make it again with: lookalike graph"
UNFINISHED = "unfinished-"

Arrays = Mapping[str, NDArray[Any]]


class GraphRecord(Record):
    """What a graph is, written last: without it the graph does not exist."""

    format: int = GRAPH_FORMAT
    version: Name
    """The version whose images were compared."""
    created: datetime
    """When that was published: another one may have got its number since."""
    fingerprint: str
    """The encoder that made the vectors."""
    mode: Mode
    k: int
    """How many neighbours of each image are proved to be the nearest."""
    count: int
    """How many images have been compared with each other."""
    complete: bool
    """False where a process was stopped: then the distances are lower bounds, of some images."""
    files: dict[Literal["ids", "near", "squared", "horizon"], FileRecord]


class StoredGraph:
    """A graph on disk, its record read and the sizes of its files checked.

    Raises :class:`StoreCorrupt` if anything is missing or not of the recorded size.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        refuse_link(folder)
        try:
            self.record = read_record(folder / RECORD, GraphRecord)
            if self.record.format != GRAPH_FORMAT:
                raise StoreCorrupt(f"{folder} is not a graph of format {GRAPH_FORMAT}.")
            for name, record in self.record.files.items():
                check_size(self.path(name), record)
        except StoreCorrupt as error:
            raise StoreCorrupt(error.message, GRAPH_HINT) from error

    def path(self, name: str) -> Path:
        """Return the file of an array."""
        return self.folder / f"{name}.npy"

    def problems(self) -> list[str]:
        """Read every byte and return what differs from the record."""
        found = [find_damage(self.path(name), one) for name, one in self.record.files.items()]
        return [problem for problem in found if problem]


def stored_graph(store: Store, manifest: Manifest) -> StoredGraph:
    """Return the graph of a version.

    Raises :class:`NoGraph`, and :class:`StoreCorrupt` if it is damaged.
    """
    none = NoGraph(
        f"Version {manifest.version} of the index has no neighbour graph.",
        "Make it with: lookalike graph",
    )
    folder = store.graphs / manifest.version
    if not folder.exists():
        raise none
    refuse_link(store.graphs)
    graph = StoredGraph(folder)
    if graph.record.created != manifest.created:
        raise none
    return graph


def stored_graphs(store: Store) -> list[StoredGraph]:
    """Return the graphs that are there, of any version, finished or not, without damaged ones."""
    found = []
    for folder in sorted(store.graphs.iterdir()) if store.graphs.is_dir() else ():
        if folder.is_dir() and (folder.name.isdecimal() or _is_unfinished(folder)):
            try:
                found.append(StoredGraph(folder))
            except StoreCorrupt:
                continue
    return found


class GraphWriter:
    """The folder of graphs of a store, opened for writing by :func:`open_graphs`."""

    def __init__(self, store: Store) -> None:
        self._folder = store.graphs

    def save(self, arrays: Arrays, **fields: Any) -> StoredGraph:
        """Write a graph that is not finished, then remove those that were written before.

        ``fields`` are those of :class:`GraphRecord` but for the files.
        """
        before = self._unfinished()
        numbers = [int(folder.name.removeprefix(UNFINISHED)) for folder in before]
        folder = self._folder / f"{UNFINISHED}{max(numbers, default=0) + 1}"
        folder.mkdir()
        files = {
            name: write_file(folder / f"{name}.npy", _npy(array)) for name, array in arrays.items()
        }
        write_record(folder / RECORD, GraphRecord(files=files, **fields))
        sync(self._folder)
        for old in before:
            shutil.rmtree(old)
        return StoredGraph(folder)

    def finish(self, graph: StoredGraph) -> StoredGraph:
        """Make what was saved the graph of its version, in the place of one that it may have."""
        folder = self._folder / graph.record.version
        if folder.exists():
            refuse_link(folder)
            shutil.rmtree(folder)
        graph.folder.rename(folder)
        sync(self._folder)
        return StoredGraph(folder)

    def discard(self) -> None:
        """Remove what is not finished."""
        for folder in self._unfinished():
            shutil.rmtree(folder)

    def _unfinished(self) -> list[Path]:
        return [folder for folder in self._folder.iterdir() if _is_unfinished(folder)]


@contextmanager
def open_graphs(store: Store) -> Iterator[GraphWriter]:
    """Open the folder of graphs for writing, beside builds.

    Raises :class:`StoreBusy` if another process makes a graph.
    """
    store.graphs.mkdir(exist_ok=True)
    refuse_link(store.graphs)
    lock = FileLock(store.graphs / "graph.lock", blocking=False)
    try:
        lock.acquire()
    except Timeout:
        raise StoreBusy(
            f"Another process is making the neighbour graph of {store.folder}.",
            "Wait for it to finish.",
        ) from None
    try:
        yield GraphWriter(store)
    finally:
        lock.release()


def _is_unfinished(folder: Path) -> bool:
    number = folder.name.removeprefix(UNFINISHED)
    return folder.name != number and number.isdecimal() and not folder.is_symlink()


def _npy(array: NDArray[Any]) -> Iterator[Bytes]:
    """Yield the content of a ``.npy`` file."""
    array, head = np.ascontiguousarray(array), BytesIO()
    np.lib.format.write_array_header_1_0(head, np.lib.format.header_data_from_array_1_0(array))
    yield head.getvalue()
    yield array.reshape(-1).view(np.uint8).data
