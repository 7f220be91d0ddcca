"""Parts of a version, which nodes without a store fetch for their shards."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.store import SegmentEntry, Store, open_writer
from indexer.transfer import PulledParts, push
from indexer.vector_index.opened import Indexes
from indexer.vector_index.sharded import LocalShards, Shard, ShardedIndex, split
from tests.stores import commit, publish

QUERY = np.arange(8, dtype=np.float32)[None]


def shard(segments: Sequence[SegmentEntry], number: int) -> list[str]:
    return split(segments, 2)[number]


def sizes(store: Store) -> dict[str, int]:
    """The files of a store by their paths, without its lock."""
    files = [path for path in store.folder.rglob("*") if path.is_file()]
    kept = [path for path in files if not path.name.startswith("build.")]
    return {path.relative_to(store.folder).as_posix(): path.stat().st_size for path in kept}


@pytest.fixture
def original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store of three segments; the node's cache is a folder of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = Store(tmp_path / "store")
    with open_writer(store) as writer:
        commit(writer, ["a", "b"])
        commit(writer, ["c", "d", "e"])
        commit(writer, ["f"])
        publish(writer)
    return store


def pushed(store: Store, address: str) -> str:
    version: str = push(Config(store=store.folder), address).version
    return version


def test_a_node_fetches_the_segments_of_its_shard_and_nothing_else(
    original: Store, address: str
) -> None:
    version = pushed(original, address)
    parts = PulledParts(address)
    here = parts.store_with(version, partial(shard, number=0))
    (segment,) = shard(original.manifest(version).segments, 0)
    assert set(sizes(here)) == {
        f"versions/{version}/manifest.json",
        *(f"segments/{segment}/{name}" for name in ("ids.npy", "segment.json", "vectors.faiss")),
    }
    assert len(Shard.open(here, version, 0, 2)) == 3
    for not_there in (lambda: Shard.open(here, version, 1, 2), lambda: here.version(version)):
        with pytest.raises(StoreCorrupt):
            not_there()


def test_shards_of_fetched_parts_answer_like_one_index(original: Store, address: str) -> None:
    version = pushed(original, address)
    shards = []
    for number in range(2):
        here = PulledParts(address).store_with(version, partial(shard, number=number))
        shards.append(Shard.open(here, version, number, 2))
    found = ShardedIndex(LocalShards(shards), "exact").search(QUERY, 6)
    wanted = Indexes.of(original.version(version)).exact.search(QUERY, 6)
    assert found.ids.tolist() == wanted.ids.tolist()
    assert found.distances.tobytes() == wanted.distances.tobytes()


def test_what_is_there_needs_no_network_and_a_new_version_only_its_own(
    original: Store, folder_address: str, tmp_path: Path
) -> None:
    first = pushed(original, folder_address)
    choose = partial(shard, number=0)
    parts = PulledParts(folder_address)
    before = sizes(parts.store_with(first, choose))
    with open_writer(original) as writer:
        commit(writer, ["g"])
        publish(writer)
    second = pushed(original, folder_address)
    after = sizes(parts.store_with(second, choose))
    assert before.keys() < after.keys()
    (tmp_path / "copy").rename(tmp_path / "away")
    for version in (first, second):
        assert sizes(parts.store_with(version, choose)) == after
    with pytest.raises(StoreCorrupt):
        parts.store_with(second, partial(shard, number=1))


def test_a_damaged_object_is_not_used(original: Store, folder_address: str, tmp_path: Path) -> None:
    version = pushed(original, folder_address)
    (segment,) = shard(original.manifest(version).segments, 0)
    vectors = tmp_path / "copy" / "segments" / segment / "vectors.faiss"
    vectors.write_bytes(vectors.read_bytes()[:-1] + b"x")
    with pytest.raises(StoreCorrupt, match="SHA-256"):
        PulledParts(folder_address).store_with(version, partial(shard, number=0))


def test_replicas_of_one_node_wait_for_each_other(original: Store, address: str) -> None:
    version = pushed(original, address)

    def fetch(number: int) -> int:
        here = PulledParts(address).store_with(version, partial(shard, number=number))
        return len(Shard.open(here, version, number, 2))

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(fetch, (0, 1, 0, 1))) == [3, 3, 3, 3]
