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
        self._leader: _Call[Item, Result] | None = None
        """The call whose thread does a batch, or is about to."""
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
        batch: list[_Call[Item, Result]] = []
        try:
            with self._lock:
                self._waiting.append(call)
                if self._leader is None:
                    self._lead_next()
            call.wake.wait()
            if not call.results.done():
                batch = self._next_batch()
                self._run_batch(batch)
        finally:
            self._leave(call, batch)
        return call.results.result()

    def _run_batch(self, batch: Sequence[_Call[Item, Result]]) -> None:
        """Do the work of a batch, and set the results or the error of its calls."""
        items = [item for call in batch for item in call.items]
        try:
            results = self._work(items)
            if len(results) != len(items):
                raise ValueError(f"{len(items)} items have {len(results)} results.")
        except Exception as error:  # noqa: BLE001 -- raised in the threads that wait
            for call in batch:
                call.results.set_exception(error)
        else:
            start = 0
            for call in batch:
                call.results.set_result(results[start : start + len(call.items)])
                start += len(call.items)

    def _leave(self, call: _Call[Item, Result], batch: Sequence[_Call[Item, Result]]) -> None:
        """End a call: let the first that still waits do the next batch, if it is this one's turn.

        An interrupt, such as KeyboardInterrupt, ends only the call of its own thread. The others of
        its batch wait again, before all that came later.
        """
        with self._lock:
            self._waiting.extendleft(other for other in reversed(batch) if not other.results.done())
            if not call.results.done() and call in self._waiting:
                self._waiting.remove(call)
            if self._leader is call:
                self._lead_next()
        for other in batch:
            if other.results.done():
                other.wake.set()

    def _lead_next(self) -> None:
        """Let the first call that waits, if there is one, do the next batch. Hold the lock."""
        self._leader = self._waiting[0] if self._waiting else None
        if self._leader:
            self._leader.wake.set()

    def _next_batch(self) -> list[_Call[Item, Result]]:
        with self._lock:
            batch = [self._waiting.popleft()]
            size = len(batch[0].items)
            while self._waiting and size + len(self._waiting[0].items) <= self.limit:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].items)
            self.sizes[size] += 1
        return batch
