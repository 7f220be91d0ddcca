"""Approximate search: factory strings, training, inverted lists on disk."""

from pathlib import Path

import faiss
import numpy as np
import pytest

from indexer.errors import ConfigError, StoreCorrupt
from indexer.vector_index import (
    ApproximateCoder,
    ApproximateIndex,
    ExactIndex,
    SearchParameters,
    choose_factory,
    code_size,
    resolve_factory,
)
from indexer.vector_index.factory import automatic_components, automatic_factory
from tests.vectors import DIM, approximate, assert_nearest, encoded, mapped, some_vectors


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
    ("count", "lists"), [(1, 1), (78, 2), (5_000, 128), (118_287, 688), (10_000_000, 6325)]
)
def test_auto_has_as_many_lists_as_suit_the_size_of_the_collection(count: int, lists: int) -> None:
    assert automatic_factory(4096, count, 256) == f"PCA256,IVF{lists},SQ8"
    assert automatic_factory(4096, count, 4096) == f"IVF{lists},SQ8"


@pytest.mark.parametrize(
    ("dim", "components"),
    [(1, [1]), (2, [1, 2]), (64, [16, 32, 64]), (1280, [256, 512, 1024, 1280])],
)
def test_auto_may_keep_more_coordinates_up_to_all(dim: int, components: list[int]) -> None:
    assert automatic_components(dim) == components
    assert code_size("auto", dim, 1000) == dim


def test_auto_keeps_the_coordinates_that_the_wanted_recall_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """16 coordinates suffice for vectors with 12 large coordinates and 52 small ones."""
    monkeypatch.setattr("indexer.vector_index.automatic.CANDIDATES", 40)
    scale = np.where(np.arange(64) < 12, 1, 0.2)
    vectors = np.random.default_rng(0).normal(size=(4000, 64)) * scale
    exact = ExactIndex(mapped(tmp_path, vectors.astype(np.float32), np.arange(4000)))
    assert choose_factory("auto", exact, 0.5) == "PCA16,IVF102,SQ8"
    assert choose_factory("auto", exact, 1.0) == "IVF102,SQ8"
    assert choose_factory("IVF7,Flat", exact, 1.0) == "IVF7,Flat"


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
    for nprobe, visited in ((1, 1), (5, 5), (None, 16)):
        faiss.cvar.indexIVF_stats.reset()
        parameters = SearchParameters(nprobe, 8) if nprobe else None
        index.search(vectors[:1], 3, parameters=parameters)
        assert faiss.cvar.indexIVF_stats.nlist == visited
    faiss.cvar.indexIVF_stats.reset()
    _, found, _ = index.search(vectors[:1], 45, parameters=SearchParameters(1, 8))
    assert (found >= 0).all()
    assert faiss.cvar.indexIVF_stats.nlist > 1


def test_a_query_that_needs_more_lists_does_not_widen_the_others(tmp_path: Path) -> None:
    crowd = some_vectors(1) + some_vectors(390, seed=1) * 0.01
    vectors = np.concatenate([crowd, some_vectors(10, seed=2)]).astype(np.float32)
    index = approximate(tmp_path, mapped(tmp_path, vectors, np.arange(400)), "IVF8,Flat")
    alone = index.proposed(vectors[:1], 20, SearchParameters(1, 300))
    together = index.proposed(vectors[[0, 395]], 20, SearchParameters(1, 300))
    assert together[0].tolist() == alone[0].tolist()
    assert (together[1] >= 0).sum() >= 20


def test_candidates_are_measured_as_many_as_the_parameters_say(tmp_path: Path) -> None:
    """With codes that are all alike, nearly all candidates must be measured."""
    vectors = some_vectors(2000, dim=64)
    index = approximate(tmp_path, mapped(tmp_path, vectors, np.arange(2000)), "PCA1,IVF1,SQ4")
    truth = np.argsort(((vectors - vectors[7]) ** 2).sum(axis=1))[:10]
    found = {
        reranked: len(
            np.intersect1d(
                index.search(vectors[7:8], 10, parameters=SearchParameters(1, reranked))[1], truth
            )
        )
        for reranked in (80, 1999)
    }
    assert found[80] < 5
    assert found[1999] >= 9


def test_codes_of_other_vectors_are_refused(tmp_path: Path) -> None:
    stored = mapped(tmp_path, some_vectors(40), np.arange(40))
    coder = ApproximateCoder.train(stored, "IVF4,Flat")
    files = encoded(tmp_path, "codes", coder, stored)
    with pytest.raises(StoreCorrupt, match="does not hold the codes of 14"):
        ApproximateIndex(coder, files[::-1], ExactIndex(stored))


def test_lists_are_filled_without_what_no_longer_counts(tmp_path: Path) -> None:
    vectors, deleted = some_vectors(900), np.arange(0, 900, 7)
    index = approximate(tmp_path, mapped(tmp_path, vectors, np.arange(900), deleted), "IVF9,Flat")
    alive = np.setdiff1d(np.arange(900), deleted)
    proposed = index.proposed(vectors[:1], 30, SearchParameters(9, 900))
    assert sorted(proposed[proposed >= 0].tolist()) == alive.tolist()
    distances, found, _ = index.search(vectors[1:2], 30)
    assert_nearest(distances[0], found[0], vectors[alive], alive, vectors[1])


@pytest.mark.parametrize("damage", ["lists", "rows", "truncated", "longer", "training"])
def test_damaged_codes_are_refused(tmp_path: Path, damage: str) -> None:
    stored = mapped(tmp_path, some_vectors(40), np.arange(40))
    coder = ApproximateCoder.train(stored, "IVF4,Flat")
    files = encoded(tmp_path, "codes", coder, stored)
    trained = tmp_path / "trained"
    trained.write_bytes(coder.to_bytes())
    content = files[0].read_bytes()
    with files[0].open("r+b") as file:
        sizes, at_rows = np.load(file), file.tell()
        rows = np.load(file)
        if damage == "lists":
            file.seek(0)
            np.save(file, np.roll(sizes, 1) + np.eye(1, 4, dtype=np.int64)[0])
        elif damage == "rows":
            file.seek(at_rows)
            np.save(file, np.where(rows == 3, 4, rows).astype(np.uint32))
    if damage == "truncated":
        files[0].write_bytes(content[:-9])
    elif damage == "longer":
        files[0].write_bytes(content + b"x")
    elif damage == "training":
        trained.write_bytes(trained.read_bytes()[:-9])
    with pytest.raises(StoreCorrupt):
        ApproximateIndex(ApproximateCoder.load(trained), files, ExactIndex(stored))


def test_there_is_a_training_vector_for_each_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.vector_index.inverted.MAX_TRAINING_BYTES", 4 * DIM * 30)
    vectors = mapped(tmp_path, some_vectors(200), np.arange(200))
    assert ApproximateCoder.train(vectors, "IVF40,SQ8").encode(vectors.parts[0].matrix).content


def test_too_few_vectors_to_train_on_are_an_error_of_the_setting(tmp_path: Path) -> None:
    vectors = mapped(tmp_path, some_vectors(30), np.arange(30))
    with pytest.raises(ConfigError, match="IVF40,SQ8 cannot be trained on 30 vectors"):
        ApproximateCoder.train(vectors, "IVF40,SQ8")
