"""Measuring approximate search: its recall against exact search, and its time.

There are two kinds of queries. *Stored*: images of the collection, each left out of its own result,
so that they stand for images that are not in it. *Mixed*: a stored vector mixed with one of its 50
nearest and changed at random, which is farther from all stored vectors.
"""

import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.vector_index.approximate import ApproximateIndex
from indexer.vector_index.base import Distances, Found, Ids, SearchParameters, VectorIndex, Vectors
from indexer.vector_index.exact import ExactIndex

K = 30
QUERIES = 256
"""Queries of each kind."""

RERANKED = (256, 512, 1024, 2048, 4096)
"""The numbers of candidates that are tried."""

NEAREST = 50
NOISE = 0.5
"""A vector is mixed with one of its :data:`NEAREST`. Its components are then multiplied by factors
whose logarithm has the standard deviation :data:`NOISE`."""

TIES = 64
"""How many neighbours are found. If all are as near as the 30th, the query is left out."""

ENOUGH_RECALL = 0.999
"""More lists than this recall takes are not tried."""

PLATEAU = 0.001
"""If doubling the lists twice gains less recall than this, no more are tried."""

MIN_GAIN = 0.0005
"""The least gain in recall for which a slower setting is kept."""

TIMED = 16
"""How many queries are timed."""

NORMAL_QUANTILE = 1.959964
"""The two-sided quantile of the normal distribution for a confidence of 95 %."""


class RecallPoint(NamedTuple):
    """Recall@30 of one setting: the means over stored and over mixed queries, and a lower bound."""

    nprobe: int
    reranked: int
    stored: float
    changed: float
    recall: float
    """The lower end of the 95 % confidence interval, for the kind where it is lower."""
    ms: float
    """Median of one query."""


class MeasuredRecall(NamedTuple):
    """The settings worth using, fastest first, each with a higher recall than the one before."""

    queries: int
    """How many queries of both kinds; 0 if the images are so few that exact search answers."""
    exact_ms: float
    """Median of one query of exact search."""
    points: list[RecallPoint]


class QuerySet(NamedTuple):
    """Queries float32 (n, dim) and the ids of their true neighbours (n, k), nearest first.

    All images as near as the 30th are among them, since it does not matter which of several
    equally near images is found. The rest of a row is -1.
    """

    queries: Vectors
    true: Ids


def measure_recall(exact: ExactIndex, approximate: ApproximateIndex) -> MeasuredRecall:
    """Measure recall@30 and time with 1, 2, 4, ... lists visited and 256, 512, ... re-ranked.

    More lists are tried until :data:`ENOUGH_RECALL` is reached or more gain nothing
    (:data:`PLATEAU`).
    """
    levels = [level for level in RERANKED if level < len(exact.vectors)]
    if not levels:  # such collections are left to exact search
        return MeasuredRecall(0, 0.0, [RecallPoint(1, RERANKED[0], 1.0, 1.0, 1.0, 0.0)])
    kinds = query_sets(exact, QUERIES)
    points: list[RecallPoint] = []
    best: list[float] = []
    for nprobe in _doubling(approximate.lists):
        points += _points(approximate, kinds, nprobe, levels)
        best.append(points[-1].recall)
        if best[-1] >= ENOUGH_RECALL or (len(best) > 2 and best[-1] < best[-3] + PLATEAU):
            break
    exact_ms, timed = _time(exact, approximate, _worth_timing(points), kinds)
    return MeasuredRecall(sum(len(kind.queries) for kind in kinds), exact_ms, _frontier(timed))


def _doubling(most: int) -> list[int]:
    return [*(2**n for n in range((most - 1).bit_length())), most]


def _points(
    approximate: ApproximateIndex,
    kinds: tuple[QuerySet, QuerySet],
    nprobe: int,
    levels: list[int],
) -> list[RecallPoint]:
    """Measure the recall of all numbers of candidates with one search per query."""
    shares = [_recalls(approximate, kind, SearchParameters(nprobe, levels[-1])) for kind in kinds]
    points = []
    for level in levels:
        stored, mixed = (_estimate(share[:, level - 1]) for share in shares)
        promised = min(stored.promised, mixed.promised)
        points.append(RecallPoint(nprobe, level, stored.mean, mixed.mean, promised, 0.0))
    return points


def query_sets(exact: ExactIndex, count: int) -> tuple[QuerySet, QuerySet]:
    """Return up to ``count`` stored and as many mixed queries, with their true neighbours."""
    random = np.random.default_rng(1)
    vectors = exact.vectors
    rows = np.sort(random.permutation(len(vectors))[:count])
    stored = vectors.vectors(rows)
    others, distances = _without_own(exact.search(stored, TIES + 1), vectors.ids[rows])
    near = random.integers(0, np.minimum((others >= 0).sum(axis=1), NEAREST))
    partners = vectors.vectors(vectors.rows(others[np.arange(len(rows)), near]))
    mixed = _mixed(stored, partners, random)
    found = exact.search(mixed, TIES)
    return _query_set(stored, distances, others), _query_set(mixed, found.distances, found.ids)


def _without_own(found: Found, own: Ids) -> tuple[Ids, Distances]:
    """Leave each query's own id out of the results: ids and distances (n, k - 1)."""
    distances, ids, _ = found
    is_own = ids == own[:, np.newaxis]
    is_own[~is_own.any(axis=1), -1] = (
        True  # it is not found if more than k images are at distance 0
    )
    shape = (len(ids), ids.shape[1] - 1)
    return ids[~is_own].reshape(shape), distances[~is_own].reshape(shape)


def _mixed(first: Vectors, second: Vectors, random: np.random.Generator) -> Vectors:
    """Mix pairs of vectors with noise, and keep as many components as were not 0."""
    share = random.random((len(first), 1), np.float32)
    mixed = share * first + (1 - share) * second
    mixed *= np.exp(random.normal(0, NOISE, mixed.shape)).astype(np.float32)
    active = np.maximum((first != 0).sum(axis=1), 1)
    sizes = np.abs(mixed)
    smallest = np.sort(sizes, axis=1)[np.arange(len(mixed)), mixed.shape[1] - active]
    mixed[sizes < smallest[:, np.newaxis]] = 0
    mixed /= np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-12)
    return mixed


def _query_set(queries: Vectors, distances: Distances, ids: Ids) -> QuerySet:
    k = min(K, int((ids >= 0).sum(axis=1).min(initial=K)))
    kth = distances[:, k - 1 : k]
    clear = distances[:, -1] > kth[:, 0]
    ids = np.where(distances <= kth, ids, -1)
    return QuerySet(queries[clear], ids[clear])


def _recalls(
    approximate: ApproximateIndex, asked: QuerySet, parameters: SearchParameters
) -> NDArray[np.float64]:
    """Return the recall among the first 1, 2, ... candidates of each query (n, m)."""
    found = approximate.proposed(asked.queries, K, parameters)
    shares = np.empty(found.shape)
    for number, (candidates, true) in enumerate(zip(found, asked.true, strict=True)):
        true = true[true >= 0]
        k = min(K, len(true))
        shares[number] = np.minimum(np.isin(candidates, true).cumsum(), k) / k
    return shares


class _Estimate(NamedTuple):
    mean: float
    promised: float


def _estimate(shares: NDArray[np.float64]) -> _Estimate:
    """Return the mean of the queries' recalls and the lower end of its confidence interval.

    Wilson's score interval for a proportion. The 30 results of a query are not independent trials,
    so the number of trials is set to that at which independent trials would have the variance of
    the queries' recalls, between one and 30 per query.
    """
    if not len(shares):  # all images are equally near
        return _Estimate(1.0, 1.0)
    mean, spread = float(shares.mean()), float(shares.var())
    most = len(shares) * K
    trials = most if spread == 0 else mean * (1 - mean) * len(shares) / spread
    trials = min(max(trials, len(shares)), most)
    square = NORMAL_QUANTILE**2 / trials
    half = (square * mean * (1 - mean) + square**2 / 4) ** 0.5
    return _Estimate(mean, (mean + square / 2 - half) / (1 + square))


def _worth_timing(points: list[RecallPoint]) -> list[RecallPoint]:
    """Leave out settings without more recall than one with no more lists and candidates."""
    return [
        point
        for number, point in enumerate(points)
        if not any(
            other.nprobe <= point.nprobe
            and other.reranked <= point.reranked
            and other.recall > point.recall - MIN_GAIN
            for other in points[:number]
        )
    ]


def _time(
    exact: ExactIndex,
    approximate: ApproximateIndex,
    points: list[RecallPoint],
    kinds: tuple[QuerySet, QuerySet],
) -> tuple[float, list[RecallPoint]]:
    """Return the median ms of exact search, and of each setting, measured in turns."""
    queries = np.concatenate([kind.queries[: TIMED // 2] for kind in kinds])
    searches: list[tuple[VectorIndex, SearchParameters | None]] = [(exact, None)]
    searches += [(approximate, SearchParameters(p.nprobe, p.reranked)) for p in points]
    seconds = np.zeros((len(searches), len(queries)))
    for column, query in enumerate(queries):
        for row, (index, parameters) in enumerate(searches):
            began = time.perf_counter()
            index.search(query[np.newaxis], K, parameters=parameters)
            seconds[row, column] = time.perf_counter() - began
    exact_ms, *ms = (
        (np.median(seconds, axis=1) * 1000).tolist() if len(queries) else [0.0] * len(searches)
    )
    return exact_ms, [p._replace(ms=median) for p, median in zip(points, ms, strict=True)]


def _frontier(points: list[RecallPoint]) -> list[RecallPoint]:
    """Return the settings with a higher recall than all faster ones, fastest first."""
    frontier: list[RecallPoint] = []
    for point in sorted(points, key=lambda point: (point.ms, -point.recall)):
        if not frontier or point.recall > frontier[-1].recall + MIN_GAIN:
            frontier.append(point)
    return frontier
