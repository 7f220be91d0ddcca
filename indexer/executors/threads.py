"""Workers in threads of this process."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import InvalidStateError, wait
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Generic

from indexer.executors.base import (
    MAX_ABANDONED,
    SHUTDOWN_SECONDS,
    Call,
    Result,
    Task,
    Worker,
    measure_tasks,
    stalled,
)


class Threads(Generic[Task, Result]):
    """Threads that take calls from a queue. Pillow releases the interpreter lock as it decodes.

    A thread cannot be stopped. One whose task takes longer than ``seconds`` is abandoned: another
    thread replaces it, and a late result is dropped. All threads are daemons, so that a hanging
    one does not keep the process from exiting. This does not help if code hangs while it holds the
    interpreter lock, but Pillow's decoders and system calls release it.
    """

    def __init__(self, make: Callable[[], Worker[Task, Result]], count: int, seconds: float):
        self._make = make
        self._count = count
        self._seconds = seconds
        self._calls: SimpleQueue[Call[Task, Result] | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        for _ in range(count):
            self._start()

    def submit(self, call: Call[Task, Result]) -> None:
        """Queue a call. Calls start in the order in which they were queued."""
        self._calls.put(call)

    def result(self, call: Call[Task, Result]) -> Result:
        """Wait for a call's result. Calls start in order, so that no later one delays it."""
        while not call.future.done() and (left := self._seconds_left(call)) > 0:
            wait([call.future], left)
        if not call.future.done():
            with suppress(InvalidStateError):  # it has just finished
                call.future.set_result(self._make().failed(call.task, "timeout", self._seconds))
                self._replace_one()
        return call.future.result()

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

    def _seconds_left(self, call: Call[Task, Result]) -> float:
        if call.started is None:
            return self._seconds
        return call.started + self._seconds - time.monotonic()

    def _replace_one(self) -> None:
        """Start a thread to replace one that hangs. Raises ExtractionStalled."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        hanging = len(self._threads) + 1 - self._count
        if hanging > MAX_ABANDONED:
            raise stalled(hanging, self._seconds)
        self._start()

    def _start(self) -> None:
        name = f"prepare-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self) -> None:
        worker = self._make()
        while (call := self._calls.get()) is not None:
            measure_tasks(call)
            call.start()
            try:
                try:
                    result = worker(call.task)
                except BaseException as error:  # noqa: BLE001 -- raised in the consumer
                    call.future.set_exception(error)
                else:
                    call.future.set_result(result)
            except InvalidStateError:  # it took too long, and this thread was replaced
                return
