"""Exact search: the proof holds on any collection, and saves reading on typical ones."""

import gc
import weakref
from pathlib import Path

import faiss
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import indexer.vector_index.exact
import indexer.vector_index.flat
from indexer.errors import StoreCorrupt, UnknownImage
from indexer.vector_index import (
    ExactIndex,
    MappedVectors,
    Shortlist,
    ShortlistCoder,
    flat_file,
    merged_file,
    shortlist_levels,
)
from indexer.vector_index.base import Vectors
from indexer.vector_index.shortlist import MULTIPLY_FROM, QueryBounds
from tests.vectors import (
    DIM,
    NOTHING,
    assert_nearest,
    brute_force,
    encoded,
    mapped,
    parts,
    photo_like,
    shortlisted,
    some_vectors,
    unit,
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    values=st.lists(
        st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e-4, 1e3]), min_size=4, max_size=4),
        min_size=1,
        max_size=60,
    ),
    k=st.integers(1, 70),
    queries=st.integers(1, 10),
    segments=st.integers(1, 4),
    shortlist=st.booleans(),
    data=st.data(),
)
def test_exact_search_is_brute_force_on_any_collection(
    tmp_path: Path,
    values: list[list[float]],
    k: int,
    queries: int,
    segments: int,
    shortlist: bool,
    data: st.DataObject,
) -> None:
    """Duplicates, zeros, k beyond the collection, filters, deletions, one query and many."""
    vectors = np.array(values, np.float32)
    ids = np.arange(len(vectors)) + 100
    some_ids = st.lists(st.sampled_from(ids.tolist()), unique=True)
    deleted = np.array(data.draw(some_ids), np.int64)
    allowed = np.array(data.draw(some_ids), np.int64) if data.draw(st.booleans()) else None
    chosen = vectors[data.draw(st.lists(st.integers(0, len(vectors) - 1), min_size=1))][:queries]
    stored = MappedVectors(parts(tmp_path, vectors, ids, segments), 4, deleted)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer.vector_index.exact, "SEEDS", 1)
        index = shortlisted(tmp_path, stored) if shortlist and len(stored) else ExactIndex(stored)
        distances, found, _ = index.search(chosen, k, allowed=allowed)
    possible = ~np.isin(ids, deleted) & (True if allowed is None else np.isin(ids, allowed))
    scale = max(1.0, float(np.abs(vectors).max()))
    for query, own_distances, own in zip(chosen, distances, found, strict=True):
        own = own[own >= 0]
        assert len(own) == min(k, possible.sum())
        assert set(own.tolist()) <= set(ids[possible].tolist())
        assert_nearest(
            own_distances[: len(own)] / scale,
            own,
            vectors[possible] / scale,
            ids[possible],
            query / scale,
        )


def test_no_vector_within_tau_is_ruled_out(tmp_path: Path) -> None:
    """The proof itself, for any tau, on vectors of very different lengths."""
    random = np.random.default_rng(5)
    vectors = photo_like(500) * random.choice([1e-3, 1, 1e3], (500, 1)).astype(np.float32)
    stored = mapped(tmp_path, vectors, np.arange(500))
    coder = ShortlistCoder.train(stored)
    shortlist = Shortlist(coder, encoded(tmp_path, "codes", coder, stored), stored)
    for count in (1, MULTIPLY_FROM):  # few queries get first-level bounds, many last-level ones
        queries = vectors[random.permutation(500)[:count]] * np.float32(1.1)
        for allowed in (None, np.arange(5, 400, 3), np.arange(3, 40)):
            possible = np.zeros(500, np.bool_)
            possible[allowed] = True
            bounds = shortlist.bounds(queries, allowed)
            for query, own in zip(queries, bounds, strict=True):
                squared = brute_force(vectors, query) ** 2
                for tau in (0.0, *np.quantile(squared, (0.01, 0.2, 0.9))):
                    left: QueryBounds | None = own
                    while left is not None:
                        left = left.within(float(tau))
                        assert np.isin(left.rows, np.flatnonzero(possible)).all()
                        assert np.isin(np.flatnonzero(possible & (squared <= tau)), left.rows).all()
                        left = left.next_level()


def test_levels_suit_the_dimension_and_stay_small() -> None:
    assert shortlist_levels(4096) == ((63, 1), (392, 56))
    assert shortlist_levels(1280) == ((63, 1), (112, 16))
    for dim in (4, 16, 200, 512, 1280, 4096):
        levels = shortlist_levels(dim)
        assert levels[0].width * 4 <= max(8, dim)
        assert all(level.axes < dim for level in levels)


def test_the_shortlist_reads_few_of_the_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.vector_index.exact, "BATCH_BELOW_BYTES", 0)
    vectors = photo_like(5000, dim=1280)
    index = shortlisted(tmp_path, mapped(tmp_path, vectors, np.arange(5000)))
    some = [photo_like(count, seed=3, dim=1280) for count in (1, 12, MULTIPLY_FROM)]
    for queries in (vectors[:1], *some):
        distances, found, stages = index.search(queries, 5)
        assert [stage.name for stage in stages][-1] == "measured"
        assert stages[-1].rows < 1500
        assert_nearest(distances[0], found[0], vectors, np.arange(5000), queries[0])


@pytest.mark.parametrize("collection", ["gaussian", "equal", "one cluster", "all zero but one"])
def test_where_no_bound_helps_every_vector_is_compared(tmp_path: Path, collection: str) -> None:
    random = np.random.default_rng(0)
    vectors = {
        "gaussian": some_vectors(3000, dim=256),
        "equal": np.repeat(some_vectors(1, dim=256), 3000, axis=0),
        "one cluster": unit(1 + 1e-4 * random.normal(size=(3000, 256))),
        "all zero but one": np.zeros((3000, 256), np.float32),
    }[collection]
    vectors[7] = some_vectors(1, seed=1, dim=256)
    index = shortlisted(tmp_path, mapped(tmp_path, vectors, np.arange(3000)))
    for queries in (vectors[:1], vectors[7:8], some_vectors(1, 4, 256), some_vectors(9, 5, 256)):
        distances, found, stages = index.search(queries, 10)
        assert_nearest(distances[0], found[0], vectors, np.arange(3000), queries[0])
        assert stages[-1].name in ("measured", "compared")


def test_more_queries_than_fit_into_memory_take_turns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = some_vectors(2000)
    stored = mapped(tmp_path, vectors, np.arange(2000))
    queries = some_vectors(30, seed=1)
    for index in (ExactIndex(stored), shortlisted(tmp_path, stored)):
        together = index.search(queries, 5)
        monkeypatch.setattr(indexer.vector_index.exact, "BOUND_BYTES", 4 * 2000 * 9)
        in_turns = index.search(queries, 5)
        assert np.array_equal(together[1], in_turns[1])
        monkeypatch.undo()


def test_stored_vectors_come_back_bit_for_bit(tmp_path: Path) -> None:
    vectors, ids = some_vectors(30), np.arange(30)[::-1] * 3
    stored = mapped(tmp_path, vectors, ids, np.array([6]))
    assert np.array_equal(stored.vectors(stored.rows(np.array([9, 0, 87]))), vectors[[26, 29, 0]])
    for unknown in (6, 1, 90, -1):
        with pytest.raises(UnknownImage, match=str(unknown)):
            stored.rows(np.array([0, unknown]))


def test_resident_vectors_are_locked_or_it_is_said_why_not(tmp_path: Path) -> None:
    import resource

    stored = mapped(tmp_path, some_vectors(30), np.arange(30))
    assert stored.make_resident() is None
    limits = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    assert limits[0] != 0  # otherwise the line above shows nothing


def test_a_segment_is_a_plain_faiss_file(tmp_path: Path) -> None:
    vectors = some_vectors(10)
    (tmp_path / "ours").write_bytes(flat_file(vectors))
    theirs = faiss.IndexFlatL2(DIM)
    theirs.add(vectors)
    faiss.write_index(theirs, str(tmp_path / "theirs"))
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_files_are_merged_row_by_row_into_a_plain_faiss_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.vector_index.flat, "MERGE_BYTES", 3 * DIM * 4)
    vectors = some_vectors(20)
    first, second = parts(tmp_path, vectors, np.arange(20), 2)
    chosen = [(first.path, np.arange(1, 9)), (second.path, np.array([0, 3, 9]))]
    merged = b"".join(merged_file(chosen, DIM))
    assert merged == bytes(flat_file(vectors[[*range(1, 9), 10, 13, 19]]))
    assert b"".join(merged_file([(first.path, NOTHING)], DIM)) == bytes(flat_file(vectors[:0]))


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
        MappedVectors([part], DIM, NOTHING)


@pytest.mark.parametrize("damage", ["truncated", "of other vectors", "no array", "pickled"])
@pytest.mark.parametrize("which", ["codes", "training"])
def test_a_damaged_shortlist_is_refused(tmp_path: Path, which: str, damage: str) -> None:
    stored = mapped(tmp_path, photo_like(60), np.arange(60))
    coder = ShortlistCoder.train(stored)
    files = encoded(tmp_path, "codes", coder, stored)
    trained = tmp_path / "trained"
    trained.write_bytes(coder.to_bytes())
    damaged = files[1] if which == "codes" else trained
    if damage == "truncated":
        damaged.write_bytes(damaged.read_bytes()[:-50])
    elif damage == "of other vectors":
        damaged.write_bytes(_saved(np.zeros(7, np.float32)))
    elif damage == "no array":
        damaged.write_bytes(b"noise" * 100)
    else:
        damaged.write_bytes(_saved(np.array([{}, None]), pickled=True))
    with pytest.raises(StoreCorrupt):
        Shortlist(ShortlistCoder.load(trained), files, stored)


def _saved(array: np.ndarray, *, pickled: bool = False) -> bytes:
    from io import BytesIO

    file = BytesIO()
    np.save(file, array, allow_pickle=pickled)
    return file.getvalue()


def test_a_vector_is_at_distance_zero_from_itself_among_many(tmp_path: Path) -> None:
    """The matrix formula that FAISS uses for many queries would return 0.0002 or more."""
    vectors: Vectors = photo_like(3000)
    stored = mapped(tmp_path, vectors, np.arange(3000))
    for index in (ExactIndex(stored), shortlisted(tmp_path, stored)):
        for count in (1, 40):
            distances, found, _ = index.search(vectors[:count], 1)
            assert (distances == 0).all()
            assert found[:, 0].tolist() == list(range(count))


def test_an_index_without_references_is_freed_with_its_threads(tmp_path: Path) -> None:
    """Otherwise a server would keep every version that it has opened."""
    stored = mapped(tmp_path, some_vectors(300), np.arange(300))
    assert stored.parallel_map(lambda n: n + 1, range(8)) == list(range(1, 9))
    pool, left = stored._pool, weakref.ref(stored)
    threads = list(pool._threads)
    assert threads
    del stored, pool
    gc.collect()
    assert left() is None
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
