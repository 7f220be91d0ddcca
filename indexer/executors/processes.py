"""Workers in processes of their own. A file that crashes its decoder costs that file alone.

A thread of this process drives each of them. Tasks are sent over a socket; the arrays of a result
are written to memory that both processes share, and are never pickled.

The processes are not started by :mod:`multiprocessing`, which would import the user's main module
in each of them.
"""

import json
import mmap
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from multiprocessing.connection import Connection
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import IO, Generic, Self

from indexer.errors import ExtractionStalled
from indexer.executors.base import (
    MAX_ABANDONED,
    SHUTDOWN_SECONDS,
    Call,
    Failure,
    Result,
    Task,
    Worker,
    measure_tasks,
    stalled,
)

AT_ONCE = 2
"""How many tasks a process has been sent, so that it need not wait for the next one."""

STARTS = 3
"""How often a process is started before it is clear that none can be."""

KILL_SECONDS = 1.0
"""How long to wait for a killed process: one that waits for a dead disk does not end."""

POLL_SECONDS = 0.2
"""How often a driver looks whether the executor is being shut down."""

START, STOP = "start", "stop"
"""What a process sends instead of a result: count the time of its task again, or do not."""

COMMAND = """
import json, sys
*numbers, path = sys.argv[1:]
sys.path = json.loads(path)
from indexer.executors.processes import serve
serve(*map(int, numbers))
"""


class Died(Exception):
    """A process ended, or was given up, before it had done its task."""

    def __init__(self, failure: Failure, code: int | None = None) -> None:
        super().__init__(failure)
        self.failure = failure
        self.code = code


class Processes(Generic[Task, Result]):
    """Processes that do the calls of one queue.

    The arrays of a result may have up to ``slot_bytes`` bytes. A process that dies, or whose task
    takes longer than ``seconds``, is replaced. The task of one that died is done again by a process
    that has no other; if that dies too, the task has failed.
    """

    def __init__(
        self,
        make: Callable[[], Worker[Task, Result]],
        count: int,
        seconds: float,
        slot_bytes: int,
    ) -> None:
        self._make = make
        self._seconds = seconds
        self._slot_bytes = slot_bytes
        self._calls: SimpleQueue[Call[Task, Result] | None] = SimpleQueue()
        self._ending = threading.Event()
        self._error: BaseException | None = None
        self._timeouts = 0
        """How many tasks in a row have taken too long."""
        self._drivers = [
            threading.Thread(target=self._drive, name=f"prepare-{number}", daemon=True)
            for number in range(count)
        ]
        for driver in self._drivers:
            driver.start()

    def submit(self, call: Call[Task, Result]) -> None:
        """Queue a call. Calls start in the order in which they were queued."""
        self._calls.put(call)
        if self._error:
            self._fail_queued(self._error)

    def result(self, call: Call[Task, Result]) -> Result:
        """Wait for a call's result."""
        return call.future.result()

    def shut_down(self) -> None:
        """Drop queued calls and kill the processes."""
        self._ending.set()
        with suppress(Empty):
            while True:
                self._calls.get_nowait()
        for _ in self._drivers:
            self._calls.put(None)
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for driver in self._drivers:
            driver.join(max(0.0, deadline - time.monotonic()))

    def _drive(self) -> None:
        """Send tasks to one process after the other, until the executor is shut down."""
        sent: deque[Call[Task, Result]] = deque()
        try:
            while not self._ending.is_set():
                try:
                    with self._start() as process:
                        self._feed(process, sent)
                        return
                except Died as death:
                    if sent and not self._ending.is_set():
                        self._give_up(sent[0], death.failure)
                        sent.popleft()
        except BaseException as error:  # noqa: BLE001 -- raised in the consumer
            self._error = error
            for call in sent:
                call.future.set_exception(error)
            self._fail_queued(error)

    def _feed(self, process: "_Process[Task, Result]", sent: deque[Call[Task, Result]]) -> None:
        """Send calls to a process and set their results. Raises :class:`Died`.

        ``sent`` holds those without a result: first the ones its predecessor left.
        """
        for call in sent:
            process.send(call.task)
        while not self._ending.is_set():
            while len(sent) < AT_ONCE and (new := self._next(wait=not sent)):
                sent.append(new)
                process.send(new.task)
            if not sent:
                return
            self._receive(process, sent[0])
            sent.popleft()

    def _next(self, *, wait: bool) -> Call[Task, Result] | None:
        """Take a call from the queue; None if there is none, or will be none any more."""
        try:
            call = self._calls.get(block=wait)
        except Empty:
            return None
        if call is None and not wait:
            self._calls.put(None)  # to be found again once the calls that were sent are done
        return call

    def _receive(self, process: "_Process[Task, Result]", call: Call[Task, Result]) -> None:
        """Wait for the result or the error of a process's first call. Raises :class:`Died`."""
        call.start()
        while True:
            if process.answers_within(POLL_SECONDS):
                if not process.receive(call):
                    continue
                self._timeouts = 0
                return
            if self._ending.is_set():
                return
            if call.started and call.started + self._seconds < time.monotonic():
                raise Died("timeout")

    def _give_up(self, call: Call[Task, Result], failure: Failure) -> None:
        """Set the result of a task whose process died, if it dies again."""
        if failure == "worker_died":
            try:
                with self._start() as process:
                    process.send(call.task)
                    self._receive(process, call)
                    return
            except Died as again:
                failure = again.failure
        if failure == "timeout":
            self._timeouts += 1
            if self._timeouts > MAX_ABANDONED:
                raise stalled(MAX_ABANDONED + 1, self._seconds)
        call.future.set_result(self._make().failed(call.task, failure, self._seconds))

    def _start(self) -> "_Process[Task, Result]":
        """Start a process, again if it ends at once. Raises ExtractionStalled."""
        codes = []
        for _ in range(STARTS):
            try:
                return _Process(self._make, self._slot_bytes)
            except Died as death:
                codes.append(str(death.code))
        raise ExtractionStalled(
            f"Processes that decode images end at their start, with code {', '.join(codes)}.",
            "Their errors are printed above. Check that there is enough memory.",
        )

    def _fail_queued(self, error: BaseException) -> None:
        with suppress(Empty):
            while True:
                if call := self._calls.get_nowait():
                    call.future.set_exception(error)


class _Process(Generic[Task, Result]):
    """A process that does the tasks it is sent, in order. It is killed at the end of the block.

    Raises :class:`Died` if it ends before its first task.
    """

    def __init__(self, make: Callable[[], Worker[Task, Result]], slot_bytes: int) -> None:
        ours, theirs = socket.socketpair()
        with theirs, _memory_file() as file:
            file.truncate(AT_ONCE * slot_bytes)
            self._memory = mmap.mmap(file.fileno(), AT_ONCE * slot_bytes)
            descriptors = file.fileno(), theirs.fileno()
            numbers = [str(number) for number in (*descriptors, slot_bytes)]
            self._process = subprocess.Popen(
                [sys.executable, "-c", COMMAND, *numbers, json.dumps(sys.path)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=descriptors,
                process_group=0,  # Ctrl-C reaches the user's process alone, which ends this one
            )
        self._connection = Connection(ours.detach())
        self._slots = cycle(range(0, AT_ONCE * slot_bytes, slot_bytes))
        try:
            self._connection.send(make)
            self._connection.recv()
        except (EOFError, OSError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(KILL_SECONDS)
            self.__exit__(None, None, None)
            raise Died("worker_died", self._process.returncode) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._connection.close()
        self._memory.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(KILL_SECONDS)

    def send(self, task: Task) -> None:
        """Send a task. Raises :class:`Died`."""
        try:
            self._connection.send(task)
        except OSError:
            raise Died("worker_died") from None

    def answers_within(self, seconds: float) -> bool:
        """Wait for an answer, or for the end of the process; False if there is neither in time."""
        try:
            return self._connection.poll(seconds)
        except OSError:
            raise Died("worker_died") from None

    def receive(self, call: Call[Task, Result]) -> bool:
        """Set the result or the error of a call, the first one without. Raises :class:`Died`.

        Return False if its time is to stop or to start instead.
        """
        try:
            message = self._connection.recv()
        except (EOFError, OSError):
            raise Died("worker_died") from None
        if message in (START, STOP):
            call.start() if message == START else call.stop()
            return False
        pickled, sizes, error = message
        if error is not None:
            call.future.set_exception(error)
            return True
        start, buffers = next(self._slots), []
        for size in sizes:
            buffers.append(self._memory[start : start + size])
            start += size
        call.future.set_result(
            pickle.loads(pickled, buffers=buffers)  # noqa: S301 -- from our own process
        )
        return True


class _Timer:
    """Tells the other process when the time of a task does not count."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def start(self) -> None:
        self._connection.send(START)

    def stop(self) -> None:
        self._connection.send(STOP)


def _memory_file() -> IO[bytes]:
    """Create a file without a name; in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("lookalike"), "r+b")
    return tempfile.TemporaryFile()


def serve(memory: int, connection: int, slot_bytes: int) -> None:
    """Do tasks until the other process closes the connection. Both numbers are descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    shared, other = mmap.mmap(memory, AT_ONCE * slot_bytes), Connection(connection)
    slots = cycle(range(0, AT_ONCE * slot_bytes, slot_bytes))
    measure_tasks(_Timer(other))
    with suppress(EOFError, ConnectionError):
        worker = other.recv()()
        other.send(None)
        while True:
            task = other.recv()
            try:
                pickled, sizes = _store(worker(task), shared, slots, slot_bytes)
            except Exception as error:  # noqa: BLE001 -- raised in the consumer
                other.send((b"", (), error))
            else:
                other.send((pickled, sizes, None))


def _store(
    result: object, shared: mmap.mmap, slots: "cycle[int]", slot_bytes: int
) -> tuple[bytes, tuple[int, ...]]:
    """Pickle a result without its arrays, which go to the next slot. Return it and their sizes.

    The source of this protocol is PEP 574, pickling with out-of-band data.
    """
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(result, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    sizes = tuple(array.nbytes for array in arrays)
    start = next(slots)
    if sum(sizes) > slot_bytes:
        return pickle.dumps(result, protocol=5), ()
    for array in arrays:
        shared[start : start + array.nbytes] = array
        start += array.nbytes
    return pickled, sizes
