"""The contract of vector indexes, checked on all of them against NumPy in float64."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import indexer.vector_index.approximate
import indexer.vector_index.exact
from indexer.vector_index import SearchParameters, VectorIndex
from indexer.vector_index.base import Ids, Vectors
from tests.vectors import (
    DIM,
    NOTHING,
    assert_nearest,
    brute_force,
    mapped,
    open_kind,
    parts,
    sharded,
    some_vectors,
)

Open = Callable[..., VectorIndex]
KINDS = [
    "exact",
    "shortlist",
    "IVF4,Flat",
    "IVF4,SQ8",
    "IVF4,SQfp16",
    "RR16,IVF4,Flat",
    "PCA16,IVF4,SQ8",
]
SHARDED = ["exact", "shortlist", "IVF4,Flat"]


@pytest.fixture(params=[*KINDS, *(f"sharded {kind}" for kind in SHARDED)])
def open_index(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Open:
    """Open an index of the parametrised kind over vectors, split into three segments.

    The limits below which all vectors are compared are lowered. Without parameters the approximate
    kinds visit all their lists, so they must find what exact search finds.
    """
    monkeypatch.setattr(indexer.vector_index.exact, "SEEDS", 2)
    monkeypatch.setattr(indexer.vector_index.approximate, "MIN_CANDIDATES", 32)

    def make(vectors: Vectors, ids: Ids, deleted: tuple[int, ...] = ()) -> VectorIndex:
        gone, kind = np.array(deleted, np.int64), request.param.removeprefix("sharded ")
        if kind != request.param:
            return sharded(kind, tmp_path, parts(tmp_path, vectors, ids), DIM, 2, gone)
        return open_kind(kind, tmp_path, mapped(tmp_path, vectors, ids, gone))

    return make


def test_the_nearest_are_found_with_their_distances(open_index: Open) -> None:
    vectors, ids = some_vectors(300), np.arange(300) * 7 + 5
    index = open_index(vectors, ids)
    queries = np.concatenate([some_vectors(3, seed=1), vectors[:2]])
    distances, found, _ = index.search(queries, 30)
    assert (distances.shape, found.shape) == ((5, 30), (5, 30))
    assert (distances.dtype, found.dtype) == (np.float32, np.int64)
    for row, query in enumerate(queries):
        assert_nearest(distances[row], found[row], vectors, ids, query)
    assert found[3, 0] == 5
    assert distances[3, 0] == 0


def test_many_queries_answer_as_one_does(open_index: Open) -> None:
    index = open_index(some_vectors(200), np.arange(200))
    queries = some_vectors(40, seed=2)
    together = index.search(queries, 5)
    for row, query in enumerate(queries):
        alone = index.search(query[np.newaxis], 5)
        assert np.array_equal(together[1][row], alone[1][0])
        np.testing.assert_allclose(together[0][row], alone[0][0], atol=1e-6)


def test_fewer_than_k_leave_empty_slots(open_index: Open) -> None:
    index = open_index(some_vectors(6), np.arange(6))
    distances, found, _ = index.search(some_vectors(1, seed=1), 9)
    assert sorted(found[0, :6].tolist()) == list(range(6))
    assert found[0, 6:].tolist() == [-1, -1, -1]
    assert np.isinf(distances[0, 6:]).all()


def test_deleted_ids_are_never_found(open_index: Open) -> None:
    vectors, ids = some_vectors(50), np.arange(50)
    index = open_index(vectors, ids, deleted=(0, 3, 49))
    _, found, _ = index.search(vectors[:4], 50)
    for row in found:
        assert sorted(row[row >= 0].tolist()) == sorted(set(range(50)) - {0, 3, 49})


@pytest.mark.parametrize("count", [1, 10, 100])
def test_only_allowed_ids_are_found_and_all_k_of_them(open_index: Open, count: int) -> None:
    vectors, ids = some_vectors(200), np.arange(200)
    index = open_index(vectors, ids, deleted=(199,))
    allowed = np.random.default_rng(3).permutation(199)[:count]
    query = some_vectors(1, seed=4)
    distances, found, _ = index.search(query, 10, allowed=np.append(allowed, [199, 12345]))
    found = found[found >= 0]
    assert len(found) == min(10, count)
    assert_nearest(
        distances[0, : len(found)], found, vectors[np.sort(allowed)], np.sort(allowed), query[0]
    )


def test_nothing_allowed_finds_nothing(open_index: Open) -> None:
    index = open_index(some_vectors(20), np.arange(20))
    assert (index.search(some_vectors(1), 5, allowed=np.empty(0, np.int64))[1] == -1).all()


def test_equal_vectors_come_in_order_of_their_ids(open_index: Open) -> None:
    vectors = np.repeat(some_vectors(1), 9, axis=0)
    index = open_index(vectors, np.array([9, 2, 7, 4, 5, 6, 3, 8, 1]))
    distances, found, _ = index.search(vectors[:1], 9)
    assert found[0].tolist() == list(range(1, 10))
    assert (distances == 0).all()


def test_threads_with_different_parameters_do_not_disturb_each_other(open_index: Open) -> None:
    vectors, ids = some_vectors(300), np.arange(300)
    index = open_index(vectors, ids)

    def search(number: int) -> bool:
        k = number % 7 + 1
        allowed = None if number % 2 else np.arange(number % 50 + 1)
        parameters = SearchParameters(4, 32 + number) if number % 3 else None  # of four lists
        query = vectors[number : number + 1]
        _, found, _ = index.search(query, k, allowed=allowed, parameters=parameters)
        wanted = vectors if allowed is None else vectors[allowed]
        best = np.argsort(brute_force(wanted, vectors[number]), kind="stable")[:k]
        return found[0][: len(best)].tolist() == best.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(search, range(300)))


def test_an_index_explains_how_many_images_each_stage_left(open_index: Open) -> None:
    index = open_index(some_vectors(300), np.arange(300))
    stages = index.search(some_vectors(2, seed=1), 3, allowed=np.arange(250)).stages
    assert stages[:2] == [("stored", 300), ("allowed", 250)]
    rows = [stage.rows for stage in stages]
    assert len(rows) > 2
    assert rows == sorted(rows, reverse=True)
    assert rows[-1] >= 3


def test_an_empty_index_answers_with_nothing(tmp_path: Path) -> None:
    index = open_kind("exact", tmp_path, mapped(tmp_path, np.empty((0, DIM), np.float32), NOTHING))
    for count in (2, 20):
        distances, found, _ = index.search(some_vectors(count), 3)
        assert found.tolist() == [[-1] * 3] * count
        assert np.isinf(distances).all()
