"""The neighbour graph: the nearest other images of every image of the published version.

It takes hours where a build takes minutes, so builds neither make it nor wait for it: the vectors
stay mapped although their version may be removed meanwhile. What was compared is saved now and
then. The next run goes on with that, or with the graph of another version, whichever has more
images.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.config import Config, Mode
from indexer.errors import ConfigError, NoApproximateIndex, NoGraph, StoreCorrupt
from indexer.machine import is_writable
from indexer.store import (
    GRAPH_HINT,
    GraphRecord,
    GraphWriter,
    Store,
    StoredGraph,
    Version,
    open_graphs,
    stored_graph,
    stored_graphs,
)
from indexer.vector_index import MappedVectors
from indexer.vector_index.mapping import map_array
from indexer.vector_index.neighbour_lists import Lists, known_ids
from indexer.vector_index.neighbours import (
    SPARE,
    ApproximateNeighbours,
    ExactNeighbours,
    Neighbours,
)
from indexer.vector_index.opened import Indexes
from indexer.vector_index.promise import Promise

K = 50
MAX_K = 1000

SAVE_SECONDS = 60.0
"""What was compared is saved after so many seconds, or more where saving takes long."""

SAVE_SHARE = 0.05
"""The largest share of the time that goes into saving."""


class Graph:
    """The neighbour graph of a version: mapped, checked, and safe between threads.

    Raises :class:`~indexer.errors.StoreCorrupt` if a file does not hold what it should.
    """

    def __init__(self, stored: StoredGraph) -> None:
        self.record = stored.record
        self.k = stored.record.k
        self.lists = mapped_lists(stored)

    def __len__(self) -> int:
        return len(self.lists.ids)

    @property
    def ids(self) -> NDArray[np.int64]:
        """The ids of all images, int64 (n,), ascending."""
        return self.lists.ids

    @property
    def neighbours(self) -> NDArray[np.int32]:
        """The positions in ``ids`` of each image's nearest, int32 (n, k), the nearest first.

        -1 where there are fewer images. Of equally near ones the lower id comes first.
        """
        return self.lists.near[:, : self.k]

    @cached_property
    def distances(self) -> NDArray[np.float32]:
        """The Euclidean distances of the neighbours, float32 (n, k), infinite where none is."""
        return np.sqrt(self.lists.squared[:, : self.k])


def mapped_lists(stored: StoredGraph) -> Lists:
    """Map the arrays of a graph. Raises :class:`~indexer.errors.StoreCorrupt`."""
    record = stored.record
    n, width = record.count, record.k + SPARE
    wanted = Lists.empty(np.empty(0, np.int64), width)._asdict()
    try:
        arrays = {name: map_array(stored.path(name)) for name in wanted}
    except (OSError, ValueError) as error:
        raise StoreCorrupt(f"{stored.folder}: {error}.", GRAPH_HINT) from error
    lists = Lists(**arrays)
    if (
        any(arrays[name].dtype != like.dtype for name, like in wanted.items())
        or any(arrays[name].shape != (n, *like.shape[1:]) for name, like in wanted.items())
        or (np.diff(lists.ids) <= 0).any()
        or not -1 <= lists.near.min(initial=-1) <= lists.near.max(initial=-1) < n
    ):
        raise StoreCorrupt(f"{stored.folder} is no graph of {n:,} images.", GRAPH_HINT)
    return lists


def open_graph(store: Store, version: Version) -> Graph:
    """Open the graph of a version.

    Raises :class:`~indexer.errors.NoGraph` or :class:`~indexer.errors.StoreCorrupt`.
    """
    return Graph(stored_graph(store, version.manifest))


@dataclass(frozen=True, slots=True)
class GraphReport:
    """What making a graph took."""

    version: str
    mode: Mode
    k: int
    images: int
    new: int
    """How many images were compared with all others."""
    gone: int
    """How many images of the graph that it began with are not in the version."""
    pairs: int
    """How many pairs of images were compared by multiplication."""
    measured: int
    """Of how many images the distances were measured."""
    searched: int
    """How many images were searched singly."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON-ready values."""
        return asdict(self)

    @property
    def summary(self) -> str:
        """The report in one line."""
        what = f"the {self.k} nearest of {self.images:,} images, {self.mode}"
        if self.k >= self.images:  # there are fewer
            what = f"all others of each of {self.images:,} images, {self.mode}"
        if not self.new and not self.gone and not self.measured and not self.searched:
            return f"{what}: nothing has changed"
        return (
            f"{what}: {self.new:,} new, {self.gone:,} gone, {self.searched:,} searched singly, in "
            f"{self.seconds:.1f} s"
        )


def make_graph(config: Config, *, k: int = K, mode: Mode = "exact") -> GraphReport:
    """Make the graph of the published version, beginning with one that is there.

    Raises :class:`~indexer.errors.NoPublishedIndex`, :class:`~indexer.errors.StoreBusy` if another
    process makes one, :class:`~indexer.errors.NoApproximateIndex`, or ConfigError for a bad k.
    """
    if not 1 <= k <= MAX_K:
        raise ConfigError(f"--k is {k}; it can be 1 to {MAX_K}.")
    began, store = time.perf_counter(), Store(config.store)
    version = store.open_published()
    indexes = Indexes.of(version)
    manifest = version.manifest
    asked = _Asked(version.id, manifest.created, manifest.fingerprint, mode, k)
    with open_graphs(store) as writer:
        start = _Start.of(store, asked, indexes.vectors)
        new = int((~start.compared).sum())
        neighbours = _neighbours(config, version, indexes, asked, start)
        saved = _Saved(writer, asked, neighbours)
        _follow("Comparing", neighbours.grow(), neighbours.left, saved.now_and_then)
        measured = neighbours.changed
        _follow("Measuring", neighbours.finish(), len(start.compared))
        if new or start.gone or measured or neighbours.searched or not start.is_of_version:
            writer.finish(saved.save(complete=True))
        writer.discard()
    return GraphReport(
        version=version.id,
        mode=mode,
        k=k,
        images=len(start.compared),
        new=new,
        gone=start.gone,
        pairs=neighbours.pairs,
        measured=measured,
        searched=neighbours.searched,
        seconds=time.perf_counter() - began,
    )


def make_missing_graph(
    config: Config, before: Callable[[str, int, Mode], None]
) -> GraphReport | None:
    """Make the graph of the published version if it has none, as the newest of another version.

    Calls ``before`` with the version, k and mode first. Raises what :func:`make_graph` raises, and
    :class:`~indexer.errors.NoGraph` if there is none and the store cannot be written.
    """
    store = Store(config.store)
    manifest = store.open_published().manifest
    try:
        stored_graph(store, manifest)
    except NoGraph:
        if not is_writable(store.folder):
            raise
    else:
        return None
    others = [graph.record for graph in stored_graphs(store)]
    newest = max(others, key=lambda one: (one.created, one.complete), default=None)
    k, mode = (newest.k, newest.mode) if newest else (K, "exact")
    before(manifest.version, k, mode)
    return make_graph(config, k=k, mode=mode)


class _Asked(NamedTuple):
    """Which graph is asked for."""

    version: str
    created: datetime
    fingerprint: str
    mode: Mode
    k: int

    def is_alike(self, record: GraphRecord) -> bool:
        """Tell whether a graph was made in the same way, of whatever version."""
        return (record.fingerprint, record.mode, record.k) == (self.fingerprint, self.mode, self.k)

    def is_of_version(self, record: GraphRecord) -> bool:
        """Tell whether a graph is the complete one of the version."""
        is_same = (record.version, record.created) == (self.version, self.created)
        return record.complete and is_same


class _Start(NamedTuple):
    """What a graph begins with: lists for all images, and which were compared before."""

    lists: Lists
    compared: NDArray[np.bool_]
    measured: bool = True
    """False if the distances are bounds."""
    gone: int = 0
    is_of_version: bool = False
    """True if it is the complete graph of the version."""

    @classmethod
    def of(cls, store: Store, asked: _Asked, vectors: MappedVectors) -> "_Start":
        """Take the graph that has the most images of the version, or begin with nothing."""
        ids = vectors.sorted_ids
        best: tuple[int, bool, str] = (0, True, "")
        chosen: tuple[Lists, GraphRecord] | None = None
        for stored in stored_graphs(store):
            one = stored.record
            if not asked.is_alike(one) or stored.problems():
                continue
            try:
                old = mapped_lists(stored)
            except StoreCorrupt:
                continue
            common = int(np.isin(ids, old.ids).sum())
            if (rank := (common, one.complete, one.version)) > best:
                best, chosen = rank, (old, one)
        if chosen is None:
            return cls(Lists.empty(ids, asked.k + SPARE), np.zeros(len(ids), np.bool_))
        old, record = chosen
        is_of_version = asked.is_of_version(record)
        known = (
            ids if is_of_version else known_ids(old.among(ids), vectors, measured=record.complete)
        )
        known = np.intersect1d(known, old.ids)
        return cls(
            lists=old.among(known).among(ids),
            compared=np.isin(ids, known),
            measured=record.complete,
            gone=len(old.ids) - len(known),
            is_of_version=is_of_version,
        )


def _neighbours(
    config: Config, version: Version, indexes: Indexes, asked: _Asked, start: _Start
) -> Neighbours:
    """Return what finds the neighbours of the images that were not compared."""
    lists, compared, measured, *_ = start
    if asked.mode == "exact":
        return ExactNeighbours(
            indexes.exact, indexes.vectors, asked.k, lists, compared, measured=measured
        )
    if indexes.approximate is None:
        raise NoApproximateIndex(
            "This index has no approximate index.",
            "Use --mode exact, or set index.approximate in config.yaml and index again.",
        )
    promise = Promise.of(version.manifest, config.index.recall)
    return ApproximateNeighbours(
        indexes.approximate,
        indexes.vectors,
        asked.k,
        lists,
        compared,
        measured=measured,
        parameters=promise.parameters if promise else None,
    )


def _follow(
    what: str, steps: Iterator[int], total: int, after: Callable[[], None] | None = None
) -> None:
    """Take all steps with a progress bar."""
    with tqdm(total=total, unit_scale=True, desc=what, disable=None) as bar:
        for done in steps:
            bar.update(done)
            if after:
                after()


class _Saved:
    """Saves what was compared."""

    def __init__(self, writer: GraphWriter, asked: _Asked, neighbours: Neighbours) -> None:
        self._writer = writer
        self._asked = asked
        self._neighbours = neighbours
        self._count = int(neighbours.compared.sum())
        self._next = time.monotonic() + SAVE_SECONDS

    def now_and_then(self) -> None:
        """Save another block if none was for long, so that a killed process loses little."""
        began, count = time.monotonic(), int(self._neighbours.compared.sum())
        if began >= self._next and count > self._count:
            self.save(complete=False)
            took, self._count = time.monotonic() - began, count
            self._next = began + max(SAVE_SECONDS, took / SAVE_SHARE)

    def save(self, *, complete: bool) -> StoredGraph:
        """Save the lists of all images that were compared."""
        lists, compared = self._neighbours.lists, self._neighbours.compared
        lists = lists if compared.all() else lists.among(lists.ids[compared])
        return self._writer.save(
            lists._asdict(), count=len(lists.ids), complete=complete, **self._asked._asdict()
        )
