"""Choosing what ``auto`` stands for: as few principal coordinates as reach the wanted recall."""

import numpy as np

from indexer.vector_index.base import Rows
from indexer.vector_index.exact import ExactIndex
from indexer.vector_index.factory import (
    AUTO,
    automatic_components,
    automatic_factory,
    resolve_factory,
)
from indexer.vector_index.principal import SAMPLE, PrincipalAxes, principal_axes
from indexer.vector_index.recall import K, QuerySet, query_sets

CANDIDATES = 1024
"""How many are measured exactly: this costs less than coding twice as many coordinates."""

QUERIES = 64
"""Queries of each kind that the choice is based on."""

COMPARED_BYTES = 2**29
"""Bytes of the vectors, a random sample, that the true neighbours are ranked among."""

BLOCK = 8192


def choose_factory(setting: str, exact: ExactIndex, recall: float) -> str:
    """Return the factory string to train for ``index.approximate`` and the wanted recall.

    Raises :class:`~indexer.errors.ConfigError` as :func:`resolve_factory` does.
    """
    dim, count = exact.vectors.dim, len(exact.vectors)
    if setting != AUTO:
        return resolve_factory(setting, dim, count)
    *fewer, most = automatic_components(dim)
    if count <= CANDIDATES:
        return automatic_factory(dim, count, fewer[0] if fewer else most)
    rows = np.random.default_rng(2).permutation(count)
    sample = exact.vectors.vectors(np.sort(rows[:SAMPLE]))
    compared = np.sort(rows[: COMPARED_BYTES // (4 * dim)])
    kinds = query_sets(exact, QUERIES)
    for components in fewer:
        axes = principal_axes(sample, components)
        found = min(_candidate_recall(exact, kind, axes, compared) for kind in kinds)
        if found >= (1 + recall) / 2:  # half of what may be missed is left to lists and rounding
            return automatic_factory(dim, count, components)
    return automatic_factory(dim, count, most)


def _candidate_recall(
    exact: ExactIndex, asked: QuerySet, axes: PrincipalAxes, compared: Rows
) -> float:
    """Estimate which share of the true neighbours is among the candidates if all lists are visited.

    Ranks are by the coordinates on these axes. A neighbour's rank among the compared sample is
    scaled up to the whole collection.
    """
    vectors = exact.vectors
    directions = axes.directions.astype(np.float32).T
    queries = asked.queries @ directions
    true = [ids[ids >= 0][:K] for ids in asked.true]
    limits = [
        np.square(vectors.vectors(vectors.rows(ids)) @ directions - query).sum(axis=1)
        for ids, query in zip(true, queries, strict=True)
    ]
    nearer = [np.zeros(len(ids), np.int64) for ids in true]
    for start in range(0, len(compared), BLOCK):
        block = vectors.vectors(compared[start : start + BLOCK]) @ directions
        lengths = np.square(block).sum(axis=1)
        for number, query in enumerate(queries):
            distances = np.sort(lengths - 2 * (block @ query) + query @ query)
            nearer[number] += np.searchsorted(distances, limits[number])
    ranks = np.concatenate([np.empty(0), *nearer]) * len(vectors) / len(compared)
    return float((ranks < CANDIDATES).mean()) if len(ranks) else 1.0
