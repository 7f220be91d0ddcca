"""Approximate search: which factory strings there are, training, recall."""

from itertools import pairwise
from pathlib import Path

import faiss
import numpy as np
import pytest

from indexer.errors import ConfigError, StoreCorrupt
from indexer.vector_index import (
    ApproximateCoder,
    ApproximateIndex,
    ExactIndex,
    code_size,
    measure_recall,
    resolve_factory,
)
from tests.vectors import DIM, approximate, encoded, mapped, photo_like, some_vectors


@pytest.mark.parametrize(
    "factory",
    ["IVFx", "", "Flat", "HNSW32", "SQ8", "IVF4,Flat,RFlat", "IVF4,PQ4+4", "IVF4_HNSW32,Flat"],
)
def test_a_factory_string_of_another_kind_is_refused(factory: str) -> None:
    with pytest.raises(ConfigError, match="is not supported"):
        resolve_factory(factory, DIM, 1000)


def test_a_factory_string_that_does_not_fit_the_dimension_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit 16-d"):
        resolve_factory("IVF4,PQ5", DIM, 1000)


@pytest.mark.parametrize(
    ("count", "factory"),
    [
        (1, "PCA256,IVF1,SQ8"),
        (78, "PCA256,IVF2,SQ8"),
        (5_000, "PCA256,IVF128,SQ8"),
        (118_287, "PCA256,IVF688,SQ8"),
        (10_000_000, "PCA256,IVF6325,SQ8"),
    ],
)
def test_auto_is_chosen_by_the_size_of_the_collection(count: int, factory: str) -> None:
    assert resolve_factory("auto", 4096, count) == factory
    assert 256 <= code_size("auto", 4096, count) <= 258


@pytest.mark.parametrize(
    ("factory", "needed"),
    [("IVF64,Flat", 64), ("IVF4,PQ4", 256), ("OPQ4_16,IVF4,PQ4", 256), ("auto", 1)],
)
def test_too_few_vectors_to_train_on_are_refused_on_both_sides(
    tmp_path: Path, factory: str, needed: int
) -> None:
    if needed > 1:
        with pytest.raises(ConfigError, match=f"at least {needed} images"):
            resolve_factory(factory, DIM, needed - 1)
    vectors = some_vectors(needed)
    stored = mapped(tmp_path, vectors, np.arange(needed))
    index = approximate(tmp_path, stored, resolve_factory(factory, DIM, needed))
    assert index.search(vectors[:3], 1)[1].ravel().tolist() == list(range(len(vectors[:3])))


def test_more_lists_are_visited_only_where_k_asks_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.vector_index.approximate.MIN_CANDIDATES", 8)
    vectors = some_vectors(400)
    index = approximate(tmp_path, mapped(tmp_path, vectors, np.arange(400)), "IVF16,Flat")
    faiss.cvar.indexIVF_stats.reset()
    for nprobe, visited in ((1, 1), (5, 5), (None, 16)):
        faiss.cvar.indexIVF_stats.reset()
        index.search(vectors[:1], 3, nprobe=nprobe)
        assert faiss.cvar.indexIVF_stats.nlist == visited
    faiss.cvar.indexIVF_stats.reset()
    _, found = index.search(vectors[:1], 45, nprobe=1)
    assert (found >= 0).all()
    assert faiss.cvar.indexIVF_stats.nlist > 1


def test_recall_grows_with_the_lists_visited_up_to_all_of_it(tmp_path: Path) -> None:
    stored = mapped(tmp_path, photo_like(3000), np.arange(3000))
    index = approximate(tmp_path, stored, "PCA64,IVF64,SQ8")
    points = measure_recall(ExactIndex(stored), index)
    recalls = [point.recall for point in points]
    assert points[0].nprobe == 1
    assert recalls[0] < recalls[-1]
    assert 0.99 < recalls[-1] <= 1
    assert [point.nprobe for point in points] == [2**n for n in range(len(points))]
    assert all(later > earlier - 0.01 for earlier, later in pairwise(recalls))


def test_recall_says_so_where_codes_are_too_coarse(tmp_path: Path) -> None:
    """All lists visited, and still not all neighbours found: it is measured, not assumed."""
    stored = mapped(tmp_path, some_vectors(4000, dim=64), np.arange(4000))
    index = approximate(tmp_path, stored, "PCA2,IVF4,SQ4")
    points = measure_recall(ExactIndex(stored), index)
    assert points[-1].nprobe == 4
    assert points[-1].recall < 0.9


def test_codes_of_other_vectors_are_refused(tmp_path: Path) -> None:
    stored = mapped(tmp_path, some_vectors(40), np.arange(40))
    coder = ApproximateCoder.train(stored, "IVF4,Flat")
    files = encoded(tmp_path, "codes", coder, stored)
    with pytest.raises(StoreCorrupt, match="does not hold the codes of 14"):
        ApproximateIndex(coder, files[::-1], ExactIndex(stored))


@pytest.mark.parametrize("damage", ["list that does not exist", "truncated", "training"])
def test_damaged_codes_are_refused(tmp_path: Path, damage: str) -> None:
    stored = mapped(tmp_path, some_vectors(40), np.arange(40))
    coder = ApproximateCoder.train(stored, "IVF4,Flat")
    files = encoded(tmp_path, "codes", coder, stored)
    trained = tmp_path / "trained"
    trained.write_bytes(coder.to_bytes())
    if damage == "list that does not exist":
        codes = np.load(files[0])
        codes[3, 0] = 200
        np.save(files[0], codes)
    elif damage == "truncated":
        files[0].write_bytes(files[0].read_bytes()[:-9])
    else:
        trained.write_bytes(trained.read_bytes()[:-9])
    with pytest.raises(StoreCorrupt):
        ApproximateIndex(ApproximateCoder.load(trained), files, ExactIndex(stored))
