"""Evaluate a collection: how well images that share a label find each other.

Some images are asked, each left out of its own ranking, which has all others, exactly. Only one
ranking is in memory at a time.
"""

import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from indexer.analysis.evaluation.beside import SameImages
from indexer.analysis.evaluation.measures import Measures
from indexer.analysis.evaluation.rankings import BIN_WIDTH, Ids, Measured, Rankings, measure_all
from indexer.analysis.evaluation.results import (
    Approximate,
    Asked,
    Distances,
    Evaluation,
    Result,
    Setting,
)
from indexer.analysis.evaluation.scoring import label_scores, own_precision, scores
from indexer.analysis.labels import Labels
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery
from indexer.search.filters import parse_filter, passing
from indexer.store import Catalogue, Store, Version
from indexer.vector_index.opened import Indexes
from indexer.vector_index.promise import Promise

K = 10
MAX_K = 10_000
SAMPLE = 2000

TIMED = 200
"""How many of the images are searched for by approximate search as well."""

EXAMPLES = 6
SHOWN = 10
"""How many of the best and of the worst queries are kept, and how many results of each."""


def evaluate(
    config: Config,
    *,
    by: str | None = None,
    k: int = K,
    queries: Sequence[str] = (),
    among: Sequence[str] = (),
    sample: int = SAMPLE,
    beside: Sequence[Path] = (),
) -> Evaluation:
    """Evaluate the published version by a field, or without one by the images' folders.

    Images that pass the filter ``queries`` are asked, at most ``sample`` of them, chosen at random
    but always the same; those that pass ``among`` are searched. With stores ``beside`` this one,
    only images that all have, by their content, are asked and searched, in each of them.

    Raises :class:`~indexer.errors.InvalidQuery` for a field that tells nothing and for a wrong
    filter, or if the stores have no image in common, :class:`~indexer.errors.NoMetadataIndex`,
    :class:`~indexer.errors.NoPublishedIndex`, and ConfigError for a bad k or sample.
    """
    _require_between("--k", k, 1, MAX_K)
    _require_between("--sample", sample, 1, 10**9)
    version = Store(config.store).open_published()
    indexes, index = Indexes.of(version), version.catalogue.metadata
    labels, ids = Labels(index, by), indexes.vectors.sorted_ids
    same = SameImages(version, beside) if beside else None
    if same:
        ids = same.ids
    searched = passing(index, parse_filter(among), ids)
    possible = passing(index, parse_filter(queries), np.intersect1d(labels.labelled, ids))
    chosen = _chosen(possible, sample)
    rankings = Rankings(indexes.vectors, labels, searched)
    measured = measure_all(rankings, labels, chosen.tolist(), k)
    asked = measured.asked
    if not len(asked):
        raise InvalidQuery(
            f"No image shares its {labels.field} with another one that is searched.",
            "Name another field: --by FIELD. `lookalike status --fields` lists them.",
        )
    own, own_chance = own_precision(measured)
    return Evaluation(
        version=version.id,
        encoder=version.manifest.encoder,
        by=labels.field,
        k=k,
        images=len(searched),
        queries=len(asked),
        possible=len(possible),
        alone=len(chosen) - len(asked),
        scores=scores(measured, k),
        labels=label_scores(labels, measured, searched, k),
        own=own,
        own_chance=own_chance,
        distances=_distances(measured),
        **_examples(version.catalogue, labels, rankings, measured),
        approximate=None if among else _approximate(config, version, indexes, asked, k),
        beside=same.compare(measured, labels, searched, k) if same else [],
        only=same.only[0] if same else 0,
    )


def _require_between(option: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{option} is {value}; it can be {low} to {high:,}.")


def _chosen(ids: Ids, sample: int) -> Ids:
    """Return all ids, or some of them that are always the same, ascending."""
    if len(ids) <= sample:
        return ids
    return np.sort(np.random.default_rng(0).choice(ids, sample, replace=False))


def _distances(measured: Measured) -> Distances:
    """Return the histograms of distances without the empty bins at both ends."""
    used = np.flatnonzero(measured.relevant + measured.irrelevant)
    first, end = int(used[0]), int(used[-1]) + 1
    return Distances(
        [round(edge * BIN_WIDTH, 4) for edge in range(first, end + 1)],
        measured.relevant[first:end].tolist(),
        measured.irrelevant[first:end].tolist(),
    )


def _examples(
    catalogue: Catalogue, labels: Labels, rankings: Rankings, measured: Measured
) -> dict[str, Any]:
    """Return the best and the worst queries with their first results."""
    precisions = measured.values[:, Measures._fields.index("average_precision")]

    def examples(places: Iterable[int]) -> list[Asked]:
        return [
            _asked(catalogue, labels, rankings, int(measured.asked[place]), precisions[place])
            for place in _of_different_labels(labels, measured.asked, places)
        ]

    worst, best = (np.argsort(sign * precisions, kind="stable") for sign in (1, -1))
    return {"best": examples(best.tolist()), "worst": examples(worst.tolist())}


def _of_different_labels(labels: Labels, asked: Ids, places: Iterable[int]) -> list[int]:
    """Return the first places, each of an image with a label that none before it has."""
    chosen, seen = [], set[int]()
    for place in places:
        own = labels.of(int(asked[place]))
        if not seen.issuperset(own):
            chosen.append(place)
            seen.update(own)
        if len(chosen) == EXAMPLES:
            break
    return chosen


def _asked(
    catalogue: Catalogue, labels: Labels, rankings: Rankings, image_id: int, precision: float
) -> Asked:
    ranking = rankings.of(image_id)
    first = ranking.ids[:SHOWN].tolist()
    keys = catalogue.keys([image_id, *first])
    shown = zip(first, ranking.distances.tolist(), ranking.gains.tolist(), strict=False)
    return Asked(
        image_id,
        keys[image_id],
        [labels.names[number] for number in labels.of(image_id)],
        float(precision),
        int((ranking.gains > 0).sum()),
        [Result(one, keys[one], distance, shared) for one, distance, shared in shown],
    )


def _approximate(
    config: Config, version: Version, indexes: Indexes, asked: Ids, k: int
) -> Approximate | None:
    """Search for some of the images by approximate and by exact search."""
    promise = Promise.of(version.manifest, config.index.recall)
    if indexes.approximate is None or promise is None:
        return None
    some = _chosen(asked, TIMED)
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
    points = promise.measured.points if promise.measured.queries else ()
    settings = [
        Setting(one.nprobe, one.reranked, one.recall, one.ms, one == promise.point)
        for one in points
    ]
    return Approximate(len(some), float(np.mean(shares)), ms, exact_ms, settings)
