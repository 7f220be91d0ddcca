"""Suspects: images whose label is another than that of their neighbours. Outliers: far from all.

The neighbours vote for their labels, each with its cosine. An image is suspect by the margin by
which the strongest other label beats its own: the normalised margin of confident learning
(Northcutt, Jiang, Chuang 2021), with neighbours as the classifier.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.graph import Graph, open_graph
from indexer.analysis.labels import Labels
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery
from indexer.store import Store

VOTERS = 10
"""How many neighbours are asked."""

TOP = 100

SAVED = 10_000
"""How many are saved for the page of a server, whatever number is printed."""

BLOCK_VOTES = 4_000_000
"""Images times labels that are counted at once."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """An image that has probably a wrong label, or lacks one."""

    id: int
    key: str
    labels: list[str]
    suggested: str
    """The label for which most of its neighbours vote, of those that it does not have."""
    margin: float
    """The share of the votes for it, less that for the strongest of the image's own labels."""
    neighbours: list[int]
    """The nearest others, which have voted, the nearest first."""


@dataclass(frozen=True, slots=True)
class Suspects:
    """The images whose neighbours have another label, the most suspect first."""

    version: str
    by: str
    judged: int
    """How many images have a label, and neighbours that have one."""
    found: int
    """How many of these are suspect."""
    suspects: list[Suspect]

    def to_json(self) -> dict[str, Any]:
        """Return the suspects as JSON-ready values."""
        return asdict(self)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a table, its head first."""
        yield "id", "key", "labels", "suggested", "margin"
        for one in self.suspects:
            yield one.id, one.key, ", ".join(one.labels), one.suggested, round(one.margin, 6)

    def first(self, count: int) -> "Suspects":
        """Return the same with the ``count`` most suspect only."""
        return replace(self, suspects=self.suspects[:count])

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        listed = "" if len(self.suspects) == self.found else f", {len(self.suspects):,} listed"
        return (
            f"{self.found:,} of {self.judged:,} images have another {self.by} than most of their "
            f"neighbours{listed}"
        )


def find_suspects(config: Config, *, by: str | None = None, top: int = TOP) -> Suspects:
    """Find the images whose labels disagree with their neighbours', up to ``top`` of them.

    The labels are the values of a field, or without one the folders. Raises
    :class:`~indexer.errors.NoGraph`, :class:`~indexer.errors.InvalidQuery` for a field that tells
    nothing, :class:`~indexer.errors.NoMetadataIndex`, :class:`~indexer.errors.NoPublishedIndex`,
    or ConfigError for a bad number.
    """
    _require_some(top)
    store = Store(config.store)
    version = store.open_published()
    graph, labels = open_graph(store, version), Labels(version.catalogue.metadata, by)
    if len(labels.names) < 2:
        raise InvalidQuery(
            f"All images have the same {labels.field}.",
            "Name another field: --by FIELD. `lookalike status --fields` lists them.",
        )
    found = _margins(graph, labels)
    suspect = np.flatnonzero(found.margins > 0)
    chosen = suspect[np.argsort(-found.margins[suspect], kind="stable")[:top]]
    keys = version.catalogue.keys(graph.ids[chosen].tolist())
    return Suspects(
        version=version.id,
        by=labels.field,
        judged=int(np.isfinite(found.margins).sum()),
        found=len(suspect),
        suspects=[
            Suspect(
                image_id,
                keys[image_id],
                [labels.names[number] for number in labels.of(image_id)],
                labels.names[suggested],
                float(margin),
                graph.ids[near[near >= 0]].tolist(),
            )
            for image_id, suggested, margin, near in zip(
                graph.ids[chosen].tolist(),
                found.suggested[chosen].tolist(),
                found.margins[chosen].tolist(),
                graph.neighbours[chosen, :VOTERS],
                strict=True,
            )
        ],
    )


class _Margins(NamedTuple):
    """Of each image, by how much another label beats its own, -inf where nothing can be told."""

    margins: NDArray[np.float64]
    suggested: NDArray[np.int64]


def _margins(graph: Graph, labels: Labels) -> _Margins:
    count, kinds = len(graph), len(labels.names)
    found = _Margins(np.full(count, -np.inf), np.zeros(count, np.int64))
    image, label = labels.pairs(graph.ids)
    own_start = np.searchsorted(image, np.arange(count + 1))
    step = max(1, BLOCK_VOTES // kinds)
    for start in range(0, count, step):
        block = np.arange(start, min(start + step, count))
        near = graph.neighbours[block, :VOTERS]
        weights = np.clip(1 - graph.distances[block, :VOTERS].astype(np.float64) ** 2 / 2, 0, 1)
        votes = _votes(near, np.where(near >= 0, weights, 0), own_start, label, kinds)
        own = np.zeros(votes.shape, np.bool_)
        mine = slice(own_start[start], own_start[block[-1] + 1])
        own[image[mine] - start, label[mine]] = True
        total = votes.max(axis=1, initial=0)
        is_judged = own.any(axis=1) & (total > 0)
        others = np.where(own, -1, votes)
        margins = others.max(axis=1) - np.where(own, votes, 0).max(axis=1)
        found.margins[block[is_judged]] = margins[is_judged]
        found.suggested[block] = others.argmax(axis=1)
    return found


def _votes(
    near: NDArray[np.int32],
    weights: NDArray[np.float64],
    own_start: NDArray[np.int64],
    label: NDArray[np.int64],
    kinds: int,
) -> NDArray[np.float64]:
    """Return which share of the votes of its neighbours (n, m) each label has, (n, kinds).

    ``label[own_start[i] : own_start[i + 1]]`` are those of image i. Who has none does not vote.
    """
    has = (near >= 0) & (own_start[near + 1] > own_start[near])
    row, place = np.nonzero(has)
    voter, weight = near[row, place], weights[row, place]
    counts = own_start[voter + 1] - own_start[voter]
    first = np.repeat(own_start[voter] - np.cumsum(counts) + counts, counts)
    cast = label[first + np.arange(len(first))]
    places = np.repeat(row, counts) * kinds + cast
    votes = np.bincount(places, np.repeat(weight, counts), len(near) * kinds)
    total = np.where(has, weights, 0).sum(axis=1, keepdims=True)
    shares: NDArray[np.float64] = votes.reshape(len(near), kinds) / np.maximum(total, 1e-12)
    return shares


@dataclass(frozen=True, slots=True)
class Outlier:
    """An image, and the mean distance of its nearest others."""

    id: int
    key: str
    distance: float


@dataclass(frozen=True, slots=True)
class Outliers:
    """The images that are farthest from all others, the farthest first."""

    version: str
    images: int
    median: float
    """The median over all images of the mean distance of their nearest."""
    outliers: list[Outlier]

    def to_json(self) -> dict[str, Any]:
        """Return the outliers as JSON-ready values."""
        return asdict(self)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """Yield the rows of a table, its head first."""
        yield "id", "key", "distance"
        for one in self.outliers:
            yield one.id, one.key, round(one.distance, 6)

    def first(self, count: int) -> "Outliers":
        """Return the same with the ``count`` farthest only."""
        return replace(self, outliers=self.outliers[:count])

    @property
    def summary(self) -> str:
        """What was found, in one line."""
        return (
            f"the {len(self.outliers):,} of {self.images:,} images with the greatest mean distance "
            f"of their {VOTERS} nearest; the median of all is {self.median:.4f}"
        )


def find_outliers(config: Config, *, top: int = TOP) -> Outliers:
    """Find the ``top`` images that are farthest from all others.

    Raises :class:`~indexer.errors.NoGraph`, :class:`~indexer.errors.NoPublishedIndex`, or
    ConfigError for a bad number.
    """
    _require_some(top)
    store = Store(config.store)
    version = store.open_published()
    graph = open_graph(store, version)
    near = graph.distances[:, :VOTERS]
    there = np.isfinite(near)
    counts = there.sum(axis=1)
    means = np.where(there, near, 0).sum(axis=1, dtype=np.float64) / np.maximum(counts, 1)
    chosen = np.argsort(-means, kind="stable")[:top]
    keys = version.catalogue.keys(graph.ids[chosen].tolist())
    return Outliers(
        version=version.id,
        images=len(graph),
        median=float(np.median(means)) if len(means) else 0.0,
        outliers=[
            Outlier(image_id, keys[image_id], float(distance))
            for image_id, distance in zip(graph.ids[chosen].tolist(), means[chosen], strict=True)
        ],
    )


def _require_some(top: int) -> None:
    if top < 1:
        raise ConfigError(f"--top is {top}; it can be 1 or more.")
