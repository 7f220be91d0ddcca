"""The local executor: order, batches, bounded memory, and tasks that never end."""

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import nullcontext

import pytest

from indexer.errors import ExtractionStalled
from indexer.executors.local import BATCHES_AHEAD, MAX_ABANDONED, LocalExecutor, untimed

OVERDUE = -1


def batches(
    prepare: Callable[[int], int],
    tasks: Iterable[int],
    batch_size: int,
    *,
    workers: int = 2,
    seconds: float = 60,
) -> Generator[list[int]]:
    yield from LocalExecutor(workers, seconds).batches(
        prepare, tasks, batch_size, overdue=lambda _: OVERDUE
    )


def threads() -> int:
    return sum(thread.name.startswith("prepare") for thread in threading.enumerate())


def slow_square(number: int) -> int:
    time.sleep(0.002 * (number % 3))
    return number * number


def test_results_come_in_order_in_batches() -> None:
    squares = list(batches(slow_square, range(10), 4, workers=4))
    assert squares == [[0, 1, 4, 9], [16, 25, 36, 49], [64, 81]]


def test_no_tasks_make_no_batches() -> None:
    assert list(batches(slow_square, [], 4)) == []


def test_only_a_few_batches_are_taken_ahead() -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    squares = batches(slow_square, tasks(), 4)
    for done in range(1, 20):
        next(squares)
        assert taken <= (BATCHES_AHEAD + done) * 4
    squares.close()


def test_preparation_goes_on_while_the_consumer_works() -> None:
    prepared = threading.Semaphore(0)

    def prepare(number: int) -> int:
        prepared.release()
        return number

    numbers = batches(prepare, range(100), 2, workers=1)
    next(numbers)
    for _ in range(2 * (BATCHES_AHEAD + 1)):  # all of these finish without another next()
        assert prepared.acquire(timeout=10)
    numbers.close()


def test_an_error_reaches_the_consumer_and_stops_the_threads() -> None:
    def fail(number: int) -> int:
        raise ValueError(number)

    with pytest.raises(ValueError, match="0"):
        list(batches(fail, range(5), 2))
    assert threads() == 0


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """Hanging tasks wait for this event, which is set at the end so that no threads remain."""
    event = threading.Event()
    yield event
    event.set()
    for thread in threading.enumerate():
        if thread.name.startswith("prepare"):
            thread.join()


def test_a_task_that_hangs_is_overdue_and_all_others_are_done(released: threading.Event) -> None:
    def hang_on_odd(number: int) -> int:
        if number % 2:
            released.wait()
        return number

    found = list(batches(hang_on_odd, range(9), 3, seconds=0.05))
    assert found == [[0, OVERDUE, 2], [OVERDUE, 4, OVERDUE], [6, OVERDUE, 8]]
    assert threads() == 4, "the four that hang, and none of their successors"


def test_the_result_of_an_overdue_task_is_dropped(released: threading.Event) -> None:
    def first_is_late(number: int) -> int:
        if number == 0:
            released.wait()
        return number

    def numbers() -> Iterator[int]:
        yield from range(8)
        released.set()  # taken once the first batch has been yielded
        yield from range(8, 20)

    found = batches(first_is_late, numbers(), 2, workers=1, seconds=0.05)
    assert list(found) == [[OVERDUE, 1], *([n, n + 1] for n in range(2, 20, 2))]
    assert threads() == 0


def test_a_task_that_waits_its_turn_is_not_overdue(released: threading.Event) -> None:
    """Its time starts when a thread takes it, not when it is queued."""

    def hang_at_first(number: int) -> int:
        if number < 3:
            released.wait()
        return number

    found = list(batches(hang_at_first, range(8), 8, workers=1, seconds=0.05))
    assert found == [[OVERDUE, OVERDUE, OVERDUE, 3, 4, 5, 6, 7]]


@pytest.mark.parametrize("hanging", [MAX_ABANDONED, MAX_ABANDONED + 1])
def test_too_many_hanging_tasks_stop_the_run(released: threading.Event, hanging: int) -> None:
    def hang(number: int) -> int:
        if number < hanging:
            released.wait()
        return number

    found = batches(hang, range(MAX_ABANDONED + 4), 4, seconds=0.02)
    if hanging == MAX_ABANDONED:
        assert [n for batch in found for n in batch if n != OVERDUE] == [16, 17, 18, 19]
    else:
        with pytest.raises(ExtractionStalled, match="17 files at once"):
            list(found)


def test_leaving_early_waits_for_no_task(released: threading.Event) -> None:
    hanging = threading.Semaphore(0)

    def hang_later(number: int) -> int:
        if number:
            hanging.release()
            released.wait()
        return number

    found = batches(hang_later, range(100), 1)
    assert next(found) == [0]
    assert all(hanging.acquire(timeout=10) for _ in range(2))
    found.close()  # would hang if it waited for the tasks
    assert threads() == 2


@pytest.mark.parametrize(("is_timed", "result"), [(False, 1), (True, OVERDUE)])
def test_waiting_for_others_does_not_count(is_timed: bool, result: int) -> None:
    others_are_done = threading.Event()

    def waits(task: int) -> int:
        with nullcontext() if is_timed else untimed():
            others_are_done.wait(1.5)
        return task

    assert list(batches(waits, [1], 1, seconds=0.5)) == [[result]]
    others_are_done.set()


def test_code_outside_of_tasks_can_be_untimed_too() -> None:
    with untimed():
        pass
