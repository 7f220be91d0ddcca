"""Leaks: images of one split that are in another one as well, or one that is nearly the same."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.graph import Graph, open_graph
from indexer.analysis.labels import Labels
from indexer.analysis.near import Limit, crowded, crowded_notes, near_pairs
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.store import Store, Version
from indexer.vector_index import MappedVectors
from indexer.vector_index.opened import map_vectors

MEASURED_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class Leak:
    """An image of the second split, and the one of the first that is nearest to it."""

    id: int
    key: str
    of_id: int
    of_key: str
    distance: float
    is_identical: bool
    """Whether their files are the same, byte for byte."""


@dataclass(frozen=True, slots=True)
class Leaks:
    """The images of one split that are probably in another one, the nearest first."""

    version: str
    between: tuple[str, str]
    images: int
    """How many images the second split has."""
    limit: Limit
    """How near copies are."""
    crowded: int
    """Images all of whose neighbours in the graph are within: there may be more."""
    leaks: list[Leak]

    def to_json(self) -> dict[str, Any]:
        """Return the leaks as JSON-ready values."""
        return {**asdict(self), "limit": self.limit._asdict()}

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a table, its head first."""
        yield "id", "key", "of_id", "of_key", "distance", "identical"
        for one in self.leaks:
            identical = str(one.is_identical).lower()
            yield one.id, one.key, one.of_id, one.of_key, round(one.distance, 6), identical

    @property
    def notes(self) -> list[str]:
        """What the distance means, and what may be missing."""
        return [self.limit.note, *crowded_notes(self.crowded)]

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        first, second = self.between
        identical = sum(one.is_identical for one in self.leaks)
        return (
            f"{len(self.leaks):,} of {self.images:,} images of {second} are in {first} as well, "
            f"{identical:,} of them as identical files"
        )


def find_leaks(
    config: Config, between: tuple[str, str], *, by: str = "split", within: float | None = None
) -> Leaks:
    """Find the images of the second split that are ``within`` a distance of one of the first.

    The splits are values of a field. Without a distance it is a third of the median distance of two
    images.

    Raises :class:`~indexer.errors.NoGraph`, :class:`~indexer.errors.InvalidQuery` if there is no
    such field or split, :class:`~indexer.errors.NoMetadataIndex`,
    :class:`~indexer.errors.NoPublishedIndex`, or ConfigError for a distance that cannot be.
    """
    store = Store(config.store)
    version = store.open_published()
    graph, vectors = open_graph(store, version), map_vectors(version)
    labels = Labels(version.catalogue.metadata, by)
    first, second = (np.isin(graph.ids, _members(labels, name)) for name in between)
    second &= ~first
    limit = Limit.of(vectors, within)
    near = near_pairs(version, graph, limit.within)
    near = np.concatenate([near, near[:, ::-1], _identical(version, graph, first, second)])
    near = near[first[near[:, 0]] & second[near[:, 1]]]
    return Leaks(
        version=version.id,
        between=between,
        images=int(second.sum()),
        limit=limit,
        crowded=crowded(graph, limit.within),
        leaks=_leaks(version, vectors, graph.ids[near]),
    )


def _members(labels: Labels, name: str) -> NDArray[np.int64]:
    if name not in labels.names:
        known = ", ".join(labels.names[:20])
        raise InvalidQuery(
            f"No image has the {labels.field} {name}.", f"There are: {known}. Or name another --by."
        )
    return labels.members(labels.names.index(name))


def _identical(
    version: Version, graph: Graph, first: NDArray[np.bool_], second: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Return for each image of the second split one of the first with an identical file, (m, 2)."""
    found = []
    for ids in version.catalogue.same_content():
        positions = np.searchsorted(graph.ids, ids)
        ours, theirs = positions[first[positions]], positions[second[positions]]
        found += [(ours[0], other) for other in theirs if len(ours)]
    return np.array(found, np.int64).reshape(-1, 2)


def _leaks(version: Version, vectors: MappedVectors, pairs: NDArray[np.int64]) -> list[Leak]:
    """Return the nearest pair of ids, of the first and the second split, for each of the second."""
    rows = vectors.rows(pairs.reshape(-1)).reshape(-1, 2)
    squared = [np.empty(0, np.float32)]
    for start in range(0, len(rows), MEASURED_AT_ONCE):
        some = rows[start : start + MEASURED_AT_ONCE].T
        squared.append(vectors.squared_distances_of_pairs(*some))
    distances = np.sqrt(np.concatenate(squared))
    order = np.lexsort((pairs[:, 0], distances))
    _, nearest = np.unique(pairs[order, 1], return_index=True)
    chosen = order[np.sort(nearest)]
    images = version.catalogue.get_many(np.unique(pairs[chosen]).tolist())
    return [
        Leak(
            id=other,
            key=images[other].key,
            of_id=own,
            of_key=images[own].key,
            distance=float(distance),
            is_identical=images[own].sha256 == images[other].sha256,
        )
        for (own, other), distance in zip(pairs[chosen].tolist(), distances[chosen], strict=True)
    ]
