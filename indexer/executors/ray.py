"""An executor on a cluster of Ray, https://docs.ray.io: its workers are actors that do blocks.

Ray places the workers and tells when one is lost. It restarts and repeats nothing by itself: what
is done again is decided, and counted, by :class:`~indexer.executors.blocks.Blocks`.
"""

import os
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from pathlib import Path
from typing import Any, Generic, Protocol

from indexer.config import ExecutorConfig
from indexer.errors import ClusterUnavailable, LookalikeError, MissingDependency
from indexer.executors.base import Failure, Result, ResultT, Task, TaskT
from indexer.executors.blocks import Block, Blocks, Share, share_of
from indexer.machine import limit_spinning, scratch_folder

for name, value in {  # Ray reads these when it is imported
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_AUTO_CONNECT": "0",  # a late call must not start a cluster
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".*",  # what it would print on stdout of its processes' ends
}.items():
    os.environ.setdefault(name, value)
try:
    import ray
except ImportError as error:
    raise MissingDependency(
        f"The settings ask for a cluster, but Ray cannot be imported: {error}.",
        "Install it on every node with: pip install 'lookalike[ray]'.",
    ) from error

__all__ = ["BlockWorker", "RayExecutor", "connect", "connected", "ray"]

CONNECT_SECONDS = 10.0
"""How long to wait until the head of a cluster answers."""

PATIENCE_SECONDS = 120.0
"""How long to wait for the first worker, or for another one when all are lost."""

POLL_SECONDS = 0.2
"""How often a run looks whether it should end."""

CLOSE_SECONDS = 5.0
"""How long to wait until it does."""

OPTIONS = {"max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}

MAX_LOSSES = 30
"""How many workers may be lost in a row, without a block that was done."""


class BlockWorker(Protocol[TaskT, ResultT]):
    """Does blocks of tasks on one node. It is pickled before it is started there."""

    def start(self, cores: int) -> None:
        """Prepare to work with so many cores, and with the GPUs that the process may see."""

    def __call__(self, block: Sequence[TaskT], /) -> Sequence[ResultT]:
        """Do the tasks of a block."""

    def failed(
        self, block: Sequence[TaskT], /, failure: Failure, seconds: float
    ) -> Sequence[ResultT]:
        """Return the results of tasks that were not finished. It need not have been started."""

    def size(self, results: Sequence[Any], /) -> int:
        """Return how many bytes of memory results take."""


class RayExecutor(Generic[Task, Result]):
    """Runs tasks in the workers of a cluster, which this process has to be connected to.

    ``workers`` is how many it uses, by default as many as there is room for.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._most = workers
        self._closing, self._idle = threading.Event(), threading.Event()
        self._idle.set()
        self._lost = Counter[str]()
        self._repeated = 0
        self.workers = 0
        """How many workers are ready."""

    @property
    def notes(self) -> list[str]:
        """A sentence on the workers that were lost, if any were."""
        if not self._lost:
            return []
        where = ", ".join(f"{node}: {count}" for node, count in sorted(self._lost.items()))
        again = f"{self._repeated} files that they had not finished were done by others."
        return [f"Workers that were lost: {self._lost.total()} ({where}); {again}"]

    def run(
        self, worker: BlockWorker[Task, Result], tasks: Iterable[Task], count: int
    ) -> Generator[Result]:
        """Yield the results of all ``count`` tasks once, in the order of the tasks.

        ``worker`` is sent to each process that is started. Raises what a worker raises, and
        :class:`~indexer.errors.ClusterUnavailable` if there are no workers, or if all are lost.
        """
        if count == 0:
            return
        run = _Run(self, worker, tasks, count, share_of(_nodes(), self._most))
        self._idle.clear()
        try:
            yield from run.results()
        finally:
            run.stop()
            self._idle.set()

    @property
    def is_closing(self) -> bool:
        """Whether a run should end, as nobody waits for its results."""
        return self._closing.is_set()

    def close(self) -> None:
        """End the run that another thread is in.

        Ray ends the whole process if it is used after the connection has ended.
        """
        self._closing.set()
        self._idle.wait(CLOSE_SECONDS)

    def note_loss(self, node: str, repeated: int) -> None:
        """Count a lost worker of a node, and the tasks that were given to others."""
        self._lost[node] += 1
        self._repeated += repeated


class _Run(Generic[Task, Result]):
    """The workers of one run, and what each was asked for."""

    def __init__(
        self,
        executor: RayExecutor[Task, Result],
        worker: BlockWorker[Task, Result],
        tasks: Iterable[Task],
        count: int,
        share: Share,
    ) -> None:
        self._executor = executor
        self._worker = worker
        self._share = share
        self._blocks = Blocks[Task, Result, Any](
            tasks, count, lambda block: worker.failed(block, "worker_died", 0)
        )
        self._shared = ray.put(worker)  # its arrays are in memory once on each node
        self._placed: dict[Any, Any] = {}
        """Actors that wait for a place, by what is there once they have one."""
        self._starting: dict[Any, Any] = {}
        self._asked: dict[Any, tuple[Any, Block[Task, Result]]] = {}
        self._nodes: dict[Any, str] = {}
        self._heard = time.monotonic()

    def results(self) -> Generator[Result]:
        """Yield the results in order."""
        while not (self._blocks.is_done or self._executor.is_closing):
            self._place()
            while given := self._blocks.give():
                actor, block = given
                self._asked[actor.do.remote(block.tasks)] = actor, block
            waiting = [*self._asked, *self._starting, *self._placed]
            for reference in ray.wait(waiting, num_returns=1, timeout=POLL_SECONDS)[0]:
                self._hear(reference)
            self._executor.workers = self._blocks.workers
            yield from self._blocks.ready()
            self._check_patience()

    def stop(self) -> None:
        """Kill the actors."""
        self._executor.workers = 0
        for actor in [*self._nodes, *self._starting.values(), *self._placed.values()]:
            with suppress(ray.exceptions.RayError):
                ray.kill(actor)

    def _place(self) -> None:
        """Ask Ray for as many actors as have something to do."""
        here = self._blocks.workers + len(self._starting) + len(self._placed)
        for _ in range(self._blocks.workers_wanted(self._share.workers) - here):
            actor = ray.remote(Actor).options(**OPTIONS, **_resources(self._share)).remote()
            self._placed[actor.__ray_ready__.remote()] = actor

    def _hear(self, reference: Any) -> None:
        """Take what is there: an actor has a place, is ready, or has done a block."""
        self._heard = time.monotonic()
        if actor := self._placed.pop(reference, None):
            if self._get(reference, actor) is not None:
                self._starting[actor.start.remote(self._shared)] = actor
        elif actor := self._starting.pop(reference, None):
            if node := self._get(reference, actor):
                self._nodes[actor] = node
                self._blocks.join(actor)
        elif reference in self._asked:
            actor, block = self._asked.pop(reference)
            if found := self._get(reference, actor):
                self._finish(actor, block, found)

    def _finish(self, actor: Any, block: Block[Task, Result], found: tuple[float, Any]) -> None:
        seconds, results = found
        self._blocks.finish(actor, block, results, self._worker.size(results), seconds)

    def _get(self, reference: Any, actor: Any) -> Any:
        """Return what an actor has answered; None if the actor is lost. Raises its errors."""
        try:
            return ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause if isinstance(error.cause, LookalikeError) else error from None
        except ray.exceptions.RayError as error:
            if getattr(error, "actor_init_failed", False):
                raise ClusterUnavailable(
                    f"A worker could not be created: {str(error).splitlines()[-1]}.",
                    "Every node needs the same Lookalike as this one, with the extra ray.",
                ) from None
            self._lose(actor, error)
            return None

    def _lose(self, actor: Any, error: Exception) -> None:
        """Give the blocks of a lost actor to others, except for those that it had finished."""
        with suppress(ray.exceptions.RayError):
            ray.kill(actor)  # it may only be out of reach
        for reference in [asked for asked, (other, _) in self._asked.items() if other == actor]:
            _, block = self._asked.pop(reference)
            with suppress(ray.exceptions.RayError):
                self._finish(actor, block, ray.get(reference, timeout=0))
        before = self._blocks.repeated
        self._blocks.lose(actor)
        node = self._nodes.pop(actor, "before it had begun")
        self._executor.note_loss(node, self._blocks.repeated - before)
        if self._blocks.losses_in_a_row > MAX_LOSSES:
            raise ClusterUnavailable(
                f"{MAX_LOSSES + 1} workers were lost in a row. Ray says of the last one: "
                + " ".join(str(error).split()),
                "See the logs of Ray on that node, in /tmp/ray/session_latest/logs.",
            )

    def _check_patience(self) -> None:
        if self._blocks.workers or self._starting:
            self._heard = time.monotonic()
        elif time.monotonic() - self._heard > PATIENCE_SECONDS:
            cores, gpus = self._share.cores, self._share.gpus
            needs = f"{cores} core{'s' if cores > 1 else ''}{f' and {gpus} GPU' if gpus else ''}"
            raise ClusterUnavailable(
                f"For {PATIENCE_SECONDS:.0f} s no worker could be started, which needs {needs}. "
                f"Ray has free: {_in_words(ray.available_resources())}.",
                "See `ray status` for what else uses the cluster.",
            )


class Actor:
    """A process on a node, which does one block after the other."""

    def start(self, worker: BlockWorker[Any, Any]) -> str:
        """Start a worker with the cores that Ray has assigned; return the node's address."""
        limit_spinning()
        self._worker = worker
        context = ray.get_runtime_context()
        node: str = ray.util.get_node_ip_address()
        try:
            worker.start(int(context.get_assigned_resources()["CPU"]))
        except LookalikeError as error:
            raise type(error)(f"On the node {node}: {error.message}", error.hint) from None
        return node

    def do(self, block: Sequence[Any]) -> tuple[float, Sequence[Any]]:
        """Return how many seconds a block took, and its results."""
        began = time.monotonic()
        results = self._worker(block)
        return time.monotonic() - began, results


@contextmanager
def connected(config: ExecutorConfig) -> Iterator[None]:
    """Connect this process to the cluster during the block, if it is not connected already.

    Afterwards all workers that it has started are gone. Raises
    :class:`~indexer.errors.ClusterUnavailable`.
    """
    if ray.is_initialized():
        yield
        return
    connect(config.address)
    try:
        yield
    finally:
        ray.shutdown()


def connect(address: str) -> None:
    """Connect this process to the cluster at ``address``, ``auto`` or host:port.

    Raises :class:`~indexer.errors.ClusterUnavailable`.
    """
    try:
        if address != "auto":  # Ray would try for minutes
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
        with chdir(_folder_of_imports()):
            ray.init(address, log_to_driver=False, logging_level="error")
    except (ray.exceptions.RayError, OSError, OverflowError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ClusterUnavailable(
            f"Ray cannot be reached at {address}: {reason}",
            "Run this on a node of the cluster (`ray start --address=HEAD:6379` makes this machine "
            "one), with the cluster's token; see docs/cluster.md.",
        ) from None


def _folder_of_imports() -> str:
    """Return a folder to connect in: Ray lets workers import from it, before all others.

    It is the current one only if this process imports from it, too. Otherwise a file ``random.py``
    among somebody's images would replace the standard library's module.
    """
    here = str(Path.cwd())
    return here if here in sys.path else str(scratch_folder())


def _nodes() -> list[tuple[int, int]]:
    """Return the cores and GPUs of the nodes that are alive."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return [(int(node.get("CPU", 0)), int(node.get("GPU", 0))) for node in nodes]


def _resources(share: Share) -> dict[str, int]:
    return {"num_cpus": share.cores, "num_gpus": share.gpus}


def _in_words(resources: Mapping[str, float]) -> str:
    return ", ".join(f"{resources.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
