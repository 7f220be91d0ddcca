"""Groups of images, the best copy first."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from indexer.analysis.copies.changes import changes, lacks_border
from indexer.analysis.copies.confirmation import Pictures
from indexer.analysis.copies.relations import Kind
from indexer.store import ImageRow
from indexer.vector_index import MappedVectors

if TYPE_CHECKING:
    from indexer.analysis.copies.geometry import Fit

Fits = Mapping[tuple[int, int], "Fit | None"]
"""How the second of two images lies on the first, by their ids."""

UNREAD = "could not be read"

AS_LARGE = 0.95
"""A picture with so much of the pixels that another one shows of it is as large."""


@dataclass(frozen=True, slots=True)
class Copy:
    """One image of a group."""

    id: int
    key: str
    width: int | None
    height: int | None
    bytes: int | None
    mtime: str | None
    """When its file was changed last, as ISO date and time."""
    distance: float
    """The distance to the first of the group."""
    kind: Kind
    """How it relates to the first of the group; of that one, the kind of the group."""
    changes: list[str]
    """How it differs from the first, where they are the same picture."""


@dataclass(frozen=True, slots=True)
class Group:
    """Images of one picture, the best copy first, or similar pictures.

    The best has the most pixels, not counting a border; of several the most bytes; of several it is
    the oldest.
    """

    kind: Kind
    images: list[Copy]


class Members(NamedTuple):
    """The rows of a group that is to be described."""

    kind: Kind
    rows: list[ImageRow]
    """The best first."""


def best_first(rows: Iterable[ImageRow]) -> list[ImageRow]:
    """Return some rows, the best copy first."""
    return sorted(
        rows,
        key=lambda row: (
            -_pixels(row),
            -(row.size or 0),
            row.mtime_ns or 0,
            row.key,
        ),
    )


def without_border_first(groups: Sequence[Members], pictures: Pictures) -> list[Members]:
    """Return groups of copies whose best one is not the largest only because it has a border."""
    fits = _fits(groups, pictures)
    return [Members(kind, _without_border_first(rows, fits)) for kind, rows in groups]


def _without_border_first(rows: list[ImageRow], fits: Fits) -> list[ImageRow]:
    best = rows[0]
    for row in rows[1:]:
        fit = fits.get((best.id, row.id))
        if fit and lacks_border(fit) and _pixels(row) >= AS_LARGE * fit.shares[0] * _pixels(best):
            return [row, *(other for other in rows if other is not row)]
    return rows


def _fits(groups: Sequence[Members], pictures: Pictures) -> Fits:
    """Return how the pictures of each group lie on the best one, but for identical files."""
    different = [
        (group.rows[0].id, row.id)
        for group in groups
        if group.kind == "same"
        for row in group.rows[1:]
        if row.sha256 != group.rows[0].sha256
    ]
    return dict(zip(different, pictures.fits(different), strict=True))


def describe(groups: Sequence[Members], vectors: MappedVectors, pictures: Pictures) -> list[Group]:
    """Return groups with the distance of each image to the best, and how it differs from it."""
    fits = _fits(groups, pictures)
    described = []
    for kind, rows in groups:
        best = rows[0]
        copies = []
        for row, distance in zip(rows, _distances(rows, vectors), strict=True):
            is_identical = row is not best and row.sha256 == best.sha256
            fit = fits.get((best.id, row.id))
            words = changes(best, row, fit) if fit else []
            if row.id in pictures.unread:
                words = [UNREAD]
            copies.append(
                Copy(
                    id=row.id,
                    key=row.key,
                    width=row.width,
                    height=row.height,
                    bytes=row.size,
                    mtime=_date(row.mtime_ns),
                    distance=distance,
                    kind="identical" if is_identical else kind,
                    changes=words,
                )
            )
        others = sorted(copies[1:], key=lambda one: (one.distance, one.key))
        described.append(Group(kind, [copies[0], *others]))
    return described


def _pixels(row: ImageRow) -> int:
    return (row.width or 0) * (row.height or 0)


def _distances(rows: Sequence[ImageRow], vectors: MappedVectors) -> list[float]:
    """Return the distances to the first."""
    places = vectors.rows(np.array([row.id for row in rows]))
    order = np.argsort(places)
    squared = vectors.squared_distances(vectors.vectors(places[:1])[0], places[order])
    distances = np.empty(len(places))
    distances[order] = np.sqrt(squared)
    found: list[float] = distances.tolist()
    return found


def _date(mtime_ns: int | None) -> str | None:
    if mtime_ns is None:
        return None
    return datetime.fromtimestamp(mtime_ns // 10**9, UTC).isoformat()
