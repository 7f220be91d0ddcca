"""Preparation in threads of this process, ahead of the consumer."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, InvalidStateError, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from indexer.errors import ExtractionStalled
from indexer.machine import available_cores

Task = TypeVar("Task")
Result = TypeVar("Result")

BATCHES_AHEAD = 3
"""How many batches are prepared ahead: enough to bridge slow files, in bounded memory."""

TASK_SECONDS = 60.0
"""The time limit of a task, many times what the largest image takes on a slow machine."""

MAX_ABANDONED = 16
"""How many threads may hang at once; more mean that a disk or a network has failed."""

SHUTDOWN_SECONDS = 0.5
"""How long to wait for threads at the end, so that an interrupt is not held up by a decoder."""


@dataclass(slots=True, eq=False)
class _Call(Generic[Task, Result]):
    """A task in progress. Its thread and the timeout compete to set the result."""

    task: Task
    future: "Future[Result]" = field(default_factory=Future)
    started: float | None = None

    def seconds_left(self, limit: float) -> float:
        return limit if self.started is None else self.started + limit - time.monotonic()


class _Working(threading.local):
    """What this thread works on."""

    call: "_Call[Any, Any] | None" = None


_working = _Working()


@contextmanager
def untimed() -> Iterator[None]:
    """Do not count the time of the block against the task: it waits for other tasks.

    Afterwards the task has its full time again.
    """
    call = _working.call
    if call:
        call.started = None
    try:
        yield
    finally:
        if call:
            call.started = time.monotonic()


class LocalExecutor:
    """Runs tasks in threads. Pillow releases the interpreter lock while it decodes and resizes.

    A thread cannot be stopped. One whose task takes longer than ``seconds`` is abandoned: another
    thread replaces it, and a late result is dropped. All threads are daemons, so that a hanging
    one does not keep the process from exiting. This does not help if code hangs while it holds the
    interpreter lock, but Pillow's decoders and system calls release it.
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

        While the consumer works on one batch, the next :data:`BATCHES_AHEAD` are prepared. No
        further tasks are taken, so that memory does not grow with their number. The result of a
        task that takes too long is ``overdue(task)``.

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
            threads.shut_down()

    def _result(
        self,
        call: _Call[Task, Result],
        threads: "_Threads[Task, Result]",
        overdue: Callable[[Task], Result],
    ) -> Result:
        """Wait for a call's result. Calls start in order, so that no later one delays it."""
        while not call.future.done() and (left := call.seconds_left(self.seconds)) > 0:
            wait([call.future], left)
        if not call.future.done():
            with suppress(InvalidStateError):  # it has just finished
                call.future.set_result(overdue(call.task))
                threads.replace_one(self.seconds)
        return call.future.result()


class _Threads(Generic[Task, Result]):
    """Threads that take calls from a queue until they are shut down or abandoned."""

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
        """Start a thread to replace one that hangs. Raises :class:`ExtractionStalled`."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        hanging = len(self._threads) + 1 - self._count
        if hanging > MAX_ABANDONED:
            raise ExtractionStalled(
                f"{hanging} files at once have taken more than {seconds:.0f} s each to be read "
                "and decoded.",
                "Check that the disk or network they are on answers, then run it again.",
            )
        self._start()

    def shut_down(self) -> None:
        """Drop queued calls and end the threads; busy ones end after their task, if ever."""
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._threads:
            self._calls.put(None)
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _start(self) -> None:
        number = len(self._threads)
        thread = threading.Thread(target=self._work, name=f"prepare-{number}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            _working.call = call
            call.started = time.monotonic()
            try:
                try:
                    result = self._prepare(call.task)
                except BaseException as error:  # noqa: BLE001 -- raised in the consumer
                    call.future.set_exception(error)
                else:
                    call.future.set_result(result)
            except InvalidStateError:  # it took too long, and this thread was replaced
                return
