"""Doing the same kind of work for concurrent threads in batches."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Call(Generic[Item, Result]):
    """The items of one call of :meth:`Batcher.run`, and their results."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.results: Future[Sequence[Result]] = Future()
        self.wake = threading.Event()
        """Set when the results are there, or when this thread is to do the next batch."""


class Batcher(Generic[Item, Result]):
    """Does the work of many threads in batches, first come, first served. Safe between threads.

    No thread waits for a batch to fill. If no batch is being worked on, a thread begins at once.
    Otherwise calls queue, and the thread that has waited longest then does all of them, up to
    ``limit`` items. The items of one call stay together.

    ``work(items)`` returns a result for each item, in their order.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], limit: int) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._waiting: deque[_Call[Item, Result]] = deque()
        self._is_busy = False
        self.limit = limit
        """The most items in a batch of several calls; 1 if batches are not faster."""
        self.sizes: Counter[int] = Counter()
        """How many batches of each size there have been."""

    @property
    def waiting(self) -> int:
        """How many items are queued."""
        with self._lock:
            return sum(len(call.items) for call in self._waiting)

    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """Return the result of each item. Raises what ``work`` raises for their batch."""
        call = _Call[Item, Result](items)
        with self._lock:
            self._waiting.append(call)
            if not self._is_busy:
                self._is_busy = True
                call.wake.set()
        call.wake.wait()
        if not call.results.done():
            self._run_batch()
        return call.results.result()

    def _run_batch(self) -> None:
        """Do the next batch, then let the first call that still waits do the one after."""
        batch = self._next_batch()
        items = [item for call in batch for item in call.items]
        try:
            results = self._work(items)
            if len(results) != len(items):
                raise ValueError(f"{len(items)} items have {len(results)} results.")
        except BaseException as error:  # noqa: BLE001 -- raised in the threads that wait
            for call in batch:
                call.results.set_exception(error)
        else:
            start = 0
            for call in batch:
                call.results.set_result(results[start : start + len(call.items)])
                start += len(call.items)
        with self._lock:
            self._is_busy = bool(self._waiting)
            if self._waiting:
                self._waiting[0].wake.set()
        for call in batch:
            call.wake.set()

    def _next_batch(self) -> list[_Call[Item, Result]]:
        with self._lock:
            batch = [self._waiting.popleft()]
            size = len(batch[0].items)
            while self._waiting and size + len(self._waiting[0].items) <= self.limit:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].items)
            self.sizes[size] += 1
        return batch
