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
from typing import Any, NamedTuple

from indexer.errors import ShardUnavailable, StoreCorrupt
from indexer.executors.ray import connect, ray
from indexer.store import Store, Version
from indexer.vector_index.sharded import Answer, Shard, split

logger = logging.getLogger(__name__)

OPEN_VERSIONS = 2
"""How many versions a replica keeps open: the one in use, and the one that is published next."""

CONCURRENT_CALLS = 16
"""How many calls a replica works on at the same time."""

RESERVED_BYTES = 2**20
"""Memory that Ray sets aside for a replica: a token, not what it needs."""

HEDGE_SECONDS = 0.5
"""After this time another replica is asked, too."""

ANSWER_SECONDS = 30.0
"""How long a search waits for a shard."""

PROBE_SECONDS = 1.0
"""How often every replica is asked whether it answers."""

PATIENCE_SECONDS = 10.0
"""How long opening a version waits for all replicas; then one for each shard is enough."""

OPEN_SECONDS = 60.0
"""How long opening a version waits for a replica of each shard."""


class VersionName(NamedTuple):
    """What tells a version from others, those of another store at the same path included."""

    id: str
    created: str

    @classmethod
    def of(cls, version: Version) -> "VersionName":
        """Return the name of a version."""
        return cls(version.id, version.manifest.created.isoformat())


class ShardReplica:
    """The actor: one replica of one shard. It opens the versions it is asked for."""

    def __init__(self, store: str, number: int, shards: int) -> None:
        self._store = Store(Path(store))
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
                shard = self._opened.get(version) or self._open(version)
        return version, call(shard)

    def _open(self, name: VersionName) -> Shard:
        version = self._store.version(name.id)
        if VersionName.of(version) != name:
            raise StoreCorrupt(
                f"{version.folder} on this node is not the version of {name.created}.",
                "All nodes need the same store at the same path.",
            )
        shard = Shard.open(version, self._number, self._shards)
        self._opened[name] = shard
        while len(self._opened) > OPEN_VERSIONS:
            self._opened.popitem(last=False)
        return shard


class ShardActors:
    """The actors that search one store, for all of its versions that are open.

    Ray ends them when this object, and all it has opened, is gone. Raises
    :class:`~indexer.errors.ClusterUnavailable` if there is no cluster at ``address``.
    """

    def __init__(self, store: Path, *, shards: int, replicas: int, address: str) -> None:
        _connect(address)
        self._nodes = sorted(node["NodeID"] for node in ray.nodes() if node["Alive"])
        self._actors = [
            [self._start(store, number, shards, number + replica) for replica in range(replicas)]
            for number in range(shards)
        ]

    def _start(self, store: Path, number: int, shards: int, place: int) -> Any:
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
            .remote(str(store), number, shards)
        )

    def open(self, version: Version) -> "RayShards":
        """Open a version in the replicas, of each shard in one at least.

        Raises :class:`~indexer.errors.ShardUnavailable`.
        """
        shards = RayShards(self._actors, version)
        shards.wait_until_open()
        return shards


class Replica:
    """A replica of a shard, as those see it who ask it about one version."""

    def __init__(self, actor: Any, shard: int, number: int, version: VersionName) -> None:
        self._actor = actor
        self._version = version
        self.shard = shard
        self._name = f"Replica {number + 1} of shard {shard + 1}"
        self.is_ready = False
        """It has answered, and has not failed since."""
        self.is_slow = False
        """It has been slower than another one, and has not been probed since."""
        self.probe: Any = None
        """The answer to the last probe, if that is still awaited."""
        self._problem = ""

    def start(self, call: Callable[[Shard], Any]) -> Any:
        """Return a reference to the answer."""
        return self._actor.run.remote(self._version, call)

    def get(self, reference: Any) -> Any:
        """Return the answer that is ready. Raises :class:`ray.exceptions.RayError`."""
        version, answer = ray.get(reference)
        if version != self._version:
            raise ray.exceptions.RayError(f"{self._name} has answered for version {version}.")
        return answer

    def answered(self) -> None:
        """Note that it has answered a probe."""
        if self._problem:
            logger.warning("%s answers again for version %s.", self._name, self._version.id)
        self.is_ready, self.is_slow, self._problem = True, False, ""

    def failed(self, error: Exception) -> None:
        """Note that it does not answer; it is asked again once it has answered a probe."""
        kind, version = type(error).__name__, self._version.id
        if kind != self._problem:  # not again with each probe
            logger.warning("%s does not answer for version %s: %s", self._name, version, error)
        self.is_ready, self._problem = False, kind


class RayShards:
    """The shards of one version; see :class:`~indexer.vector_index.sharded.Shards`."""

    def __init__(self, actors: Sequence[Sequence[Any]], version: Version) -> None:
        name, segments = VersionName.of(version), version.manifest.segments
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

        If a replica fails, or takes longer than :data:`HEDGE_SECONDS`, another one is asked. Raises
        :class:`~indexer.errors.ShardUnavailable`, and what ``call`` raises in every replica.
        """
        self._turn += 1
        replicas = [_in_order(shard, self._turn) for shard in self._replicas]
        return _Question(call, replicas, self._unavailable).answers()

    def wait_until_open(self) -> None:
        """Wait until all replicas have opened the version, or for a while one of each shard."""
        began = time.monotonic()
        while not all(replica.is_ready for shard in self._replicas for replica in shard):
            problem, waited = self.problem(), time.monotonic() - began
            if problem and waited > OPEN_SECONDS:
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


class _Question:
    """One call of all shards: which replicas are asked, and what they have answered.

    ``unavailable`` makes the error of some shards that have no replica that answers.
    """

    def __init__(
        self,
        call: Callable[[Shard], Any],
        untried: list[list[Replica]],
        unavailable: Callable[[Sequence[int]], ShardUnavailable],
    ) -> None:
        self._call = call
        self._untried = untried
        self._unavailable = unavailable
        self._asked: dict[Any, Replica] = {}
        """The replicas that have not answered yet, by the references to their answers."""
        self._answers: dict[int, Any] = {}

    def answers(self) -> list[Any]:
        """Return the answers of all shards, in order."""
        if missing := [shard for shard in self._waiting() if not self._ask_next(shard)]:
            raise self._unavailable(missing)
        now = time.monotonic()
        hedge_at, give_up_at = now + HEDGE_SECONDS, now + ANSWER_SECONDS
        while waiting := self._waiting():
            seconds = max(min(hedge_at, give_up_at) - time.monotonic(), 0)
            for reference in ray.wait(list(self._asked), timeout=seconds)[0]:
                self._take(reference)
            if time.monotonic() >= give_up_at:
                self._note_late_replicas()
                raise self._unavailable(waiting)
            if time.monotonic() >= hedge_at:
                hedge_at += HEDGE_SECONDS
                for shard in self._waiting():
                    self._ask_next(shard)
        for replica in self._asked.values():
            replica.is_slow = True  # another one has answered before it
        return [self._answers[shard] for shard in range(len(self._untried))]

    def _waiting(self) -> list[int]:
        return [shard for shard in range(len(self._untried)) if shard not in self._answers]

    def _ask_next(self, shard: int) -> bool:
        """Ask the next replica of a shard; return whether there was one."""
        while self._untried[shard]:
            replica = self._untried[shard].pop(0)
            try:
                self._asked[replica.start(self._call)] = replica
            except ray.exceptions.RayError as error:
                replica.failed(error)
            else:
                return True
        return False

    def _take(self, reference: Any) -> None:
        """Keep the answer that is ready; if it is an error, ask another replica."""
        replica = self._asked.pop(reference)
        try:
            self._answers.setdefault(replica.shard, replica.get(reference))
        except ray.exceptions.RayError as error:
            is_of_call = isinstance(error, ray.exceptions.RayTaskError)
            if not is_of_call:
                replica.failed(error)
            if replica.shard in self._answers or self._ask_next(replica.shard):
                return
            if any(other.shard == replica.shard for other in self._asked.values()):
                return
            if is_of_call:
                raise error.cause from error
            raise self._unavailable([replica.shard]) from error

    def _note_late_replicas(self) -> None:
        for replica in self._asked.values():
            if replica.shard not in self._answers:
                replica.failed(TimeoutError(f"no answer in {ANSWER_SECONDS:.0f} seconds"))


def _in_order(replicas: Sequence[Replica], turn: int) -> list[Replica]:
    """Return the replicas to ask, the next one in turn first, slow ones last."""
    first = turn % len(replicas)
    ready = [replica for replica in (*replicas[first:], *replicas[:first]) if replica.is_ready]
    return sorted(ready, key=lambda replica: replica.is_slow)


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
        except Exception:
            logger.exception("The replicas cannot be probed")
        del shards
        time.sleep(PROBE_SECONDS)
