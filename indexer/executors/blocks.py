"""Which worker of a cluster gets which block of tasks, and what happens to those of a lost worker.

Nothing here knows what a worker is, or how it is reached.
"""

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from indexer.errors import ClusterUnavailable
from indexer.executors.base import Result, Task
from indexer.executors.local import FEW_CORES

AT_ONCE = 2
"""How many blocks a worker has: one that it works on, and the next one."""

SMALLEST, LARGEST = 32, 1024
"""How many tasks a block has: few at first, twice as many whenever one was done in less than
:data:`BLOCK_SECONDS`. A lost worker costs :data:`AT_ONCE` blocks, so a few seconds of its work."""

BLOCK_SECONDS = 1.0

LOSSES = 3
"""How many workers a block may cost before it is halved, and a task before it has failed."""

HELD_BYTES = 1 << 29
"""No new blocks are given out while results of this size wait for those of an earlier block."""

WorkerId = TypeVar("WorkerId", bound=Hashable)


@dataclass(slots=True, eq=False)
class Block(Generic[Task, Result]):
    """Tasks that a worker does together, and their results once they are there."""

    tasks: Sequence[Task]
    losses: int = 0
    """How many workers were lost that worked on it."""
    results: Sequence[Result] | None = None
    size: int = 0
    """How many bytes the results have."""


class Share(NamedTuple):
    """How many workers fit into a cluster, and the cores and GPUs of each."""

    workers: int
    cores: int
    gpus: int


class Blocks(Generic[Task, Result, WorkerId]):
    """Gives blocks of tasks to workers, and their results out in the order of the tasks.

    The blocks of a lost worker are given to others first. The one that it worked on is suspected.
    It is the first one without results, which may have been lost with the worker: so a suspected
    block is then the only one of its worker, and is not blamed for another one again. Once it has
    cost :data:`LOSSES` workers it is halved, and so is each half that costs another one, until a
    single task is left. If that costs :data:`LOSSES` workers, its results are those of ``failed``.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        count: int,
        failed: Callable[[Sequence[Task]], Sequence[Result]],
    ) -> None:
        self._tasks = iter(tasks)
        self._left = count
        """How many of them were not yet taken."""
        self._failed = failed
        self._length = SMALLEST
        self._order = deque[Block[Task, Result]]()
        """The blocks whose results were not yet yielded, in the order of their tasks."""
        self._again = deque[Block[Task, Result]]()
        self._given: dict[WorkerId, deque[Block[Task, Result]]] = {}
        self._held = 0
        self.repeated = 0
        """How many tasks were given out again because their worker was lost."""
        self.losses_in_a_row = 0
        """How many workers were lost since a block was done."""

    @property
    def workers(self) -> int:
        """How many workers there are."""
        return len(self._given)

    @property
    def has_work(self) -> bool:
        """Whether there are tasks that no worker has."""
        return bool(self._again) or self._left > 0

    @property
    def is_done(self) -> bool:
        """Whether all results were yielded."""
        return not self._order and not self.has_work

    def workers_wanted(self, most: int) -> int:
        """Return how many workers, up to ``most``, have something to do."""
        waiting = len(self._again) + -(-self._left // SMALLEST)
        busy = sum(bool(blocks) for blocks in self._given.values())
        return min(most, busy + waiting)

    def join(self, worker: WorkerId) -> None:
        """Let a worker that is ready get blocks."""
        self._given[worker] = deque()

    def give(self) -> tuple[WorkerId, Block[Task, Result]] | None:
        """Return a worker and its next block; None if nothing can be given out now."""
        suspected = bool(self._again) and self._again[0].losses > 0
        free = [worker for worker in self._given if self._is_free(worker, suspected)]
        if not free or not self.has_work:
            return None
        worker = min(free, key=lambda worker: len(self._given[worker]))
        if self._again:
            block = self._again.popleft()
        elif self._held < HELD_BYTES:
            block = Block(list(islice(self._tasks, self._length)))
            self._left -= len(block.tasks)
            self._order.append(block)
        else:
            return None
        self._given[worker].append(block)
        return worker, block

    def _is_free(self, worker: WorkerId, suspected: bool) -> bool:
        """Tell whether a worker can have another block, a suspected one if it has none."""
        blocks = self._given[worker]
        if not blocks:
            return True
        return len(blocks) < AT_ONCE and not suspected and blocks[0].losses == 0

    def finish(
        self,
        worker: WorkerId,
        block: Block[Task, Result],
        results: Sequence[Result],
        size: int,
        seconds: float,
    ) -> None:
        """Take the results of a worker's block: ``size`` bytes, made in so many seconds."""
        self._given[worker].remove(block)
        self._end(block, results, size)
        self.losses_in_a_row = 0
        if seconds < BLOCK_SECONDS and len(block.tasks) == self._length < LARGEST:
            self._length *= 2

    def lose(self, worker: WorkerId) -> None:
        """Take back the blocks of a worker that is gone. One that is gone already has none."""
        blocks = self._given.pop(worker, None)
        if blocks is None:
            return
        self.losses_in_a_row += 1
        self.repeated += sum(len(block.tasks) for block in blocks)
        suspect = blocks.popleft() if blocks else None
        self._again.extendleft(reversed(blocks))
        if suspect:
            self._suspect(suspect)

    def ready(self) -> Iterator[Result]:
        """Yield the results that come next."""
        while self._order and self._order[0].results is not None:
            block = self._order.popleft()
            self._held -= block.size
            yield from block.results or ()

    def _suspect(self, block: Block[Task, Result]) -> None:
        """Give a block out again, after it was halved if it has cost too many workers."""
        block.losses += 1
        if block.losses < LOSSES:
            self._again.appendleft(block)
        elif len(block.tasks) == 1:
            self.repeated -= 1
            self._end(block, self._failed(block.tasks), 0)
        else:
            middle = len(block.tasks) // 2
            halves = [
                Block[Task, Result](tasks, LOSSES - 1 if len(tasks) > 1 else 0)
                for tasks in (block.tasks[:middle], block.tasks[middle:])
            ]
            place = self._order.index(block)
            self._order.remove(block)
            for half in reversed(halves):
                self._order.insert(place, half)
                self._again.appendleft(half)

    def _end(self, block: Block[Task, Result], results: Sequence[Result], size: int) -> None:
        block.results, block.size = results, size
        self._held += size


def share_of(nodes: Iterable[tuple[int, int]], most: int | None = None) -> Share:
    """Return how many workers to start on nodes of so many cores and GPUs, up to ``most``.

    It is one for each GPU or, where there are none, for each :data:`FEW_CORES` cores, since threads
    use so many fully.

    All workers are alike: where there are GPUs, nodes without are not used, and otherwise nodes
    with fewer cores only if no node has more. Raises
    :class:`~indexer.errors.ClusterUnavailable` if no node has anything to give.
    """
    nodes = list(nodes)
    if with_gpus := [(cores, gpus) for cores, gpus in nodes if 0 < gpus <= cores]:
        cores = min(cores // gpus for cores, gpus in with_gpus)
        share = Share(sum(gpus for _, gpus in with_gpus), cores, 1)
    elif some := [cores for cores, _ in nodes if cores]:
        cores = min(FEW_CORES, max(some))
        share = Share(sum(node // cores for node in some), cores, 0)
    else:
        raise ClusterUnavailable(
            "No node of the cluster has cores to assign.", "Start nodes with --num-cpus."
        )
    return share if most is None else share._replace(workers=min(most, share.workers))
