"""Neighbour lists equal, to the last bit, what exact search finds for every vector by itself."""

from pathlib import Path

import numpy as np
import pytest

import indexer.vector_index.exact
import indexer.vector_index.neighbours
from indexer.vector_index import ExactIndex, MappedVectors
from indexer.vector_index.base import Ids, Vectors
from indexer.vector_index.neighbour_lists import Lists
from indexer.vector_index.neighbours import (
    SPARE,
    ApproximateNeighbours,
    ExactNeighbours,
    Neighbours,
)
from tests.vectors import approximate, mapped, photo_like, shortlisted, some_vectors

K = 10


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.vector_index.neighbours, "BLOCK", 200)
    monkeypatch.setattr(indexer.vector_index.exact, "SEEDS", 2)


def with_ties(count: int, seed: int = 0, dim: int = 64) -> Vectors:
    """Return vectors of which some occur twice, some 40 times, and some differ in the last bits."""
    vectors = photo_like(count, seed, dim)
    vectors[10:50] = vectors[10]
    vectors[60:200:2] = vectors[61:201:2]
    vectors[200:300] = np.nextafter(vectors[300:400], np.float32(1))
    return vectors[np.random.default_rng(seed).permutation(count)]


def found_singly(index: ExactIndex, ids: Ids, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ids (n, k) and distances of the k nearest others, each searched by itself."""
    rows = index.vectors.rows(ids)
    distances, found = [], []
    for image_id, row in zip(ids, rows, strict=True):
        one = index.search(index.vectors.vectors(np.array([row])), k + 1)
        others = one.ids[0] != image_id
        found.append(one.ids[0][others][:k])
        distances.append(one.distances[0][others][:k])
    return np.array(found), np.array(distances)


def start(vectors: MappedVectors, k: int = K) -> tuple[Lists, np.ndarray]:
    return Lists.empty(vectors.sorted_ids, k + SPARE), np.zeros(len(vectors), np.bool_)


def complete(neighbours: Neighbours) -> Lists:
    for _ in (*neighbours.grow(), *neighbours.finish()):
        pass
    return neighbours.lists


def assert_equal(lists: Lists, index: ExactIndex, k: int = K) -> None:
    ids, distances = found_singly(index, lists.ids, k)
    near = lists.near[:, :k]
    assert np.array_equal(np.where(near >= 0, lists.ids[near], -1), ids)
    assert np.array_equal(np.sqrt(lists.squared[:, :k]), distances)


@pytest.mark.parametrize("shortlist", [False, True])
def test_all_are_what_single_searches_find(tmp_path: Path, shortlist: bool) -> None:
    ids = np.random.default_rng(1).permutation(5000)[:1300]
    vectors = mapped(tmp_path, with_ties(1300), ids, ids[::9])
    index = shortlisted(tmp_path, vectors) if shortlist else ExactIndex(vectors)
    neighbours = ExactNeighbours(index, vectors, K, *start(vectors), measured=True)
    expected = neighbours.left
    assert_equal(complete(neighbours), index)
    assert neighbours.pairs == expected == len(vectors) * (len(vectors) - 1) // 2
    assert 40 * 8 / 9 - 1 <= neighbours.searched < 200  # those that occur 40 times, at least


def test_thousands_with_many_dimensions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.vector_index.neighbours, "BLOCK", 1024)
    vectors = mapped(tmp_path, photo_like(3000, dim=512), np.arange(3000))
    index = ExactIndex(vectors)
    neighbours = ExactNeighbours(index, vectors, K, *start(vectors), measured=True)
    assert_equal(complete(neighbours), index)
    assert neighbours.searched < 30


@pytest.mark.parametrize("count", [0, 1, 2, K, K + 1, K + SPARE, K + SPARE + 2])
def test_few_vectors_have_all_others_as_neighbours(tmp_path: Path, count: int) -> None:
    vectors = mapped(tmp_path, some_vectors(count), np.arange(count))
    index = ExactIndex(vectors)
    lists = complete(ExactNeighbours(index, vectors, K, *start(vectors), measured=True))
    if count:
        assert_equal(lists, index)
    assert ((lists.near[:, :K] >= 0).sum(axis=1) == min(K, max(count - 1, 0))).all()


def test_equal_vectors_are_neighbours_in_order_of_their_ids(tmp_path: Path) -> None:
    vectors = mapped(tmp_path, np.repeat(some_vectors(1), 300, axis=0), np.arange(300)[::-1])
    index = ExactIndex(vectors)
    neighbours = ExactNeighbours(index, vectors, K, *start(vectors), measured=True)
    lists = complete(neighbours)
    assert lists.near[0, :K].tolist() == list(range(1, K + 1))
    assert lists.near[299, :K].tolist() == list(range(K))
    assert neighbours.searched == 300


def test_what_is_new_costs_what_is_new(tmp_path: Path) -> None:
    all_vectors, ids = with_ties(1500), np.arange(1500)
    before = mapped(tmp_path, all_vectors[:1490], ids[:1490])
    lists = complete(ExactNeighbours(ExactIndex(before), before, K, *start(before), measured=True))
    gone = np.arange(0, 1490, 149)
    vectors = mapped(tmp_path, all_vectors, ids, gone)
    compared = vectors.sorted_ids < 1490
    index = ExactIndex(vectors)
    neighbours = ExactNeighbours(
        index, vectors, K, lists.among(vectors.sorted_ids), compared, measured=True
    )
    for _ in neighbours.grow():
        pass
    assert neighbours.pairs == 10 * (1490 - 10) + 10 * 9 // 2
    assert 10 <= neighbours.changed < 500
    for _ in neighbours.finish():
        pass
    assert_equal(neighbours.lists, index)
    assert neighbours.searched < 200


def test_lists_survive_that_nearly_all_are_gone(tmp_path: Path) -> None:
    all_vectors, ids = some_vectors(600), np.arange(600)
    before = mapped(tmp_path, all_vectors, ids)
    lists = complete(ExactNeighbours(ExactIndex(before), before, K, *start(before), measured=True))
    vectors = mapped(tmp_path, all_vectors, ids, ids[::2])
    index, everything = ExactIndex(vectors), np.ones(300, np.bool_)
    neighbours = ExactNeighbours(
        index, vectors, K, lists.among(vectors.sorted_ids), everything, measured=True
    )
    assert_equal(complete(neighbours), index)
    assert (neighbours.pairs, neighbours.changed) == (0, 0)
    assert 10 < neighbours.searched < 150


def test_nothing_is_done_again(tmp_path: Path) -> None:
    vectors = mapped(tmp_path, some_vectors(500), np.arange(500))
    index = ExactIndex(vectors)
    lists = complete(ExactNeighbours(index, vectors, K, *start(vectors), measured=True))
    again = ExactNeighbours(index, vectors, K, lists, np.ones(500, np.bool_), measured=True)
    complete(again)
    assert (again.left, again.pairs, again.changed, again.searched) == (0, 0, 0, 0)


def test_approximate_search_of_all_lists_finds_the_same_and_grows(tmp_path: Path) -> None:
    all_vectors, ids = photo_like(700, dim=64), np.arange(700)
    before = mapped(tmp_path, all_vectors[:600], ids[:600])
    index = approximate(tmp_path, before, "IVF4,Flat")
    neighbours = ApproximateNeighbours(index, before, K, *start(before), measured=True)
    lists = complete(neighbours)
    assert_equal(lists, ExactIndex(before))
    assert neighbours.searched == 600
    vectors = mapped(tmp_path, all_vectors, ids, np.array([5, 6]))
    grown = ApproximateNeighbours(
        approximate(tmp_path, vectors, "IVF4,Flat"),
        vectors,
        K,
        lists.among(vectors.sorted_ids),
        vectors.sorted_ids < 600,
        measured=True,
    )
    lists = complete(grown)
    assert 100 <= grown.searched < 120
    found, _ = found_singly(ExactIndex(vectors), lists.ids, K)
    same = [np.isin(lists.ids[lists.near[i, :K]], found[i]).mean() for i in range(698)]
    assert np.mean(same) > 0.98
