"""From what was measured of rankings to scores: means, intervals, chance, and each label's."""

import numpy as np
from numpy.typing import NDArray

from indexer.analysis.evaluation.measures import Mean, Values, bootstrap, group_means
from indexer.analysis.evaluation.rankings import Ids, Measured
from indexer.analysis.evaluation.results import LabelScore, Score
from indexer.analysis.labels import Labels


def scores(measured: Measured, k: int) -> list[Score]:
    """Return the score of each measure over all queries."""
    groups = measured.groups
    values, chances = measured.values[groups[:, 0]], measured.chances[groups[:, 0]]
    return [
        Score(name, mean, float(chance), of_label, float(label_chance))
        for name, mean, chance, of_label, label_chance in zip(
            _names(k),
            bootstrap(measured.values),
            measured.chances.mean(axis=0),
            bootstrap(values, groups),
            np.nanmean(group_means(chances, groups), axis=0),
            strict=True,
        )
    ]


def label_scores(labels: Labels, measured: Measured, searched: Ids, k: int) -> list[LabelScore]:
    """Return the scores of each label that an image has which was asked."""
    queries = np.bincount(measured.groups[:, 1])
    means = group_means(measured.values[measured.groups[:, 0]], measured.groups)
    groups, values = _with_others(measured)
    own = np.full((len(means), 2), np.nan)
    own_means = group_means(values, groups)
    own[: len(own_means)] = own_means
    return [
        LabelScore(
            labels.names[number],
            labels.count(number, searched),
            int(queries[number]),
            dict(zip(_names(k), means[number].tolist(), strict=True)),
            *(None if np.isnan(value) else float(value) for value in own[number]),
        )
        for number in np.flatnonzero(queries).tolist()
    ]


def own_precision(measured: Measured) -> tuple[Mean, float]:
    """Return the mean over the labels of their own mean average precision, and by chance."""
    groups, values = _with_others(measured)
    (mean,) = bootstrap(values[:, :1], groups)
    return mean, float(np.nanmean(group_means(values[:, 1:], groups)))


def differences(measured: Measured, first: Measured) -> list[Mean]:
    """Return the mean difference of each measure, of the same images asked."""
    return bootstrap(measured.values - first.values)


def own_difference(measured: Measured, first: Measured) -> Mean:
    """Return the mean over the labels of the differences of their own mean average precision."""
    groups, values = _with_others(measured)
    (mean,) = bootstrap(values[:, :1] - _with_others(first)[1][:, :1], groups)
    return mean


def _with_others(measured: Measured) -> tuple[NDArray[np.int64], Values]:
    """Return the pairs, and what was measured of them, whose label another image has."""
    chosen = ~np.isnan(measured.own[:, 0])
    return measured.groups[chosen], measured.own[chosen]


def _names(k: int) -> tuple[str, ...]:
    return f"P@{k}", f"R@{k}", "mAP", f"NDCG@{k}"
