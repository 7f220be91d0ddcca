"""Duplicates: groups of identical files, of files that show the same picture, of similar ones.

Near images follow from the neighbour graph; whether they are one picture, from the pictures
(:mod:`indexer.analysis.copies.geometry`). Nothing is deleted.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.copies.candidates import Pairs, Sides
from indexer.analysis.copies.confirmation import Pictures
from indexer.analysis.copies.groups import (
    Copy,
    Group,
    Members,
    best_first,
    describe,
    without_border_first,
)
from indexer.analysis.copies.near import Limit, crowded, crowded_notes
from indexer.analysis.copies.relations import Kind, Partner, Relations, comparison_notes
from indexer.analysis.graph import Graph, open_graph
from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.search.filters import parse_filter, passing
from indexer.store import ImageRow, Store, Version
from indexer.vector_index.opened import map_vectors


@dataclass(frozen=True, slots=True)
class Duplicates:
    """All groups of a version: copies first, then similar ones, those with the most images first.

    An image is in one group of copies at most. A group of similar images has different pictures
    only: of each group of copies, the best.
    """

    version: str
    images: int
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
    groups: list[Group]
    reference: Sequence[str] = ()
    new: Sequence[str] = ()
    """The filters of the images that were compared with each other only; none for all images."""

    def to_json(self) -> dict[str, Any]:
        """Return the groups as JSON-ready values."""
        return {**asdict(self), "limit": self.limit._asdict()}

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a table, its head first."""
        yield (
            "group", "group_kind", "id", "key", "width", "height", "bytes", "mtime", "distance",
            "kind", "changes",
        )  # fmt: skip
        for number, group in enumerate(self.groups, 1):
            for one in group.images:
                sizes = one.width, one.height, one.bytes, one.mtime
                relation = round(one.distance, 6), one.kind, ", ".join(one.changes)
                yield (number, group.kind, one.id, one.key, *sizes, *relation)

    @property
    def copies(self) -> list[Copy]:
        """All copies but the best: what could be removed."""
        groups = (group for group in self.groups if group.kind != "similar")
        return [one for group in groups for one in group.images[1:]]

    @property
    def summary(self) -> str:
        """The groups in one line."""
        if not self.groups:
            return f"no duplicates among {self.images:,} images"
        copies, similar = self.copies, sum(group.kind == "similar" for group in self.groups)
        identical = sum(one.kind == "identical" for one in copies)
        return (
            f"{len(self.groups) - similar:,} groups with {len(copies):,} copies, {identical:,} of "
            f"them identical, and {similar:,} groups of similar pictures, among {self.images:,} "
            "images"
        )

    @property
    def notes(self) -> list[str]:
        """What was compared, what the distance means, and what may be missing."""
        compared = (
            f"Images with {', '.join(self.new)} were compared with those with "
            f"{', '.join(self.reference)}, and no others."
        )
        return [
            *([compared] if self.new else []),
            self.limit.note,
            *comparison_notes(self.compared, self.unread, self.why_unread),
            *crowded_notes(self.crowded),
        ]


def find_duplicates(
    config: Config,
    within: float | None = None,
    *,
    reference: Sequence[str] = (),
    new: Sequence[str] = (),
) -> Duplicates:
    """Find the duplicates in the published version, by its neighbour graph.

    Images are similar if each is ``within`` this distance of another one of the group. Without a
    distance it is a third of the median distance of two images. Copies are found farther, too.

    With the filters ``reference`` and ``new``, images that pass the second are compared only with
    those that pass the first: each group has one image of the reference, which comes first, and
    the new ones that are nearest to it.

    Raises :class:`~indexer.errors.NoGraph`, :class:`~indexer.errors.NoPublishedIndex`,
    :class:`~indexer.errors.StoreCorrupt`, :class:`~indexer.errors.InvalidQuery` for a wrong filter
    or only one of both, or ConfigError for a distance that cannot be.
    """
    if bool(reference) != bool(new):
        raise InvalidQuery(
            "New images are compared with a reference, and one of both is missing.",
            "Name both: --reference CLAUSE --new CLAUSE.",
        )
    store = Store(config.store)
    version = store.open_published()
    graph, vectors = open_graph(store, version), map_vectors(version)
    limit = Limit.of(vectors, within)
    sides = _sides(version, graph, reference, new) if reference else Sides.all(len(graph))
    with closing(Pictures(version, config)) as pictures:
        relations = Relations.of(version, graph, limit, sides, pictures)
        found = (
            _beside_reference(version, relations.partners(graph, vectors, sides))
            if reference
            else _groups(version, graph, relations, pictures)
        )
        groups = describe(list(found), vectors, pictures)
    return Duplicates(
        version=version.id,
        images=int((sides.first | sides.second).sum()),
        limit=limit,
        crowded=crowded(graph, limit.within),
        compared=relations.compared,
        unread=relations.unread,
        why_unread=relations.why,
        groups=sorted(groups, key=lambda one: (one.kind == "similar", -len(one.images))),
        reference=list(reference),
        new=list(new),
    )


def _sides(version: Version, graph: Graph, reference: Sequence[str], new: Sequence[str]) -> Sides:
    """Return the images of the reference, and those that are new and not of it."""
    index = version.catalogue.metadata
    first, second = (
        np.isin(graph.ids, passing(index, parse_filter(clauses), graph.ids))
        for clauses in (reference, new)
    )
    return Sides(first, second & ~first)


def _groups(
    version: Version, graph: Graph, relations: Relations, pictures: Pictures
) -> Iterator[Members]:
    """Yield the groups of copies, then those of similar images that are no copies."""
    is_best = np.ones(len(graph), np.bool_)
    pairs = np.concatenate([relations.identical, relations.same])
    copies = [
        Members("identical" if len({row.sha256 for row in rows}) == 1 else "same", rows)
        for rows in _connected_rows(version, graph, pairs)
    ]
    for group in without_border_first(copies, pictures):
        is_best[np.searchsorted(graph.ids, [row.id for row in group.rows[1:]])] = False
        yield group
    pairs = relations.similar[is_best[relations.similar].all(axis=1)]
    for rows in _connected_rows(version, graph, pairs):
        yield Members("similar", rows)


def _connected_rows(version: Version, graph: Graph, pairs: Pairs) -> Iterator[list[ImageRow]]:
    """Yield the rows of all images that pairs connect, the best of each group first."""
    group = _connected(len(graph), pairs)
    members = np.flatnonzero(np.bincount(group, minlength=len(graph))[group] > 1)
    members = members[np.argsort(group[members], kind="stable")]
    rows = version.catalogue.get_many(graph.ids[members].tolist())
    for some in np.split(members, np.flatnonzero(np.diff(group[members])) + 1):
        if len(some):
            yield best_first(rows[image_id] for image_id in graph.ids[some].tolist())


def _beside_reference(version: Version, partners: Iterable[Partner]) -> Iterator[Members]:
    """Yield each image of the reference with its copies, then with the images similar to it."""
    groups: dict[tuple[bool, int], list[Partner]] = defaultdict(list)
    for one in partners:
        groups[one.kind == "similar", one.of_id].append(one)
    for (is_similar, of_id), some in groups.items():
        rows = version.catalogue.get_many([of_id, *(one.id for one in some)])
        kinds = {one.kind for one in some}
        kind: Kind = "similar" if is_similar else "identical" if kinds == {"identical"} else "same"
        yield Members(kind, [rows[of_id], *(rows[one.id] for one in some)])


def _connected(count: int, pairs: Pairs) -> NDArray[np.int64]:
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
