"""Measures of rankings: chance levels by trying all orders, intervals against theory."""

from itertools import permutations

import numpy as np
import pytest

from indexer.analysis.evaluation.measures import bootstrap, chance, group_means, measure


@pytest.mark.parametrize("gains", [[1], [1, 0], [0, 2, 1, 0], [1, 1, 0, 0, 0, 3], [1, 1, 1]])
@pytest.mark.parametrize("k", [1, 3, 10])
def test_chance_is_the_mean_over_all_orders(gains: list[int], k: int) -> None:
    every = [measure(np.array(order), k) for order in permutations(gains)]
    assert chance(np.array(gains), k) == pytest.approx(np.mean(every, axis=0), abs=1e-12)


def test_a_perfect_ranking_and_the_worst() -> None:
    assert measure(np.array([3, 2, 1, 0, 0]), 3) == (1, 1, 1, 1)
    worst = measure(np.array([0, 0, 0, 1]), 3)
    assert worst == (0, 0, pytest.approx(0.25), 0)


def test_precision_counts_empty_places() -> None:
    assert measure(np.array([1, 1]), 10).precision == pytest.approx(0.2)


def test_intervals_are_as_wide_as_theory_says_and_always_the_same() -> None:
    values = np.random.default_rng(3).normal(5, 2, (400, 2))
    first, second = bootstrap(values)
    assert first.value == pytest.approx(values[:, 0].mean())
    half = 1.96 * values[:, 0].std() / 20
    assert first.high - first.value == pytest.approx(half, rel=0.2)
    assert first.value - first.low == pytest.approx(half, rel=0.2)
    assert bootstrap(values) == [first, second]
    assert bootstrap(np.ones((9, 1))) == [(1, 1, 1)]


def test_groups_count_once_however_many_queries_they_have() -> None:
    values = np.array([[1.0], [1.0], [1.0], [0.0], [0.5]])
    groups = np.array([[0, 0], [1, 0], [2, 0], [3, 1], [4, 1], [4, 3]])
    values = values[groups[:, 0]]
    means = group_means(values, groups)[:, 0]
    assert means[[0, 1, 3]].tolist() == [1, 0.25, 0.5]
    assert np.isnan(means[2])
    (mean,) = bootstrap(values, groups)
    assert mean.value == pytest.approx((1 + 0.25 + 0.5) / 3)
    assert mean.low < mean.value < mean.high
