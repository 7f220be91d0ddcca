"""Concurrent requests for the same kind of work, done together."""

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Turn(Generic[Item, Result]):
    """What one thread asks for, until it is answered."""

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.results: Future[Sequence[Result]] = Future()
        self.has_come = threading.Event()
        """Set when the results are there, or when it is for this thread to work for all."""


class Batcher(Generic[Item, Result]):
    """Does the work of many threads together, first come, first served. Safe between threads.

    While a batch is worked on the next one gathers: no thread waits for others to come, and one
    that finds no batch at work begins at once. Otherwise the thread that has waited longest works
    for all that wait, up to ``limit`` items; what one thread asks for in one call stays together.

    ``work(items)`` returns a result for each item, in their order.
    """

    def __init__(self, work: Callable[[Sequence[Item]], Sequence[Result]], limit: int) -> None:
        self._work = work
        self._lock = threading.Lock()
        self._waiting: deque[_Turn[Item, Result]] = deque()
        self._is_busy = False
        self.limit = limit
        """The most items that are joined; 1 where batches do not pay."""
        self.sizes: Counter[int] = Counter()
        """How many batches of each size there have been."""

    @property
    def waiting(self) -> int:
        """Items that have not been begun."""
        with self._lock:
            return sum(len(turn.items) for turn in self._waiting)

    def run(self, items: Sequence[Item]) -> Sequence[Result]:
        """Return the result of each item. Raises whatever ``work`` raises for their batch."""
        turn = _Turn[Item, Result](items)
        with self._lock:
            self._waiting.append(turn)
            if not self._is_busy:
                self._is_busy = True
                turn.has_come.set()
        turn.has_come.wait()
        if not turn.results.done():
            self._work_for_all()
        return turn.results.result()

    def _work_for_all(self) -> None:
        """Do the work of those that have waited longest, then hand over to the next."""
        batch = self._next_batch()
        items = [item for turn in batch for item in turn.items]
        try:
            results = self._work(items)
            if len(results) != len(items):
                raise ValueError(f"{len(items)} items have {len(results)} results.")
        except BaseException as error:  # noqa: BLE001 -- raised in the threads that wait
            for turn in batch:
                turn.results.set_exception(error)
        else:
            start = 0
            for turn in batch:
                turn.results.set_result(results[start : start + len(turn.items)])
                start += len(turn.items)
        with self._lock:
            self._is_busy = bool(self._waiting)
            if self._waiting:
                self._waiting[0].has_come.set()
        for turn in batch:
            turn.has_come.set()

    def _next_batch(self) -> list[_Turn[Item, Result]]:
        with self._lock:
            batch = [self._waiting.popleft()]
            size = len(batch[0].items)
            while self._waiting and size + len(self._waiting[0].items) <= self.limit:
                batch.append(self._waiting.popleft())
                size += len(batch[-1].items)
            self.sizes[size] += 1
        return batch
