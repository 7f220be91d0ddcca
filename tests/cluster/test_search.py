"""Sharded search on two nodes: equal to one index, also while replicas and a node are killed."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING

import numpy as np
import pytest

from indexer.build import build
from indexer.build.derive import derive
from indexer.config import Config, DatasetConfig, IndexConfig, SearchConfig
from indexer.errors import ShardUnavailable, StoreCorrupt
from indexer.machine import user_cache_folder
from indexer.search.backends import OpenedVersion, RayBackend
from indexer.store import NewImage, Store, Version, Writer, open_writer
from indexer.transfer import push
from indexer.vector_index import flat_file
from indexer.vector_index.base import Found, Vectors
from indexer.vector_index.opened import Indexes
from indexer.vector_index.sharded import Shard
from server.app import create_app
from tests.cluster.nodes import Cluster
from tests.conftest import delete
from tests.vectors import photo_like
from tests.waiting import eventually

if TYPE_CHECKING:  # Ray must not be imported before the environment of the cluster is set
    from indexer.vector_index.replicas import Replica

COUNT, DIM, SEGMENTS = 6000, 256, 6
K = 30


def process(shard: Shard) -> int:
    """Return the process of the replica that is asked."""
    return os.getpid()


def add(writer: Writer, vectors: Vectors) -> None:
    first = writer.catalogue.next_id()
    images = [NewImage(f"{n}", 1, 1, "0", "JPEG", 1, 1) for n in range(first, first + len(vectors))]
    writer.commit(images, flat_file(vectors), [], dim=DIM, fingerprint="e")


def publish(writer: Writer) -> Version:
    draft, index = writer.begin(), IndexConfig(approximate="PCA32,IVF8,SQ8")
    made = derive(draft, writer, index, DIM, shortlist_from=1)
    return writer.publish(
        draft,
        made.structures,
        fingerprint="e",
        encoder={"model": "test"},
        dim=DIM,
        dataset=DatasetConfig(),
        index=index,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a shortlist and an approximate index, published."""
    store = Store(tmp_path_factory.mktemp("made") / "store")
    with open_writer(store) as writer:
        for vectors in np.array_split(photo_like(COUNT), SEGMENTS):
            add(writer, vectors)
        publish(writer)
    return store.folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Store:
    """A copy of it."""
    return Store(copytree(made, tmp_path / "store"))


@pytest.fixture
def searching(store: Store, connected: Cluster) -> Config:
    """Settings with which the cluster searches the store."""
    return Config(store=store.folder, search=SearchConfig(backend="ray", address=connected.address))


def replicas(opened: OpenedVersion) -> "list[list[Replica]]":
    from indexer.vector_index.ray_shards import RayShards

    assert isinstance(opened.replicas, RayShards)
    return opened.replicas._replicas


def process_of(replica: "Replica") -> int:
    """Return the process of a replica, or 0 while it does not answer."""
    from ray.exceptions import RayError

    try:
        found: int = replica.get(replica.start(process))
    except RayError:
        return 0
    return found


def all_ready(opened: OpenedVersion) -> bool:
    return all(replica.is_ready for shard in replicas(opened) for replica in shard)


def assert_equal(found: Found, wanted: Found) -> None:
    assert found.ids.tolist() == wanted.ids.tolist()
    assert found.distances.tobytes() == wanted.distances.tobytes()


def test_two_nodes_find_what_one_index_finds(searching: Config, store: Store) -> None:
    """Replicas of a shard are on different nodes; results are equal to the last bit."""
    version = store.open_published()
    local, opened = Indexes.of(version), RayBackend(searching).open(version)
    for shard in replicas(opened):
        assert len({replica.get(replica.start(node)) for replica in shard}) == 2
    one, many = local.exact, opened.by_mode["exact"]
    queries = np.concatenate([photo_like(20), photo_like(20, seed=3)])
    for query in queries:
        assert_equal(many.search(query[None], K), one.search(query[None], K))
    assert_equal(many.search(queries, K), one.search(queries, K))
    assert_equal(many.search(queries[:2], 500), one.search(queries[:2], 500))
    order = np.random.default_rng(1).permutation(COUNT)
    for count in (COUNT // 100, COUNT // 10, COUNT // 2, 5):
        for query in queries[18:22]:
            found = many.search(query[None], K, allowed=order[:count])
            assert_equal(found, one.search(query[None], K, allowed=order[:count]))
    near, wanted = (index.by_mode["approximate"].search(queries, 5) for index in (opened, local))
    assert (near.distances <= wanted.distances).all()


def test_nodes_without_the_store_fetch_their_shards(
    searching: Config, store: Store, tmp_path: Path
) -> None:
    """They fetch from where the index was pushed to, and a new version before it is used."""
    address = f"file://{tmp_path}/copy"
    search = searching.search.model_copy(update={"pushed_to": address})
    config = searching.model_copy(update={"search": search})
    push(config, address)
    backend, query = RayBackend(config), photo_like(1)
    opened = [backend.open(store.open_published())]
    with open_writer(store) as writer:
        add(writer, photo_like(500, seed=5))
        publish(writer)
    push(config, address)
    opened.append(backend.open(store.open_published()))
    fetched = {path.name for path in (user_cache_folder() / "shards").glob("*/segments/*")}
    assert fetched == {segment.id for segment in store.open_published().segments}
    for one, version in zip(opened, ("00000001", "00000002"), strict=True):
        wanted = Indexes.of(store.version(version)).exact.search(query, K)
        assert_equal(one.by_mode["exact"].search(query, K), wanted)


def node(shard: Shard) -> str:
    """Return the node of the replica that is asked."""
    import ray

    return ray.get_runtime_context().get_node_id()


def test_nothing_fails_while_replicas_and_a_node_are_killed_and_a_version_is_published(
    searching: Config, store: Store, cluster: Cluster
) -> None:
    """Every answer is that of one index over the version that was asked."""
    backend = RayBackend(searching)
    version = store.open_published()
    using = [(backend.open(version), Indexes.of(version))]
    queries = np.concatenate([photo_like(20), photo_like(20, seed=3)])
    stop, answered, wrong = threading.Event(), [0, 0], []

    def ask(thread: int) -> None:
        while not stop.is_set():
            opened, local = using[-1]
            query = queries[answered[thread] % len(queries)][None]
            found = opened.by_mode["exact"].search(query, K)
            try:
                assert_equal(found, local.exact.search(query, K))
            except AssertionError as error:
                wrong.append(error)
            answered[thread] += 1

    def go_on() -> None:
        """Wait for some more answers of both threads. Raises what has ended one of them."""
        before = [*answered]

        def have_answered() -> bool:
            for thread in asking:
                if thread.done():
                    thread.result()
            return all(now >= one + 10 for now, one in zip(answered, before, strict=True))

        eventually(have_answered)

    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask, thread) for thread in range(2)]
        try:
            go_on()
            first = replicas(using[0][0])[0][0]
            killed = process_of(first)
            os.kill(killed, signal.SIGKILL)
            go_on()
            eventually(lambda: process_of(first) not in (killed, 0))
            eventually(lambda: all_ready(using[0][0]))
            assert cluster.second
            cluster.second.kill()
            go_on()
            with open_writer(store) as writer:
                add(writer, photo_like(500, seed=5))
                version = publish(writer)
            using.append((backend.open(version), Indexes.of(version)))
            go_on()
            eventually(lambda: all_ready(using[1][0]))
            go_on()
        finally:
            stop.set()
        for thread in asking:
            thread.result()
    assert not wrong


@pytest.mark.usefixtures("cluster")  # before Ray is imported
def test_a_replica_keeps_two_versions_and_answers_for_no_other(store: Store) -> None:
    from indexer.vector_index.ray_shards import SameStore, ShardReplica
    from indexer.vector_index.replicas import VersionName

    replica = ShardReplica(SameStore(store.folder), 0, 2)
    names = [VersionName.of(store.open_published().manifest)]
    for seed in (5, 6):
        with open_writer(store) as writer:
            add(writer, photo_like(40, seed=seed))
            names.append(VersionName.of(publish(writer).manifest))
    for name in names:
        assert replica.run(name, len)[0] == name
    assert list(replica._opened) == names[1:]
    with pytest.raises(StoreCorrupt, match="than that of 2020"):
        replica.run(names[2]._replace(created="2020"), len)


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search waits two seconds for a shard."""
    import indexer.vector_index.replicas

    monkeypatch.setattr(indexer.vector_index.replicas, "ANSWER_SECONDS", 2.0)


@contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """Stop processes for a while."""
    for number in processes:
        os.kill(number, signal.SIGSTOP)
    try:
        yield
    finally:
        for number in processes:
            os.kill(number, signal.SIGCONT)


def test_a_slow_replica_delays_one_search(searching: Config, store: Store) -> None:
    opened = RayBackend(searching).open(store.open_published())
    slow = replicas(opened)[1][0]
    index, query = opened.by_mode["exact"], photo_like(1)
    wanted = index.search(query, K)
    with stopped([process_of(slow)]):
        for _ in range(10):
            assert_equal(index.search(query, K), wanted)
        assert slow.is_slow
        assert not replicas(opened)[1][1].is_slow
    eventually(lambda: not slow.is_slow)


def test_a_replica_that_is_back_is_asked_by_searches_that_wait(
    searching: Config, store: Store
) -> None:
    """A search may have begun when it was not ready, and wait for one that has been lost since."""
    opened = RayBackend(searching).open(store.open_published())
    index, query = opened.by_mode["exact"], photo_like(1)
    wanted = index.search(query, K)
    first, second = replicas(opened)[0]
    process = process_of(first)
    with stopped([process]):
        second.is_ready = False  # until the next probe
        assert_equal(index.search(query, K), wanted)
    eventually(lambda: all_ready(opened))


@pytest.mark.usefixtures("short_waits")
def test_a_search_without_a_shard_says_how_much_is_missing(searching: Config, store: Store) -> None:
    """No search finds less without saying so."""
    opened = RayBackend(searching).open(store.open_published())
    gone = [process_of(replica) for replica in replicas(opened)[0]]
    index, query = opened.by_mode["exact"], photo_like(1)
    wanted = index.search(query, K)
    with stopped(gone), pytest.raises(ShardUnavailable, match="50 % of the images"):
        index.search(query, K)
    eventually(lambda: all_ready(opened))
    assert_equal(index.search(query, K), wanted)


@pytest.mark.usefixtures("short_waits")
def test_a_server_without_a_shard_is_not_ready_until_a_replica_answers(
    cluster: Cluster, config: Config, request: pytest.FixtureRequest
) -> None:
    import ray

    request.addfinalizer(ray.shutdown)
    build(config)
    search = SearchConfig(backend="ray", address=cluster.address, shards=1)
    on_sigterm = signal.getsignal(signal.SIGTERM)
    client = create_app(config.model_copy(update={"search": search})).test_client()
    eventually(lambda: client.get("/readyz").status_code == HTTPStatus.OK)
    assert signal.getsignal(signal.SIGTERM) is on_sigterm, "a server stops gracefully"
    body = {"image_id": 1, "k": 3}
    wanted = client.post("/api/v1/search", json=body).get_json()["results"]
    both = cluster.processes("ray::ShardReplica")
    assert len(both) == 2
    with stopped(both):
        answer = client.post("/api/v1/search", json=body)
        assert answer.status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert answer.get_json()["error"]["code"] == "shard_unavailable"
        assert "100 % of the images" in answer.get_json()["error"]["message"]
        assert answer.headers["Retry-After"] == "5"
        assert client.get("/readyz").get_json()["error"]["code"] == "shard_unavailable"
        assert 'lookalike_shard_replicas{shard="1"} 0.0' in client.get("/metrics").text
    eventually(lambda: client.get("/readyz").status_code == HTTPStatus.OK)
    assert client.post("/api/v1/search", json=body).get_json()["results"] == wanted
    assert isinstance(config.dataset.root, Path)
    delete(config.dataset.root / wanted[2]["key"])
    build(config)
    eventually(lambda: client.get("/readyz").get_json().get("version") == "00000002")
    left = client.post("/api/v1/search", json=body).get_json()["results"]
    assert [hit["key"] for hit in left[:2]] == [hit["key"] for hit in wanted[:2]]
    assert left[2]["key"] != wanted[2]["key"]
