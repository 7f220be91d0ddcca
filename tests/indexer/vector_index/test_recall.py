"""Recall: measured for several settings, promised with confidence, reported if it is too low."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from indexer.store import Derived, Recall, RecallPoint
from indexer.store.files import FileRecord
from indexer.vector_index import ApproximateIndex, ExactIndex, SearchParameters, measure_recall
from indexer.vector_index import recall as module
from indexer.vector_index.promise import Promise
from indexer.vector_index.recall import K, query_sets
from tests.vectors import approximate, brute_force, mapped, photo_like, some_vectors, unit


def test_settings_that_find_more_take_longer_and_promise_less_than_they_found(
    tmp_path: Path,
) -> None:
    stored = mapped(tmp_path, photo_like(3000), np.arange(3000))
    measured = measure_recall(ExactIndex(stored), approximate(tmp_path, stored, "PCA64,IVF64,SQ8"))
    assert measured.queries == 512
    assert measured.exact_ms > 0
    for before, after in pairwise(measured.points):
        assert before.ms <= after.ms
        assert before.recall < after.recall
    for point in measured.points:
        assert 0 < point.recall < min(point.stored, point.changed)
    assert measured.points[-1].recall > 0.99


def test_what_is_measured_is_what_a_search_finds(tmp_path: Path) -> None:
    vectors = photo_like(3000)
    stored = mapped(tmp_path, vectors, np.arange(3000))
    index = approximate(tmp_path, stored, "PCA16,IVF64,SQ8")
    for point in measure_recall(ExactIndex(stored), index).points:
        shares = []
        for asked in query_sets(ExactIndex(stored), 256):
            parameters = SearchParameters(point.nprobe, point.reranked)
            _, found, _ = index.search(asked.queries, K + 1, parameters=parameters)
            shares.append(
                np.mean([np.isin(true[:K], own).mean() for true, own in zip(asked.true, found)])  # noqa: B905
            )
        assert (point.stored, point.changed) == pytest.approx(shares, abs=1e-9)


def test_stored_queries_do_not_find_themselves_and_mixed_ones_are_not_stored(
    tmp_path: Path,
) -> None:
    vectors = photo_like(500)
    stored, mixed = query_sets(ExactIndex(mapped(tmp_path, vectors, np.arange(500))), 100)
    own = np.flatnonzero((vectors[:, np.newaxis] == stored.queries).all(axis=2).any(axis=1))
    assert len(own) == len(stored.queries) == len(mixed.queries) == 100
    for asked, nearest in ((stored, 1), (mixed, 0)):
        for query, true in zip(asked.queries, asked.true, strict=True):
            expected = np.argsort(brute_force(vectors, query))[nearest : nearest + K]
            assert true[true >= 0].tolist() == expected.tolist()
    for query in mixed.queries:
        assert 0.01 < brute_force(vectors, query).min() < 1
    np.testing.assert_allclose(np.linalg.norm(mixed.queries, axis=1), 1, atol=1e-5)


def test_no_more_lists_are_visited_once_they_bring_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With codes of two coordinates recall is low, however many of the 256 lists are visited."""
    monkeypatch.setattr(module, "TIMED", 0)
    centres = np.repeat(unit(np.eye(64)[:16]), 500, axis=0)
    vectors = unit(centres + some_vectors(8000, dim=64) * 0.2)
    stored = mapped(tmp_path, vectors, np.arange(8000))
    index = approximate(tmp_path, stored, "PCA2,IVF256,SQ4")
    visited = []
    proposed = ApproximateIndex.proposed

    def counting(self, queries, k, parameters):  # type: ignore[no-untyped-def]
        visited.append(parameters.nprobe)
        return proposed(self, queries, k, parameters)

    monkeypatch.setattr(ApproximateIndex, "proposed", counting)
    monkeypatch.setattr(module, "RERANKED", (64,))
    measured = measure_recall(ExactIndex(stored), index)
    assert visited == sorted(visited)
    assert max(visited) < 256
    assert measured.points[-1].recall < 0.9


def test_so_few_images_that_all_are_compared_are_not_measured(tmp_path: Path) -> None:
    stored = mapped(tmp_path, photo_like(256), np.arange(256))
    index = approximate(tmp_path, stored, "IVF4,SQ8")
    measured = measure_recall(ExactIndex(stored), index)
    assert measured == (0, 0.0, [(1, 256, 1.0, 1.0, 1.0, 0.0)])
    (point,) = measured.points
    parameters = SearchParameters(point.nprobe, point.reranked)
    found = index.search(stored.vectors(np.arange(256)), K, parameters=parameters)
    truth = ExactIndex(stored).search(stored.vectors(np.arange(256)), K)
    assert np.array_equal(found[1], truth[1])


def test_queries_without_a_clear_answer_are_left_out(tmp_path: Path) -> None:
    """Among 300 equal images it does not matter which 30 are found."""
    same = np.repeat(some_vectors(1), 300, axis=0)
    vectors = np.concatenate([same, some_vectors(300, seed=1)])
    exact = ExactIndex(mapped(tmp_path, vectors, np.arange(600)))
    stored, _ = query_sets(exact, 600)
    assert 200 < len(stored.queries) <= 300
    assert not (stored.queries == same[0]).all(axis=1).any()


@pytest.mark.parametrize(
    ("shares", "low", "high"),
    [
        (np.ones(256), 0.9990, 0.9996),  # Wilson with 7,680 trials: the bound is below 1
        (np.repeat([0.0, 1.0], [16, 240]), 0.900, 0.902),  # all or nothing: 256 trials
        (np.full(256, 0.9), 0.893, 0.894),  # no spread: 7,680 trials
    ],
)
def test_the_promise_is_the_lower_end_of_wilsons_interval(
    shares: np.ndarray, low: float, high: float
) -> None:
    estimate = module._estimate(shares)
    assert estimate.mean == shares.mean()
    assert low < estimate.promised < high


def test_the_promise_holds_for_nearly_all_samples() -> None:
    """The lower end exceeds the true mean in 2.5 % of the samples."""
    random = np.random.default_rng(0)
    everything = np.minimum(random.binomial(30, random.beta(60, 1, 100_000)), 30) / 30
    above = [
        module._estimate(random.choice(everything, 256)).promised > everything.mean()
        for _ in range(1000)
    ]
    assert np.mean(above) < 0.04


def promise(wanted: float, *points: tuple[int, int, float, float], exact_ms: float = 5) -> Promise:
    recall = Recall(
        count=1_000_000,
        last_id=1_000_000,
        queries=512,
        exact_ms=exact_ms,
        points=tuple(
            RecallPoint(nprobe=n, reranked=r, stored=found + 0.005, changed=1, recall=found, ms=ms)
            for n, r, found, ms in points
        ),
    )
    nothing = FileRecord(bytes=0, sha256="")
    made = Promise.of_index(
        Derived(
            folder="1", setting="auto", made_by="PCA256,IVF2000,SQ8", trained=nothing,
            trained_count=1, trained_error=0, parts={}, recall=recall,
        ),
        wanted,
    )  # fmt: skip
    assert made
    return made


def test_the_fastest_setting_is_used_that_finds_what_is_wanted() -> None:
    points = [(4, 256, 0.8, 1.0), (8, 512, 0.95, 2.0), (64, 1024, 0.992, 4.0)]
    for wanted, chosen in ((0.5, 0), (0.8, 0), (0.81, 1), (0.95, 1), (0.99, 2)):
        made = promise(wanted, *points)
        assert made.parameters == SearchParameters(*points[chosen][:2])
        assert made.is_kept
        assert made.notes == []


def test_a_low_promise_and_a_faster_exact_search_are_reported() -> None:
    made = promise(0.99, (4, 256, 0.8, 1.0), (16, 512, 0.891, 83.0), exact_ms=65)
    assert made.parameters == SearchParameters(16, 512)
    assert not made.is_kept
    short, slow = made.notes
    assert "promises 89.1 % of the 30 nearest, not the 99 % that index.recall asks for" in short
    assert "PCA256,IVF2000,SQ8 cannot tell more of them apart" in short
    assert "65.0 ms, where approximate search takes 83.0 ms" in slow
    assert made.to_json()["notes"] == made.notes


def test_a_recall_that_was_reached_but_not_proved_is_reported() -> None:
    made = promise(1.0, (16, 512, 0.9995, 1.0))
    (note,) = made.notes
    assert "promises 99.95 % of the 30 nearest, not the 100 %" in note
    assert "512 queries do not prove more" in note
