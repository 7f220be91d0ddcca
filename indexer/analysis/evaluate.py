"""Evaluate a collection: how well images that share a label find each other.

Some images are asked, each left out of its own ranking, which has all others, exactly. Only one
ranking is in memory at a time.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.analysis.labels import Labels
from indexer.analysis.measures import Mean, bootstrap, chance, group_means, measure
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery
from indexer.search.filters import parse_filter, passing
from indexer.store import Store, Version
from indexer.vector_index import MappedVectors
from indexer.vector_index.opened import Indexes
from indexer.vector_index.promise import Promise

K = 10
MAX_K = 10_000
SAMPLE = 2000

TIMED = 200
"""How many of the images are searched for by approximate search as well."""

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Score:
    """A measure: its mean over queries with a confidence interval, and what chance would give."""

    name: str
    mean: Mean
    chance: float
    per_label: Mean
    """The mean over the labels of the means of their images, so that a frequent one counts once."""
    per_label_chance: float

    def to_json(self) -> dict[str, Any]:
        """Return the score as JSON-ready values."""
        return {
            "name": self.name,
            "mean": self.mean._asdict(),
            "chance": self.chance,
            "per_label": self.per_label._asdict(),
            "per_label_chance": self.per_label_chance,
        }


@dataclass(frozen=True, slots=True)
class LabelScore:
    """The means over the images of one label."""

    label: str
    images: int
    """How many of the images that are searched have it."""
    queries: int
    """How many of the images that were asked have it."""
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class Approximate:
    """Approximate search beside exact search, for some of the images that were asked."""

    queries: int
    recall: float
    """The share of the k nearest that it finds, or others that are as near."""
    ms: float
    exact_ms: float
    """Medians of one search."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How well images find those that share a label with them."""

    version: str
    encoder: dict[str, str | int]
    by: str
    k: int
    images: int
    """How many images are searched."""
    queries: int
    """How many images were asked."""
    possible: int
    """How many could have been: those that have a label which another image has."""
    alone: int
    """How many of these that were chosen share a label with none that is searched: left out."""
    scores: list[Score]
    labels: list[LabelScore]
    approximate: Approximate | None

    def to_json(self) -> dict[str, Any]:
        """Return the evaluation as JSON-ready values."""
        return {**asdict(self), "scores": [score.to_json() for score in self.scores]}

    @property
    def note(self) -> str:
        """What was asked, in a sentence."""
        asked = f"{self.queries:,} images"
        if self.queries + self.alone < self.possible:
            asked += f" of {self.possible:,}, chosen at random,"
        alone = f"; {self.alone:,} share theirs with no image and were left out" * bool(self.alone)
        return (
            f"{asked} asked for those of {self.images:,} with the same {self.by}, each left out of "
            f"its own answer; rankings are exact and complete{alone}."
        )


def evaluate(
    config: Config,
    *,
    by: str | None = None,
    k: int = K,
    queries: Sequence[str] = (),
    among: Sequence[str] = (),
    sample: int = SAMPLE,
) -> Evaluation:
    """Evaluate the published version by a field, or without one by the images' folders.

    Images that pass the filter ``queries`` are asked, at most ``sample`` of them, chosen at random
    but always the same; those that pass ``among`` are searched.

    Raises :class:`~indexer.errors.InvalidQuery` for a field that tells nothing and for a wrong
    filter, :class:`~indexer.errors.NoMetadataIndex`, :class:`~indexer.errors.NoPublishedIndex`, and
    ConfigError for a bad k or sample.
    """
    _require_between("--k", k, 1, MAX_K)
    _require_between("--sample", sample, 1, 10**9)
    version = Store(config.store).open_published()
    indexes, index = Indexes.of(version), version.catalogue.metadata
    labels, ids = Labels(index, by), indexes.vectors.sorted_ids
    searched = passing(index, parse_filter(among), ids)
    possible = passing(index, parse_filter(queries), np.intersect1d(labels.labelled, ids))
    chosen = _chosen(possible, sample)
    gains = _Rankings(indexes.vectors, labels, searched)
    values, asked = [], []
    for image_id in tqdm(chosen.tolist(), "Ranking", unit="image", disable=None):
        ranking = gains.of(image_id)
        if ranking.any():
            values.append((*measure(ranking, k), *chance(ranking, k)))
            asked.append(image_id)
    if not asked:
        raise InvalidQuery(
            f"No image shares its {labels.field} with another one that is searched.",
            "Name another field: --by FIELD. `lookalike status --fields` lists them.",
        )
    return Evaluation(
        version=version.id,
        encoder=version.manifest.encoder,
        by=labels.field,
        k=k,
        images=len(searched),
        queries=len(asked),
        possible=len(possible),
        alone=len(chosen) - len(asked),
        **_scores(labels, np.array(values), asked, searched, k),
        approximate=None if among else _approximate(config, version, indexes, asked, k),
    )


def _require_between(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{option} is {value}; it can be {low} to {high:,}.")


def _chosen(ids: Ids, sample: int) -> Ids:
    """Return all ids, or some of them that are always the same, ascending."""
    if len(ids) <= sample:
        return ids
    return np.sort(np.random.default_rng(0).choice(ids, sample, replace=False))


class _Rankings:
    """Ranks images by their distance to one of them, exactly."""

    def __init__(self, vectors: MappedVectors, labels: Labels, searched: Ids) -> None:
        self._vectors = vectors
        self._labels = labels
        self._searched = searched
        rows = vectors.rows(searched)
        self._rows = np.sort(rows)
        self._order = np.argsort(np.argsort(rows))
        """Where an image that is searched is among the ascending rows."""

    def of(self, image_id: int) -> NDArray[np.int64]:
        """Return the gains of all images that are searched, but for itself, the nearest first."""
        row = self._vectors.rows(np.array([image_id]))
        query = self._vectors.vectors(row)[0]
        squared = self._vectors.squared_distances(query, self._rows)[self._order]
        order = np.argsort(squared, kind="stable")  # of equal distances the lower id comes first
        order = order[self._searched[order] != image_id]
        gains: NDArray[np.int64] = self._labels.shared(image_id, self._searched)[order]
        return gains


def _scores(
    labels: Labels, values: NDArray[np.float64], asked: Sequence[int], searched: Ids, k: int
) -> dict[str, Any]:
    """Return the scores over all queries and those of each label."""
    groups = np.array([(n, label) for n, one in enumerate(asked) for label in labels.of(one)])
    names = (f"P@{k}", f"R@{k}", "mAP", f"NDCG@{k}")
    means, chances = values[:, : len(names)], values[:, len(names) :]
    by_label = group_means(values, groups)
    per_label = np.nanmean(by_label, axis=0)[len(names) :]
    queries = np.bincount(groups[:, 1])
    return {
        "scores": [
            Score(name, mean, float(chance), of_label, float(label_chance))
            for name, mean, chance, of_label, label_chance in zip(
                names,
                bootstrap(means),
                chances.mean(axis=0),
                bootstrap(means, groups),
                per_label,
                strict=True,
            )
        ],
        "labels": [
            LabelScore(
                labels.names[number],
                labels.count(number, searched),
                int(queries[number]),
                dict(zip(names, by_label[number].tolist(), strict=False)),
            )
            for number in np.flatnonzero(queries).tolist()
        ],
    }


def _approximate(
    config: Config, version: Version, indexes: Indexes, asked: Sequence[int], k: int
) -> Approximate | None:
    """Search for some of the images by approximate and by exact search."""
    promise = Promise.of(version.manifest, config.index.recall)
    if indexes.approximate is None or promise is None:
        return None
    some = _chosen(np.array(asked), TIMED)
    shares, seconds = [], []
    for image_id in some:
        query = indexes.vectors.vectors(indexes.vectors.rows(np.array([image_id])))
        began = time.perf_counter()
        exact = indexes.exact.search(query, k + 1)
        between = time.perf_counter()
        found = indexes.approximate.search(query, k + 1, parameters=promise.parameters)
        seconds.append((between - began, time.perf_counter() - between))
        near, approximate = (
            one.distances[0][(one.ids[0] != image_id) & (one.ids[0] >= 0)][:k]
            for one in (exact, found)
        )
        shares.append((approximate <= near[-1]).sum() / len(near))
    exact_ms, ms = (np.median(seconds, axis=0) * 1000).tolist()
    return Approximate(len(some), float(np.mean(shares)), ms, exact_ms)
