"""The interface of workers, and of what runs them. Nothing here knows of images."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

from indexer.errors import ExtractionStalled

TASK_SECONDS = 60.0
"""The time limit of a task, many times what the largest image takes on a slow machine."""

MAX_ABANDONED = 16
"""How many workers may hang at once; more mean that a disk or a network has failed."""

SHUTDOWN_SECONDS = 0.5
"""How long to wait for workers at the end, so that an interrupt is not held up by a task."""

Failure = Literal["timeout", "worker_died"]
"""Why a worker did not finish a task: it took too long, or its process ended."""

Task = TypeVar("Task")
Result = TypeVar("Result")
TaskT = TypeVar("TaskT", contravariant=True)
ResultT = TypeVar("ResultT", covariant=True)


class Worker(Protocol[TaskT, ResultT]):
    """Does tasks, one after the other. Each thread or process of an executor has its own."""

    def __call__(self, task: TaskT, /) -> ResultT:
        """Do a task."""

    def failed(self, task: TaskT, /, failure: Failure, seconds: float) -> ResultT:
        """Return the result of a task that was not finished within ``seconds``, or at all."""


class Timer(Protocol):
    """Measures the time of the task that a thread works on."""

    def start(self) -> None:
        """Begin to count, from zero."""

    def stop(self) -> None:
        """Do not count until the next start."""


@dataclass(slots=True, eq=False)
class Call(Generic[Task, Result]):
    """A task, and its result once there is one."""

    task: Task
    future: "Future[Result]" = field(default_factory=Future)
    started: float | None = None
    """Since when its time counts, by a monotonic clock; None while it does not."""

    def start(self) -> None:
        """Begin to count its time."""
        self.started = time.monotonic()

    def stop(self) -> None:
        """Do not count its time."""
        self.started = None


class _Working(threading.local):
    """What this thread works on."""

    timer: Timer | None = None


_working = _Working()


def measure_tasks(timer: Timer) -> None:
    """Make :func:`untimed` in this thread stop a timer, that of the task that now begins."""
    _working.timer = timer


@contextmanager
def untimed() -> Iterator[None]:
    """Do not count the time of the block against the task: it waits for other tasks.

    Afterwards the task has its full time again.
    """
    timer = _working.timer
    if timer:
        timer.stop()
    try:
        yield
    finally:
        if timer:
            timer.start()


class Workers(Protocol[Task, Result]):
    """The running workers of an executor, in threads or in processes."""

    def submit(self, call: Call[Task, Result]) -> None:
        """Queue a call. Calls start in the order in which they were queued."""

    def result(self, call: Call[Task, Result]) -> Result:
        """Wait for a call's result. Raises what the worker raised."""

    def shut_down(self) -> None:
        """Drop queued calls and end the workers, without waiting long for busy ones."""


def stalled(hanging: int, seconds: float) -> ExtractionStalled:
    """Return the error that too many workers hang."""
    return ExtractionStalled(
        f"{hanging} files at once have taken more than {seconds:.0f} s each to be read and "
        "decoded.",
        "Check that the disk or network they are on answers, then run it again.",
    )
