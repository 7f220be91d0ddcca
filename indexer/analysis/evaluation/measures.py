"""Measures of rankings, as trec_eval computes them, what chance would give, and their intervals.

A ranking is the gains of its images, an array (n,) in their order: 0 for what is irrelevant, 1 for
what is relevant, or how many labels an image shares with the query. All but NDCG ask only whether
the gain is 0.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Gains = NDArray[np.int64]
Values = NDArray[np.float64]

RESAMPLES = 1000
CONFIDENCE = 0.95


class Measures(NamedTuple):
    """What is measured of one ranking, or the mean of several."""

    precision: float
    """The share of relevant images among the first k."""
    recall: float
    """The share of the relevant images that are among the first k."""
    average_precision: float
    """The mean of the precisions at the ranks of all relevant images, over the whole ranking."""
    ndcg: float
    """The discounted gain of the first k, divided by that of the best order there can be."""


def measure(gains: Gains, k: int) -> Measures:
    """Measure a ranking in which something is relevant."""
    ranks = np.flatnonzero(gains) + 1
    among = int((ranks <= k).sum())
    precisions = np.arange(1, len(ranks) + 1) / ranks
    return Measures(
        precision=among / k,
        recall=among / len(ranks),
        average_precision=float(precisions.mean()),
        ndcg=_discounted(gains[:k]) / _best(gains, k),
    )


def chance(gains: Gains, k: int) -> Measures:
    """Return what is to be expected if the same images are in random order."""
    n, relevant = len(gains), int((gains > 0).sum())
    first = min(k, n)
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    others = (relevant - 1) / (n - 1) * (n - harmonic) if n > 1 else 0.0
    return Measures(
        precision=relevant / n * first / k,
        recall=first / n,
        average_precision=(harmonic + others) / n,
        ndcg=float(gains.mean()) * _discounted(np.ones(first, np.int64)) / _best(gains, k),
    )


def _best(gains: Gains, k: int) -> float:
    return _discounted(np.sort(gains[gains > 0])[::-1][:k])


def _discounted(gains: Gains) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())


class Mean(NamedTuple):
    """A mean over queries and its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap(values: Values, groups: NDArray[np.int64] | None = None) -> list[Mean]:
    """Return the mean of each column of ``values`` (queries, m), with bootstrap intervals.

    With ``groups`` (p, 2), pairs of a query and a group that it is in, the values are those of the
    pairs (p, m), and the mean is that over the groups of the means of their pairs. The queries are
    drawn anew :data:`RESAMPLES` times, always the same.
    """
    n = len(values) if groups is None else int(groups[:, 0].max()) + 1
    random = np.random.default_rng(0)
    drawn = [
        _mean(values, groups, np.bincount(random.integers(0, n, n), minlength=n))
        for _ in range(RESAMPLES)
    ]
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    mean = _mean(values, groups, np.ones(n, np.int64))
    return [Mean(*map(float, one)) for one in zip(mean, low, high, strict=True)]


def _mean(values: Values, groups: NDArray[np.int64] | None, times: NDArray[np.int64]) -> Values:
    """Return the mean of values if each query counts so many times."""
    if groups is None:
        mean: Values = times @ values / times.sum()
        return mean
    means = group_means(values, groups, times)
    return np.asarray(np.nanmean(means, axis=0), np.float64)


def group_means(
    values: Values, groups: NDArray[np.int64], times: NDArray[np.int64] | None = None
) -> Values:
    """Return the means (groups, m) of the values of pairs (p, m) of each group, NaN for none."""
    query, group = groups.T
    weights = np.ones(len(query)) if times is None else times[query].astype(np.float64)
    counts = np.bincount(group, weights)
    sums = [np.bincount(group, weights * column) for column in values.T]
    with np.errstate(invalid="ignore"):
        means: Values = np.stack(sums, axis=1) / counts[:, np.newaxis]
    return means
