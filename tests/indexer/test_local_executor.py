"""The local executor: order, batches, and memory that does not grow with the number of tasks."""

import threading
import time
from collections.abc import Iterator

import pytest

from indexer.executors.local import BATCHES_AHEAD, LocalExecutor


def slow_square(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def test_results_come_in_order_in_batches() -> None:
    batches = list(LocalExecutor(4).batches(slow_square, range(10), 4))
    assert batches == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]


def test_no_tasks_make_no_batches() -> None:
    assert list(LocalExecutor(2).batches(slow_square, [], 4)) == []


def test_only_a_few_batches_are_taken_ahead() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    batches = LocalExecutor(2).batches(slow_square, tasks(), 4)
    for done in range(1, 20):
        next(batches)
        assert taken <= (BATCHES_AHEAD + done) * 4
    batches.close()  # type: ignore[attr-defined]


def test_preparation_goes_on_while_the_consumer_works() -> None:
    prepared = threading.Semaphore(0)

    def prepare(number: int) -> int:
        prepared.release()
        return number

    batches = LocalExecutor(1).batches(prepare, range(100), 2)
    next(batches)
    for _ in range(2 * (BATCHES_AHEAD + 1)):  # all of these finish without another next()
        assert prepared.acquire(timeout=10)
    batches.close()  # type: ignore[attr-defined]


def test_an_error_reaches_the_consumer_and_stops_the_threads() -> None:
    def fail(number: int) -> int:
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(LocalExecutor(2).batches(fail, range(5), 2))
    assert not [t for t in threading.enumerate() if t.name.startswith("prepare")]
