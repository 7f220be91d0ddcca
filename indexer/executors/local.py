"""Preparation in the threads of this process, ahead of whoever consumes it."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

from indexer.errors import ExtractionStalled
from indexer.machine import available_cores

Task = TypeVar("Task")
Result = TypeVar("Result")

BATCHES_AHEAD = 3
"""How many batches are prepared ahead: enough to ride out slow files, flat in memory."""

TASK_SECONDS = 60.0
"""What a task may take: many times what the largest image needs on a slow machine."""

MAX_ABANDONED = 16
"""Threads that may hang at the same time: more mean that a disk or a network has failed."""

GOODBYE_SECONDS = 0.5
"""How long to wait for threads at the end: nobody who interrupts waits for a slow decoder."""


@dataclass(slots=True, eq=False)
class _Call(Generic[Task, Result]):
    """A task on its way through a thread. Whoever settles the future first decides its result."""

    task: Task
    future: "Future[Result]" = field(default_factory=Future)
    started: float | None = None

    def seconds_left(self, limit: float) -> float:
        return limit if self.started is None else self.started + limit - time.monotonic()


class LocalExecutor:
    """Runs tasks in threads. Pillow releases the interpreter lock while it decodes and resizes.

    A thread cannot be stopped. One whose task takes longer than ``seconds`` is abandoned: another
    takes its place, and its result, should it ever come, is dropped. All threads are daemons, so a
    hanging one does not keep the process from ending. (Nothing here helps against code that hangs
    with the interpreter lock held; Pillow's decoders and the system's calls do not hold it.)
    """

    def __init__(self, workers: int | None = None, seconds: float = TASK_SECONDS) -> None:
        self.workers = workers or available_cores()
        self.seconds = seconds

    def batches(
        self,
        prepare: Callable[[Task], Result],
        tasks: Iterable[Task],
        batch_size: int,
        *,
        overdue: Callable[[Task], Result],
    ) -> Iterator[list[Result]]:
        """Yield ``prepare(task)`` for all tasks, in order, in lists of ``batch_size``.

        While the consumer works on one batch, the next :data:`BATCHES_AHEAD` are being prepared.
        Tasks beyond them are not looked at, so memory does not grow with their number. A task that
        takes too long has the result ``overdue(task)``.

        Raises :class:`~indexer.errors.ExtractionStalled` if too many threads hang, and what
        ``prepare`` raises.
        """
        pending: deque[_Call[Task, Result]] = deque()
        tasks = iter(tasks)
        threads = _Threads(prepare, self.workers)
        try:
            while True:
                room = (BATCHES_AHEAD + 1) * batch_size - len(pending)
                for task in islice(tasks, room):
                    pending.append(threads.submit(task))
                if not pending:
                    return
                batch = [pending.popleft() for _ in range(min(batch_size, len(pending)))]
                yield [self._result(call, threads, overdue) for call in batch]
        finally:
            threads.dismiss()

    def _result(
        self,
        call: _Call[Task, Result],
        threads: "_Threads[Task, Result]",
        overdue: Callable[[Task], Result],
    ) -> Result:
        """Wait for a call's result. Calls start in order, so the one awaited is never held up."""
        while not call.future.done() and (left := call.seconds_left(self.seconds)) > 0:
            wait([call.future], left)
        if not call.future.done():
            with suppress(InvalidStateError):  # it is done after all
                call.future.set_result(overdue(call.task))
                threads.replace_one(self.seconds)
        return call.future.result()


class _Threads(Generic[Task, Result]):
    """Threads that take calls from a queue until they are dismissed or abandoned."""

    def __init__(self, prepare: Callable[[Task], Result], count: int) -> None:
        self._prepare = prepare
        self._calls: SimpleQueue[_Call[Task, Result] | None] = SimpleQueue()
        self._count = count
        self._threads: list[threading.Thread] = []
        for _ in range(count):
            self._start()

    def submit(self, task: Task) -> _Call[Task, Result]:
        """Queue a task."""
        call: _Call[Task, Result] = _Call(task)
        self._calls.put(call)
        return call

    def replace_one(self, seconds: float) -> None:
        """Start a thread in place of one that hangs. Raises :class:`ExtractionStalled`."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        hanging = len(self._threads) + 1 - self._count
        if hanging > MAX_ABANDONED:
            raise ExtractionStalled(
                f"{hanging} files at once have taken more than {seconds:.0f} s each to be read "
                "and decoded.",
                "Check that the disk or network they are on answers, then run it again.",
            )
        self._start()

    def dismiss(self) -> None:
        """Drop what is queued and let the threads go; those that are busy end later, or never."""
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        deadline = time.monotonic() + GOODBYE_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"prepare-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            call.started = time.monotonic()
            try:
                try:
                    result = self._prepare(call.task)
                except BaseException as error:  # noqa: BLE001 -- it is the consumer's to handle
                    call.future.set_exception(error)
                else:
                    call.future.set_result(result)
            except InvalidStateError:  # it took too long; another thread is in this one's place
                return
