"""An executor on this machine: threads, or processes where threads cannot keep up."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from itertools import islice

from indexer.executors.base import TASK_SECONDS, Call, Result, Task, Worker, Workers
from indexer.executors.processes import Processes
from indexer.executors.threads import Threads
from indexer.machine import available_cores

FEW_CORES = 4
"""Threads use so many cores fully. Beyond, they wait for Python's interpreter lock: on 16 cores, 8
threads decode 899 photographs per second, 16 threads 1,171 and 16 processes 1,591."""

WINDOW_SECONDS = 2.0
"""How often it is decided whether threads keep up."""

STARVED = 0.2
"""They do not if the consumer has waited for them this share of the time."""


class LocalExecutor:
    """Runs tasks in threads, and in processes from when threads do not keep up on many cores.

    A task that takes more than ``seconds`` is given up. The arrays of a result may have up to
    ``slot_bytes`` bytes. ``processes`` says whether to use them; None is decided from what is
    measured.
    """

    def __init__(
        self,
        workers: int | None = None,
        seconds: float = TASK_SECONDS,
        *,
        slot_bytes: int = 1 << 18,
        processes: bool | None = None,
    ) -> None:
        self.workers = workers or available_cores()
        self.seconds = seconds
        self._slot_bytes = slot_bytes
        self._processes = processes

    def run(
        self, make: Callable[[], Worker[Task, Result]], tasks: Iterable[Task], *, ahead: int
    ) -> Generator[Result]:
        """Yield the result of every task once, in the order of the tasks.

        ``make`` creates a worker for each thread or process; it and the tasks are pickled for the
        latter. Tasks must be small, a few kilobytes: a process is sent the next one while it may be
        about to send a result. At most ``ahead`` tasks are taken beyond those whose result was
        yielded, so that memory does not grow with their number. A task that takes too long, or
        whose process dies, has the result of :meth:`Worker.failed`.

        Raises :class:`~indexer.errors.ExtractionStalled` if too many tasks hang, and what a worker
        raises.
        """
        pools: list[Workers[Task, Result]] = []
        pending: deque[tuple[Workers[Task, Result], Call[Task, Result]]] = deque()
        tasks = iter(tasks)
        began, waited = time.monotonic(), 0.0
        try:
            pools.append(self._start(make, processes=self._processes is True))
            while True:
                for task in islice(tasks, ahead - len(pending)):
                    call = Call[Task, Result](task)
                    pools[-1].submit(call)
                    pending.append((pools[-1], call))
                if not pending:
                    return
                pool, call = pending.popleft()
                before = time.monotonic()
                result = pool.result(call)
                now = time.monotonic()
                waited += now - before
                if now - began > WINDOW_SECONDS:
                    if len(pools) == 1 and self._are_threads_too_slow(waited / (now - began)):
                        pools.append(self._start(make, processes=True))
                    began, waited = now, 0.0
                yield result
        finally:
            for pool in pools:
                pool.shut_down()

    def _are_threads_too_slow(self, waited: float) -> bool:
        """Decide from the share of the time that the consumer has waited for a result."""
        return self._processes is None and self.workers > FEW_CORES and waited > STARVED

    def _start(
        self, make: Callable[[], Worker[Task, Result]], *, processes: bool
    ) -> Workers[Task, Result]:
        if processes:
            return Processes(make, self.workers, self.seconds, self._slot_bytes)
        return Threads(make, self.workers, self.seconds)
