"""Shards in actors of a Ray cluster, in several replicas on different nodes.

A replica that is killed is restarted by Ray. Until it answers again the others are asked; if a
shard has none left, the search fails: an answer is never made of fewer shards.
"""

import logging
import signal
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from indexer.errors import ShardUnavailable, StoreCorrupt
from indexer.executors.ray import connect, ray
from indexer.store import SegmentEntry, Store, Version
from indexer.vector_index.replicas import Question, Replica, VersionName, in_order
from indexer.vector_index.sharded import Answer, Shard, split

logger = logging.getLogger(__name__)

OPEN_VERSIONS = 2
"""How many versions a replica keeps open: the one in use, and the one that is published next."""

CONCURRENT_CALLS = 16
"""How many calls a replica works on at the same time."""

RESERVED_BYTES = 2**20
"""Memory that Ray sets aside for a replica: a token, not what it needs."""

PROBE_SECONDS = 1.0
"""How often every replica is asked whether it answers."""

PATIENCE_SECONDS = 10.0
"""How long opening a version waits for all replicas; then one for each shard is enough."""

OPEN_SECONDS = 60.0
"""How long opening a version that every node has waits for a replica of each shard."""


class Stores(Protocol):
    """Finds the store from which a node opens its shards. It is pickled."""

    @property
    def patience_seconds(self) -> float:
        """How long opening a version may wait for a replica of each shard."""

    def store_with(
        self, version: str, choose: Callable[[Sequence[SegmentEntry]], Sequence[str]]
    ) -> Store:
        """Return a store that has the chosen segments of a version."""


class SameStore(NamedTuple):
    """The store at one path, which every node has."""

    folder: Path

    @property
    def patience_seconds(self) -> float:
        """How long opening a version may wait for a replica of each shard."""
        return OPEN_SECONDS

    def store_with(self, version: str, choose: object) -> Store:
        """Return the store."""
        return Store(self.folder)


class ShardReplica:
    """The actor: one replica of one shard. It opens the versions it is asked for."""

    def __init__(self, stores: Stores, number: int, shards: int) -> None:
        self._stores = stores
        self._number = number
        self._shards = shards
        self._opened: OrderedDict[VersionName, Shard] = OrderedDict()
        self._opening = threading.Lock()

    def run(
        self, version: VersionName, call: Callable[[Shard], Answer]
    ) -> tuple[VersionName, Answer]:
        """Return what ``call`` returns for the shard of a version, and which version it was."""
        shard = self._opened.get(version)
        if shard is None:
            with self._opening:
                shard = self._opened.get(version)
                if shard is None:
                    shard = self._open(version)
        return version, call(shard)

    def _open(self, name: VersionName) -> Shard:
        store = self._stores.store_with(name.id, self._segments)
        if VersionName.of(store.manifest(name.id)) != name:
            raise StoreCorrupt(
                f"{store.folder} on this node has another version {name.id} than that of "
                f"{name.created}.",
                "All nodes need the same index.",
            )
        shard = Shard.open(store, name.id, self._number, self._shards)
        self._opened[name] = shard
        while len(self._opened) > OPEN_VERSIONS:
            self._opened.popitem(last=False)
        return shard

    def _segments(self, segments: Sequence[SegmentEntry]) -> Sequence[str]:
        return split(segments, self._shards)[self._number]


class ShardActors:
    """The actors that search one store, for all of its versions that are open.

    Ray ends them when this object, and all it has opened, is gone. Raises
    :class:`~indexer.errors.ClusterUnavailable` if there is no cluster at ``address``.
    """

    def __init__(self, stores: Stores, *, shards: int, replicas: int, address: str) -> None:
        _connect(address)
        self._patience = stores.patience_seconds
        self._nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
        self._actors = [
            [self._start(stores, number, shards, number + replica) for replica in range(replicas)]
            for number in range(shards)
        ]

    def _start(self, stores: Stores, number: int, shards: int, place: int) -> Any:
        """Start a replica of a shard on one of the nodes; on another one if that is gone.

        No core is reserved: a replica must not wait for one before it is restarted. Some memory is,
        because Ray places what needs nothing anywhere, whatever its strategy.
        """
        node = self._nodes[place % len(self._nodes)]
        return (
            ray.remote(ShardReplica)
            .options(
                num_cpus=0,
                memory=RESERVED_BYTES,
                scheduling_strategy=ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
                    node, soft=True
                ),
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=CONCURRENT_CALLS,
            )
            .remote(stores, number, shards)
        )

    def open(self, version: Version) -> "RayShards":
        """Open a version in the replicas, of each shard in one at least.

        Raises :class:`~indexer.errors.ShardUnavailable`.
        """
        shards = RayShards(self._actors, version)
        shards.wait_until_open(self._patience)
        return shards


class RayShards:
    """The shards of one version; see :class:`~indexer.vector_index.sharded.Shards`."""

    def __init__(self, actors: Sequence[Sequence[Any]], version: Version) -> None:
        name, segments = VersionName.of(version.manifest), version.manifest.segments
        counts = {segment.id: segment.count for segment in segments}
        divided = split(segments, len(actors))
        self._counts = [sum(counts[segment] for segment in shard) for shard in divided]
        self._replicas = [
            [Replica(actor, shard, number, name) for number, actor in enumerate(replicas)]
            for shard, replicas in enumerate(actors)
        ]
        self._turn = 0
        threading.Thread(
            target=_watch, args=(weakref.ref(self),), daemon=True, name="replicas"
        ).start()

    def __len__(self) -> int:
        return len(self._replicas)

    @property
    def ready_replicas(self) -> list[int]:
        """How many replicas of each shard answer."""
        return [sum(replica.is_ready for replica in shard) for shard in self._replicas]

    def problem(self) -> ShardUnavailable | None:
        """Return an error to raise if a shard has no replica that answers, else None."""
        missing = [number for number, ready in enumerate(self.ready_replicas) if not ready]
        return self._unavailable(missing) if missing else None

    def ask(self, call: Callable[[Shard], Answer]) -> list[Answer]:
        """Return what ``call`` returns for each shard, in order.

        If a replica fails or is slow, another one is asked. Raises
        :class:`~indexer.errors.ShardUnavailable`, and what ``call`` raises in every replica.
        """
        self._turn += 1
        replicas = [in_order(shard, self._turn) for shard in self._replicas]
        return Question(call, replicas, self._unavailable).answers()

    def wait_until_open(self, patience: float) -> None:
        """Wait until all replicas have opened the version, or for a while one of each shard."""
        began = time.monotonic()
        while not all(replica.is_ready for shard in self._replicas for replica in shard):
            problem, waited = self.problem(), time.monotonic() - began
            if problem and waited > patience:
                raise problem
            if not problem and waited > PATIENCE_SECONDS:
                return
            time.sleep(0.05)

    def probe(self) -> None:
        """Ask every replica whether it answers, and wait a short time for the answers."""
        replicas = [replica for shard in self._replicas for replica in shard]
        for replica in replicas:
            replica.probe = replica.probe or replica.start(len)
        probes = [replica.probe for replica in replicas]
        done, _ = ray.wait(probes, num_returns=len(probes), timeout=PROBE_SECONDS)
        for replica, probe in zip(replicas, probes, strict=True):
            if probe in done:
                replica.probe = None
                try:
                    replica.get(probe)
                except Exception as error:  # noqa: BLE001 -- whatever it is, it is of no use now
                    replica.failed(error)
                else:
                    replica.answered()

    def _unavailable(self, shards: Sequence[int]) -> ShardUnavailable:
        share = sum(self._counts[shard] for shard in shards) / max(sum(self._counts), 1)
        names = ", ".join(str(shard + 1) for shard in shards)
        return ShardUnavailable(
            f"No replica of {len(shards)} of the {len(self)} shards answers ({names}): "
            f"{100 * share:.3g} % of the images cannot be searched.",
            "Try again in some seconds: Ray restarts replicas. The server's log says more.",
        )


def _connect(address: str) -> None:
    """Connect this process to a cluster, unless it is connected."""
    if ray.is_initialized():
        return
    on_sigterm = signal.getsignal(signal.SIGTERM)
    try:
        connect(address)
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray's ends the process at once


def _watch(reference: "weakref.ref[RayShards]") -> None:
    """Probe the replicas until nobody asks them any more, or this process has left the cluster."""
    while (shards := reference()) is not None and ray.is_initialized():
        try:
            shards.probe()
        except SystemExit:  # what Ray raises if this process leaves the cluster meanwhile
            return
        except Exception:
            logger.exception("The replicas cannot be probed")
        del shards
        time.sleep(PROBE_SECONDS)
