"""Leaks: images of one split whose picture is in another one as well, or one that is similar."""

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.copies.candidates import Sides
from indexer.analysis.copies.confirmation import Pictures
from indexer.analysis.copies.near import Limit, crowded, crowded_notes
from indexer.analysis.copies.relations import Kind, Relations, comparison_notes
from indexer.analysis.graph import open_graph
from indexer.analysis.labels import Labels
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.store import Store
from indexer.vector_index.opened import map_vectors


@dataclass(frozen=True, slots=True)
class Leak:
    """An image of the second split, and the one of the first that is nearest to it."""

    id: int
    key: str
    of_id: int
    of_key: str
    distance: float
    kind: Kind
    """How it relates to the one of the first split."""


@dataclass(frozen=True, slots=True)
class Leaks:
    """The images of one split that are in another one as well, or similar; the nearest first."""

    version: str
    between: tuple[str, str]
    by: str
    """The field that has the splits."""
    images: int
    """How many images the second split has."""
    limit: Limit
    """How near similar images are."""
    crowded: int
    """Images all of whose neighbours in the graph are within: there may be more."""
    compared: int | None
    """How many pictures were compared with others; None without OpenCV."""
    unread: int
    """How many of these could not be read: whether they are copies is unknown."""
    why_unread: str
    """Why the first of those could not be read."""
    leaks: list[Leak]

    def to_json(self) -> dict[str, Any]:
        """Return the leaks as JSON-ready values."""
        return {**asdict(self), "limit": self.limit._asdict()}

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a table, its head first."""
        yield "id", "key", "of_id", "of_key", "distance", "kind"
        for one in self.leaks:
            yield one.id, one.key, one.of_id, one.of_key, round(one.distance, 6), one.kind

    @property
    def notes(self) -> list[str]:
        """What the distance means, and what may be missing."""
        return [
            self.limit.note,
            *comparison_notes(self.compared, self.unread, self.why_unread),
            *crowded_notes(self.crowded),
        ]

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        first, second = self.between
        counts = Counter(one.kind for one in self.leaks)
        copies = counts["identical"] + counts["same"]
        return (
            f"{copies:,} of {self.images:,} images of {second} are in {first} as well, "
            f"{counts['identical']:,} of them as identical files; {counts['similar']:,} are "
            "similar to one"
        )


def find_leaks(
    config: Config, between: tuple[str, str], *, by: str = "split", within: float | None = None
) -> Leaks:
    """Find the images of the second split that are in the first, or similar to one of it.

    The splits are values of a field. Similar is what is ``within`` a distance, by default a third
    of the median distance of two images.

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
    sides = Sides(first, second)
    with closing(Pictures(version, config)) as pictures:
        relations = Relations.of(version, graph, limit, sides, pictures)
    partners = relations.partners(graph, vectors, sides)
    keys = version.catalogue.keys([image_id for one in partners for image_id in one[:2]])
    return Leaks(
        version=version.id,
        by=by,
        between=between,
        images=int(second.sum()),
        limit=limit,
        crowded=crowded(graph, limit.within),
        compared=relations.compared,
        unread=relations.unread,
        why_unread=relations.why,
        leaks=[
            Leak(one.id, keys[one.id], one.of_id, keys[one.of_id], one.distance, one.kind)
            for one in partners
        ],
    )


def _members(labels: Labels, name: str) -> NDArray[np.int64]:
    if name not in labels.names:
        known = ", ".join(labels.names[:20])
        raise InvalidQuery(
            f"No image has the {labels.field} {name}.", f"There are: {known}. Or name another --by."
        )
    return labels.members(labels.names.index(name))
