"""Duplicates: groups of identical files, and of images that are nearer than unrelated ones are.

They follow from the neighbour graph and the files' content. Nothing is deleted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.graph import Graph, open_graph
from indexer.analysis.near import Limit, crowded, crowded_notes, near_pairs
from indexer.config import Config
from indexer.store import ImageRow, Store, Version
from indexer.vector_index import MappedVectors
from indexer.vector_index.opened import map_vectors

Kind = Literal["identical", "near"]


@dataclass(frozen=True, slots=True)
class Copy:
    """One image of a group."""

    id: int
    key: str
    width: int | None
    height: int | None
    bytes: int | None
    distance: float
    """The distance to the first of the group."""
    is_identical: bool
    """Whether its file is that of the first, byte for byte."""


@dataclass(frozen=True, slots=True)
class Group:
    """Images that are probably one picture, the best copy first.

    It has the most pixels; of several the most bytes; of several it is the oldest.
    """

    kind: Kind
    images: list[Copy]


@dataclass(frozen=True, slots=True)
class Duplicates:
    """All groups of a version, those with the most images first."""

    version: str
    images: int
    limit: Limit
    """How near copies are."""
    crowded: int
    """Images all of whose neighbours in the graph are within: there may be more."""
    groups: list[Group]

    def to_json(self) -> dict[str, Any]:
        """Return the groups as JSON-ready values."""
        return {**asdict(self), "limit": self.limit._asdict()}

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a table, its head first."""
        yield "group", "kind", "id", "key", "width", "height", "bytes", "distance", "identical"
        for number, group in enumerate(self.groups, 1):
            for one in group.images:
                place = round(one.distance, 6), str(one.is_identical).lower()
                yield (
                    number, group.kind, one.id, one.key, one.width, one.height, one.bytes, *place
                )  # fmt: skip

    @property
    def summary(self) -> str:
        """The groups in one line."""
        if not self.groups:
            return f"no duplicates among {self.images:,} images"
        copies = [one for group in self.groups for one in group.images[1:]]
        identical = sum(one.is_identical for one in copies)
        return (
            f"{len(self.groups):,} groups with {len(copies):,} copies, {identical:,} of them "
            f"identical, among {self.images:,} images"
        )

    @property
    def notes(self) -> list[str]:
        """What the distance means, and what may be missing."""
        return [self.limit.note, *crowded_notes(self.crowded)]


def find_duplicates(config: Config, within: float | None = None) -> Duplicates:
    """Find the duplicates in the published version, by its neighbour graph.

    Images belong to one group if each is ``within`` this distance of another one of it. Without a
    distance it is a third of the median distance of two images.

    Raises :class:`~indexer.errors.NoGraph`, :class:`~indexer.errors.NoPublishedIndex`,
    :class:`~indexer.errors.StoreCorrupt`, or ConfigError for a distance that cannot be.
    """
    store = Store(config.store)
    version = store.open_published()
    graph, vectors = open_graph(store, version), map_vectors(version)
    limit = Limit.of(vectors, within)
    groups = _groups(version, graph, vectors, limit.within)
    return Duplicates(
        version=version.id,
        images=len(graph),
        limit=limit,
        crowded=crowded(graph, limit.within),
        groups=sorted(groups, key=lambda one: -len(one.images)),
    )


def _groups(
    version: Version, graph: Graph, vectors: MappedVectors, within: float
) -> Iterator[Group]:
    """Yield the groups that near neighbours and identical files form."""
    same = [(ids[0], other) for ids in version.catalogue.same_content() for other in ids[1:]]
    identical = np.searchsorted(graph.ids, np.array(same, np.int64).reshape(-1, 2))
    pairs = np.concatenate([near_pairs(version, graph, within), identical])
    group = _connected(len(graph), pairs)
    members = np.flatnonzero(np.bincount(group, minlength=len(graph))[group] > 1)
    members = members[np.argsort(group[members], kind="stable")]
    rows = version.catalogue.get_many(graph.ids[members].tolist())
    for some in np.split(members, np.flatnonzero(np.diff(group[members])) + 1):
        if len(some):
            yield _group([rows[image_id] for image_id in graph.ids[some].tolist()], vectors)


def _connected(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of ``count`` nodes the least that it is connected to by pairs (m, 2)."""
    least = np.arange(count)
    while True:
        before = least.copy()
        lower = least[pairs].min(axis=1, initial=count)
        for side in pairs.T:
            np.minimum.at(least, side, lower)
        least = least[least]
        if np.array_equal(before, least):
            return least


def _group(images: Iterable[ImageRow], vectors: MappedVectors) -> Group:
    """Return a group of images, the best copy first, then the nearest to it."""
    best, *others = sorted(
        images,
        key=lambda row: (
            -(row.width or 0) * (row.height or 0),
            -(row.size or 0),
            row.mtime_ns or 0,
            row.key,
        ),
    )
    places = vectors.rows(np.array([best.id, *(row.id for row in others)]))
    order = np.argsort(places)
    squared = vectors.squared_distances(vectors.vectors(places[:1])[0], places[order])
    distances = np.empty(len(places))
    distances[order] = np.sqrt(squared)
    copies = [
        Copy(
            row.id,
            row.key,
            row.width,
            row.height,
            row.size,
            float(distance),
            row.sha256 == best.sha256,
        )
        for row, distance in zip([best, *others], distances, strict=True)
    ]
    kind: Kind = "identical" if all(one.is_identical for one in copies) else "near"
    return Group(kind, [copies[0], *sorted(copies[1:], key=lambda one: (one.distance, one.key))])
