"""Preparation in the threads of this process, ahead of whoever consumes it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from indexer.machine import available_cores

Task = TypeVar("Task")
Result = TypeVar("Result")

BATCHES_AHEAD = 3
"""How many batches are prepared ahead: enough to ride out slow files, flat in memory."""


class LocalExecutor:
    """Runs tasks in threads. Pillow releases the interpreter lock while it decodes and resizes."""

    def __init__(self, workers: int | None = None) -> None:
        self.workers = workers or available_cores()

    def batches(
        self, prepare: Callable[[Task], Result], tasks: Iterable[Task], batch_size: int
    ) -> Iterator[list[Result]]:
        """Yield ``prepare(task)`` for all tasks, in order, in lists of ``batch_size``.

        While the consumer works on one batch, the next :data:`BATCHES_AHEAD` are being prepared.
        Tasks beyond them are not looked at, so memory does not grow with their number.
        """
        pending: deque[Future[Result]] = deque()
        tasks = iter(tasks)
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="prepare")
        try:
            while True:
                room = (BATCHES_AHEAD + 1) * batch_size - len(pending)
                pending.extend(pool.submit(prepare, task) for task in islice(tasks, room))
                if not pending:
                    return
                yield [pending.popleft().result() for _ in range(min(batch_size, len(pending)))]
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
