"""What every vector index promises, checked on all of them against NumPy in float64."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.errors import ConfigError, StoreCorrupt, UnknownImage
from indexer.vector_index import (
    ApproximateIndex,
    ExactIndex,
    Part,
    VectorIndex,
    check_factory,
    flat_file,
    write_approximate,
)
from indexer.vector_index.base import Ids, Vectors

Open = Callable[..., VectorIndex]
DIM = 16
KINDS = ["exact", "IVF4,Flat", "IVF4,SQ8", "IVF4,SQfp16", "RR16,IVF4,Flat"]


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def some_vectors(count: int, seed: int = 0) -> Vectors:
    return unit(np.random.default_rng(seed).normal(size=(count, DIM)))


@pytest.fixture(params=KINDS)
def open_index(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Open an index of the parametrised kind over vectors, split into three segments.

    The approximate kinds visit all their lists, so that they have to find what exact search finds.
    """

    def make(vectors: Vectors, ids: Ids, deleted: tuple[int, ...] = ()) -> VectorIndex:
        exact = ExactIndex(parts(tmp_path, vectors, ids), DIM, np.array(deleted, np.int64))
        if request.param == "exact":
            return exact
        path = tmp_path / "approximate.faiss"
        write_approximate(exact, request.param, path)
        return ApproximateIndex(path, exact, nprobe=4)

    return make


def parts(folder: Path, vectors: Vectors, ids: Ids, count: int = 3) -> list[Part]:
    made = []
    for number, rows in enumerate(np.array_split(np.arange(len(ids)), count)):
        path = folder / f"{number}.faiss"
        path.write_bytes(flat_file(vectors[rows]))
        made.append(Part(path, ids[rows]))
    return made


def brute_force(vectors: Vectors, query: Vectors) -> np.ndarray:
    return np.linalg.norm(vectors.astype(np.float64) - query.astype(np.float64), axis=1)


def assert_nearest(
    distances: np.ndarray, found: np.ndarray, vectors: Vectors, ids: Ids, query: Vectors
) -> None:
    """The distances are those of the found ids, and no unfound id is nearer (ties aside)."""
    true = dict(zip(ids.tolist(), brute_force(vectors, query), strict=True))
    assert len(set(found.tolist())) == len(found)
    np.testing.assert_allclose(distances, [true[i] for i in found.tolist()], atol=1e-5)
    assert (np.diff(distances) >= 0).all()
    best = np.sort(brute_force(vectors, query))[: len(found)]
    np.testing.assert_allclose(distances, best, atol=1e-5)


def test_the_nearest_are_found_with_their_distances(open_index: Open) -> None:
    vectors, ids = some_vectors(300), np.arange(300) * 7 + 5
    index = open_index(vectors, ids)
    queries = np.concatenate([some_vectors(3, seed=1), vectors[:2]])
    distances, found = index.search(queries, 30)
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
    distances, found = index.search(some_vectors(1, seed=1), 9)
    assert sorted(found[0, :6].tolist()) == list(range(6))
    assert found[0, 6:].tolist() == [-1, -1, -1]
    assert np.isinf(distances[0, 6:]).all()


def test_deleted_ids_are_never_found(open_index: Open) -> None:
    vectors, ids = some_vectors(50), np.arange(50)
    index = open_index(vectors, ids, deleted=(0, 3, 49))
    _, found = index.search(vectors[:4], 50)
    for row in found:
        assert sorted(row[row >= 0].tolist()) == sorted(set(range(50)) - {0, 3, 49})


@pytest.mark.parametrize("count", [1, 10, 100])
def test_only_allowed_ids_are_found_and_all_k_of_them(open_index: Open, count: int) -> None:
    vectors, ids = some_vectors(200), np.arange(200)
    index = open_index(vectors, ids, deleted=(199,))
    allowed = np.random.default_rng(3).permutation(199)[:count]
    query = some_vectors(1, seed=4)
    distances, found = index.search(query, 10, allowed=np.append(allowed, [199, 12345]))
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
    distances, found = index.search(vectors[:1], 9)
    assert found[0].tolist() == list(range(1, 10))
    assert (distances == 0).all()


def test_threads_with_different_parameters_do_not_disturb_each_other(open_index: Open) -> None:
    vectors, ids = some_vectors(300), np.arange(300)
    index = open_index(vectors, ids)

    def search(number: int) -> bool:
        k = number % 7 + 1
        allowed = None if number % 2 else np.arange(number % 50 + 1)
        _, found = index.search(vectors[number : number + 1], k, allowed=allowed)
        wanted = vectors if allowed is None else vectors[allowed]
        best = np.argsort(brute_force(wanted, vectors[number]), kind="stable")[:k]
        return found[0][: len(best)].tolist() == best.tolist()

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(search, range(300)))


def test_an_empty_index_answers_with_nothing() -> None:
    index = ExactIndex([], DIM, np.empty(0, np.int64))
    distances, found = index.search(some_vectors(2), 3)
    assert found.tolist() == [[-1] * 3] * 2
    assert np.isinf(distances).all()


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e-4]), min_size=4, max_size=4),
        min_size=1,
        max_size=30,
    ),
    k=st.integers(1, 40),
    segments=st.integers(1, 4),
    data=st.data(),
)
def test_exact_search_is_brute_force_on_any_collection(
    tmp_path: Path, values: list[list[float]], k: int, segments: int, data: st.DataObject
) -> None:
    """Duplicates, zeros, k beyond the collection, filters, deletions."""
    vectors = np.array(values, np.float32)
    ids = np.arange(len(vectors)) + 100
    some_ids = st.lists(st.sampled_from(ids.tolist()), unique=True)
    deleted = np.array(data.draw(some_ids), np.int64)
    allowed = np.array(data.draw(some_ids), np.int64) if data.draw(st.booleans()) else None
    query = vectors[data.draw(st.integers(0, len(vectors) - 1))]
    index = ExactIndex(parts(tmp_path, vectors, ids, segments), 4, deleted)
    distances, found = index.search(query[np.newaxis], k, allowed=allowed)
    possible = ~np.isin(ids, deleted) & (True if allowed is None else np.isin(ids, allowed))
    found = found[0][found[0] >= 0]
    assert len(found) == min(k, possible.sum())
    assert set(found.tolist()) <= set(ids[possible].tolist())
    assert_nearest(distances[0, : len(found)], found, vectors[possible], ids[possible], query)


def test_stored_vectors_come_back_bit_for_bit(tmp_path: Path) -> None:
    vectors, ids = some_vectors(30), np.arange(30)[::-1] * 3
    index = ExactIndex(parts(tmp_path, vectors, ids), DIM, np.array([6]))
    assert np.array_equal(index.vectors(np.array([9, 0, 87])), vectors[[26, 29, 0]])
    for unknown in (6, 1, 90, -1):
        with pytest.raises(UnknownImage, match=str(unknown)):
            index.vectors(np.array([0, unknown]))


def test_a_segment_is_a_plain_faiss_file(tmp_path: Path) -> None:
    vectors = some_vectors(10)
    (tmp_path / "ours").write_bytes(flat_file(vectors))
    theirs = faiss.IndexFlatL2(DIM)
    theirs.add(vectors)
    faiss.write_index(theirs, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


@pytest.mark.parametrize("damage", ["truncated", "other kind", "other size", "noise", "missing"])
def test_a_file_that_is_not_the_segment_is_refused(tmp_path: Path, damage: str) -> None:
    (part,) = parts(tmp_path, some_vectors(10), np.arange(10), 1)
    content = part.path.read_bytes()
    if damage == "truncated":
        part.path.write_bytes(content[:-100])
    elif damage == "other kind":
        faiss.write_index(faiss.IndexFlatIP(DIM), str(part.path))
    elif damage == "other size":
        part.path.write_bytes(flat_file(some_vectors(9)))
    elif damage == "noise":
        part.path.write_bytes(b"noise" * 100)
    else:
        part.path.unlink()
    with pytest.raises(StoreCorrupt):
        ExactIndex([part], DIM, np.empty(0, np.int64))


@pytest.mark.parametrize(
    "factory",
    ["IVFx", "", "Flat", "HNSW32", "SQ8", "IVF4,Flat,RFlat", "IVF4,PQ4+4", "IVF4_HNSW32,Flat"],
)
def test_a_factory_string_of_another_kind_is_refused(factory: str) -> None:
    with pytest.raises(ConfigError, match="is not supported"):
        check_factory(factory, DIM, 1000)


def test_a_factory_string_that_does_not_fit_the_dimension_is_refused() -> None:
    with pytest.raises(ConfigError, match="does not fit 16-d"):
        check_factory("IVF4,PQ5", DIM, 1000)


@pytest.mark.parametrize(
    ("factory", "needed"),
    [("IVF64,Flat", 64), ("IVF4,PQ4", 256), ("PCA8,IVF4,SQ8", DIM), ("OPQ4_16,IVF4,PQ4", 256)],
)
def test_too_few_vectors_to_train_on_are_refused_on_both_sides(
    tmp_path: Path, factory: str, needed: int
) -> None:
    for count in (needed - 1, needed):
        vectors = some_vectors(count)
        made = parts(tmp_path, vectors, np.arange(count))
        exact = ExactIndex(made, DIM, np.empty(0, np.int64))
        if count < needed:
            with pytest.raises(ConfigError, match=f"at least {needed} images"):
                write_approximate(exact, factory, tmp_path / "ivf")
        else:
            write_approximate(exact, factory, tmp_path / "ivf")
            index = ApproximateIndex(tmp_path / "ivf", exact, nprobe=64)
            assert index.search(vectors[:3], 1)[1].ravel().tolist() == [0, 1, 2]


def test_more_lists_are_visited_only_where_k_asks_for_it(tmp_path: Path) -> None:
    vectors, ids = some_vectors(400), np.arange(400)
    exact = ExactIndex(parts(tmp_path, vectors, ids), DIM, np.empty(0, np.int64))
    write_approximate(exact, "IVF16,Flat", tmp_path / "ivf")
    index = ApproximateIndex(tmp_path / "ivf", exact, nprobe=1)
    faiss.cvar.indexIVF_stats.reset()
    index.search(vectors[:1], 3)
    assert faiss.cvar.indexIVF_stats.nlist == 1
    _, found = index.search(vectors[:1], 400)
    assert sorted(found[0].tolist()) == list(range(400))


def test_an_approximate_index_of_other_vectors_is_refused(tmp_path: Path) -> None:
    exact = ExactIndex(parts(tmp_path, some_vectors(40), np.arange(40)), DIM, np.empty(0, np.int64))
    write_approximate(exact, "IVF4,Flat", tmp_path / "ivf")
    fewer = ExactIndex(parts(tmp_path, some_vectors(30), np.arange(30)), DIM, np.empty(0, np.int64))
    with pytest.raises(StoreCorrupt, match="does not hold 30"):
        ApproximateIndex(tmp_path / "ivf", fewer, nprobe=1)
