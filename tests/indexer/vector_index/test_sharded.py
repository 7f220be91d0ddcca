"""Sharded search: equal to one index, bit for bit, and hardly more work."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest

import indexer.vector_index.exact
from indexer.store import SegmentEntry, Store, open_writer
from indexer.vector_index import ExactIndex, MappedVectors, Part, SearchParameters, VectorIndex
from indexer.vector_index.base import Found, Ids, Vectors
from indexer.vector_index.opened import Indexes
from indexer.vector_index.sharded import IdSet, LocalShards, Shard, ShardedIndex, split
from tests.stores import commit, publish
from tests.vectors import approximate, parts, photo_like, sharded, shards, shortlisted

COUNT, DIM, SEGMENTS = 2000, 1280, 9
DELETED = np.arange(3, COUNT, 41)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Vectors of which many are equal, in different segments."""
    vectors = photo_like(COUNT, dim=DIM)
    vectors[1::5] = vectors[::5]
    vectors[7:1000:50] = vectors[7]
    return vectors


@pytest.fixture(scope="module")
def stored(vectors: Vectors, tmp_path_factory: pytest.TempPathFactory) -> list[Part]:
    ids = np.random.default_rng(1).permutation(COUNT)
    return parts(tmp_path_factory.mktemp("segments"), vectors, ids, SEGMENTS)


@pytest.fixture(autouse=True)
def _bounds_for_small_collections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.vector_index.exact, "SEEDS", 8)
    monkeypatch.setattr(indexer.vector_index.exact, "BATCH_BELOW_BYTES", 2**20)


def assert_equal(found: Found, wanted: Found) -> None:
    assert found.ids.tolist() == wanted.ids.tolist()
    assert found.distances.tobytes() == wanted.distances.tobytes()


@pytest.mark.parametrize(
    ("kind", "count"), [("exact", 3), *(("shortlist", count) for count in (2, 3, 7, 11))]
)
def test_sharded_results_equal_those_of_one_index_to_the_last_bit(
    stored: list[Part], vectors: Vectors, tmp_path: Path, kind: str, count: int
) -> None:
    """Stored and new images, in batches, filtered, with deletions and ties across segments."""
    whole = MappedVectors(stored, DIM, DELETED)
    one = shortlisted(tmp_path, whole) if kind == "shortlist" else ExactIndex(whole)
    many = sharded(kind, tmp_path, stored, DIM, count, DELETED)
    queries = np.concatenate([vectors[:16], photo_like(16, seed=3, dim=DIM)])
    for query in queries:
        assert_equal(many.search(query[None], 30), one.search(query[None], 30))
    assert_equal(many.search(queries, 30), one.search(queries, 30))
    assert_equal(many.search(queries[14:18], 500), one.search(queries[14:18], 500))
    assert_equal(many.search(queries[:1], COUNT), one.search(queries[:1], COUNT))
    for allowed in filters():
        for some in (queries[:1], queries[20:21], queries):
            found = many.search(some, 30, allowed=allowed)
            assert_equal(found, one.search(some, 30, allowed=allowed))
            assert (found.ids >= 0).sum(axis=1).tolist() == [
                min(30, len(np.setdiff1d(allowed, DELETED)))
            ] * len(some)
    ks = [1 + 17 * number % 70 for number in range(len(queries))]
    for own, wanted in zip(
        many.search_each(queries, ks), one.search_each(queries, ks), strict=True
    ):
        assert_equal(own, wanted)


def filters() -> list[Ids]:
    """1 %, 10 % and 50 % of the images, and fewer than are asked for."""
    order = np.random.default_rng(2).permutation(COUNT)
    return [np.sort(order[:count]) for count in (COUNT // 100, COUNT // 10, COUNT // 2, 5)]


def test_shards_add_up_their_stages_and_measure_hardly_more_than_one_index(
    stored: list[Part], tmp_path: Path
) -> None:
    one = shortlisted(tmp_path, MappedVectors(stored, DIM, DELETED))
    many = sharded("shortlist", tmp_path, stored, DIM, 7, DELETED)
    measured = np.zeros(2)
    for query in photo_like(20, seed=3, dim=DIM):
        for way, index in enumerate((one, many)):
            stages = index.search(query[None], 5, allowed=np.arange(1500)).stages
            assert stages[0] == ("stored", COUNT - len(DELETED))
            assert stages[1] == ("allowed", len(np.setdiff1d(np.arange(1500), DELETED)))
            assert [stage.name for stage in stages[2:]] == [
                "bound of 64 numbers",
                "bound of 128 numbers",
                "measured",
            ]
            measured[way] += stages[-1].rows
    assert measured[1] < 1.1 * measured[0]


def test_a_shard_measures_little_if_the_nearest_are_in_another(
    vectors: Vectors, tmp_path: Path
) -> None:
    """Alone it would measure all that may be as near as the nearest of its own."""
    query = photo_like(1, seed=3, dim=DIM)
    near = query * np.exp(np.random.default_rng(4).normal(0, 0.1, (10, DIM)))
    stored = parts(
        tmp_path, np.concatenate([near, vectors]).astype(np.float32), np.arange(COUNT + 10)
    )
    opened = shards("shortlist", tmp_path, stored, DIM, 3)
    alone = opened.ask(lambda shard: shard.exact(query, [5])[0].stages[-1].rows)
    together = ShardedIndex(opened, "exact").search(query, 5).stages[-1].rows
    assert sum(alone) > 50
    assert together == 10


@pytest.mark.parametrize("parameters", [None, SearchParameters(2, 64), SearchParameters(8, 300)])
def test_approximate_search_finds_what_one_index_finds_or_nearer_ones(
    stored: list[Part], tmp_path: Path, parameters: SearchParameters | None
) -> None:
    factory = "PCA32,IVF8,SQ8"
    one: VectorIndex = approximate(tmp_path, MappedVectors(stored, DIM, DELETED), factory)
    many = sharded(factory, tmp_path, stored, DIM, 3, DELETED)
    for query in photo_like(20, seed=3, dim=DIM):
        for allowed in (None, np.arange(0, COUNT, 3)):
            found, wanted = (
                index.search(query[None], 5, allowed=allowed, parameters=parameters)
                for index in (many, one)
            )
            assert (found.distances <= wanted.distances).all()
            assert found.stages[0] == wanted.stages[0]


@pytest.mark.parametrize("ids", [[], [0], [5, 3, 700], [1000, 6400], [7, 8, 12, 13], [99999]])
def test_ids_are_sent_as_numbers_or_bits_whichever_takes_fewer_bytes(ids: list[int]) -> None:
    sent = IdSet.of(np.array(ids, np.int64))
    assert sent is not None
    assert sorted(sent.ids.tolist()) == sorted(ids)
    assert sent.ids.dtype == np.int64
    size = sent.numbers.nbytes + sent.bits.nbytes
    assert size <= 1 + min(8 * len(ids), max(ids, default=0) / 8 + 1)


def test_segments_are_divided_by_size_and_alike_in_every_order() -> None:
    sizes = [4096, 4096, 2048, 4096, 512, 512, 1, 4096]
    segments = [SegmentEntry(id=f"{n:08}", count=count) for n, count in enumerate(sizes)]
    divided = split(segments, 3)
    assert divided == split(segments[::-1], 3)
    assert sorted(chain(*divided)) == [segment.id for segment in segments]
    loads = [sum(sizes[int(name)] for name in shard) for shard in divided]
    assert loads == [8192, 6144, 5121]
    assert split(segments[:1], 3) == [["00000000"], [], []]


def test_a_shard_opens_its_segments_of_a_version(store: Store) -> None:
    with open_writer(store) as writer:
        commit(writer, ["a", "b"])
        commit(writer, ["c", "d", "e"])
        commit(writer, ["f"])
        version = publish(writer)
    opened = [Shard.open(store, version.id, number, 2) for number in range(2)]
    assert [len(shard) for shard in opened] == [3, 3]
    index = ShardedIndex(LocalShards(opened), "exact")
    query = np.arange(8, dtype=np.float32)[None]
    assert_equal(index.search(query, 6), Indexes.of(version).exact.search(query, 6))
