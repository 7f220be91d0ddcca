"""Searches of many threads in batches: results equal to single searches, to the last bit."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import indexer.vector_index.exact
import indexer.vector_index.shortlist
from indexer.search.batched_index import MAX_RESULTS, BatchedIndex
from indexer.vector_index import ExactIndex, Stage
from indexer.vector_index.base import Vectors
from tests.vectors import mapped, photo_like, shortlisted, some_vectors

COUNT = 3000
Answer = tuple[bytes, bytes]


def alone(index: ExactIndex | BatchedIndex, query: Vectors, k: int) -> Answer:
    distances, ids, _ = index.search(query[np.newaxis], k)
    return distances.tobytes(), ids.tobytes()


@pytest.fixture(params=["photo-like", "with equal ones", "random"])
def vectors(request: pytest.FixtureRequest) -> Vectors:
    if request.param == "random":
        return some_vectors(COUNT, dim=256)
    vectors = photo_like(COUNT)
    if request.param == "with equal ones":
        vectors[1::3] = vectors[::3]
        vectors[7:1000:5] = vectors[7]
    return vectors


@pytest.mark.parametrize("way", ["by shortlist", "many by shortlist", "no shortlist"])
def test_batched_results_equal_single_ones_to_the_last_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vectors: Vectors, way: str
) -> None:
    """Distances and order are equal, also for different numbers of results."""
    stored = mapped(tmp_path, vectors, np.arange(COUNT)[::-1] * 2)
    exact = ExactIndex(stored) if way == "no shortlist" else shortlisted(tmp_path, stored)
    if way != "no shortlist":
        monkeypatch.setattr(indexer.vector_index.exact, "BATCH_BELOW_BYTES", 0)
    if way == "many by shortlist":
        monkeypatch.setattr(indexer.vector_index.shortlist, "MULTIPLY_FROM", 8)
    gathered = BatchedIndex(exact)
    queries = np.concatenate([photo_like(20, seed=3), vectors[:20], some_vectors(5, 4, 256)])
    ks = [1 + 17 * n % 70 for n in range(len(queries))]
    expected = [alone(exact, query, k) for query, k in zip(queries, ks, strict=True)]
    together = gathered.search_each(list(queries), ks)
    assert [(own.distances.tobytes(), own.ids.tobytes()) for own in together] == expected
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda n: alone(gathered, queries[n], ks[n]), range(len(queries))))
    assert found == expected
    assert sum(size * n for size, n in gathered.batcher.sizes.items()) == 2 * len(queries)


def test_each_has_its_own_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.vector_index.exact, "BATCH_BELOW_BYTES", 0)
    vectors = photo_like(COUNT, dim=1280)
    gathered = BatchedIndex(shortlisted(tmp_path, mapped(tmp_path, vectors, np.arange(COUNT))))
    queries = [*vectors[:9], some_vectors(1, 5, 1280)[0]]
    stages = [own.stages for own in gathered.search_each(queries, [5] * 10)]
    for own in stages[:9]:
        assert own[0] == Stage("stored", COUNT)
        names = ["bound of 64 numbers", "bound of 128 numbers", "measured"]
        assert [stage.name for stage in own[1:]] == names
        assert own[1].rows >= own[2].rows == own[3].rows < COUNT / 2
    assert stages[9] == [Stage("stored", COUNT), Stage("compared", COUNT)]


def test_filtered_and_deep_searches_are_not_batched(tmp_path: Path) -> None:
    exact = ExactIndex(mapped(tmp_path, photo_like(COUNT), np.arange(COUNT)))
    gathered = BatchedIndex(exact)
    query = photo_like(1, seed=3)
    for k, allowed in ((5, np.arange(100)), (MAX_RESULTS + 1, None)):
        distances, ids, stages = gathered.search(query, k, allowed=allowed)
        assert np.array_equal(ids, exact.search(query, k, allowed=allowed)[1])
        assert (np.diff(distances) >= 0).all()
        assert stages[0] == Stage("stored", COUNT)
    assert not gathered.batcher.sizes
    gathered.search(query, MAX_RESULTS)
    assert gathered.batcher.sizes == {1: 1}
