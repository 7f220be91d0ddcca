"""What every kind of workers must do: order, bounded memory, errors, tasks that never end.

Tasks are numbers. A worker waits for a file where a test has to decide when a task goes on, since
processes share nothing else with the test.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from indexer.errors import ExtractionStalled
from indexer.executors import Failure, LocalExecutor, processes, threads, untimed

OVERDUE, DEAD = -1, -2


@dataclass(frozen=True)
class Square:
    """Squares numbers. ``hanging`` ones wait for a file; each leaves a file when it begins."""

    folder: Path
    hanging: range = range(0)
    failing: range = range(0)

    def __call__(self, number: int) -> int:
        (self.folder / f"begun-{number}").touch()
        if number in self.failing:
            raise ValueError(number)
        while number in self.hanging and not (self.folder / "go").exists():
            time.sleep(0.01)
        return number * number

    def failed(self, number: int, failure: Failure, seconds: float) -> int:
        return OVERDUE if failure == "timeout" else DEAD


@pytest.fixture(params=[False, True], ids=["threads", "processes"])
def executor(request: pytest.FixtureRequest) -> Callable[..., LocalExecutor]:
    """Create an executor of two workers, unless the test asks for more."""
    return lambda workers=2, seconds=60.0: LocalExecutor(workers, seconds, processes=request.param)


Create = Callable[..., LocalExecutor]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder for the workers' files. At the end hanging workers go on and end."""
    yield tmp_path
    (tmp_path / "go").touch()
    for thread in prepare_threads():
        thread.join(20)
    assert prepare_threads() == []


def prepare_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("prepare")]


def begun(folder: Path, number: int) -> None:
    """Wait until a task has begun."""
    deadline = time.monotonic() + 20
    while not (folder / f"begun-{number}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_results_come_in_order(executor: Create, folder: Path) -> None:
    numbers = range(50)
    found = list(executor(workers=4).run(partial(Square, folder), numbers, ahead=12))
    assert found == [number * number for number in numbers]


def test_no_tasks_have_no_results(executor: Create, folder: Path) -> None:
    assert list(executor().run(partial(Square, folder), [], ahead=4)) == []


def test_only_a_few_tasks_are_taken_ahead(executor: Create, folder: Path) -> None:
    taken = 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(1000):
            taken += 1
            yield number

    squares = executor().run(partial(Square, folder), tasks(), ahead=8)
    for done in range(30):
        assert next(squares) == done * done
        assert taken <= done + 8
    squares.close()  # type: ignore[attr-defined]


def test_work_goes_on_while_the_consumer_is_busy(executor: Create, folder: Path) -> None:
    squares = executor(workers=1).run(partial(Square, folder), range(100), ahead=8)
    assert next(squares) == 0
    begun(folder, 7)
    squares.close()  # type: ignore[attr-defined]


def test_an_error_reaches_the_consumer_and_stops_the_workers(
    executor: Create, folder: Path
) -> None:
    squares = executor().run(partial(Square, folder, failing=range(3, 4)), range(9), ahead=4)
    assert [next(squares) for _ in range(3)] == [0, 1, 4]
    with pytest.raises(ValueError, match="3"):
        next(squares)
    assert prepare_threads() == []


def test_a_task_that_hangs_is_given_up_and_all_others_are_done(
    executor: Create, folder: Path
) -> None:
    make = partial(Square, folder, hanging=range(1, 9, 2))
    found = list(executor(seconds=0.3).run(make, range(9), ahead=9))
    assert found == [0, OVERDUE, 4, OVERDUE, 16, OVERDUE, 36, OVERDUE, 64]


def test_a_task_that_waits_its_turn_is_not_overdue(executor: Create, folder: Path) -> None:
    """Its time starts when a worker begins it, not when it is queued."""
    make = partial(Square, folder, hanging=range(3))
    found = list(executor(workers=1, seconds=0.3).run(make, range(6), ahead=6))
    assert found == [OVERDUE, OVERDUE, OVERDUE, 9, 16, 25]


@dataclass(frozen=True)
class Waits:
    """Sleeps for a second, in or out of the time that counts."""

    is_timed: bool

    def __call__(self, number: int) -> int:
        with nullcontext() if self.is_timed else untimed():
            time.sleep(1)
        return number

    def failed(self, number: int, failure: Failure, seconds: float) -> int:
        return OVERDUE


@pytest.mark.parametrize(("is_timed", "result"), [(False, 1), (True, OVERDUE)])
def test_waiting_for_others_does_not_count(executor: Create, is_timed: bool, result: int) -> None:
    assert list(executor(seconds=0.5).run(partial(Waits, is_timed), [1], ahead=1)) == [result]


def test_code_outside_of_tasks_can_be_untimed_too() -> None:
    with untimed():
        pass


@pytest.fixture
def few_may_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let four workers hang instead of sixteen."""
    for module in (threads, processes):
        monkeypatch.setattr(module, "MAX_ABANDONED", 4)


@pytest.mark.usefixtures("few_may_hang")
def test_some_tasks_may_hang(executor: Create, folder: Path) -> None:
    make = partial(Square, folder, hanging=range(4))
    squares = executor(seconds=0.05).run(make, range(6), ahead=4)
    assert list(squares) == [OVERDUE] * 4 + [16, 25]


@pytest.mark.usefixtures("few_may_hang")
def test_one_more_stops_the_run(executor: Create, folder: Path) -> None:
    make = partial(Square, folder, hanging=range(99))
    squares = executor(seconds=0.05).run(make, range(99), ahead=4)
    assert [next(squares) for _ in range(4)] == [OVERDUE] * 4
    with pytest.raises(ExtractionStalled, match="5 files"):
        next(squares)


def test_leaving_early_waits_for_no_task(executor: Create, folder: Path) -> None:
    squares = executor().run(partial(Square, folder, hanging=range(1, 99)), range(99), ahead=9)
    assert next(squares) == 0
    begun(folder, 1)
    began = time.monotonic()
    squares.close()  # type: ignore[attr-defined]  # would hang if it waited for the tasks
    assert not (folder / "go").exists()
    assert time.monotonic() - began < 30


@dataclass(frozen=True)
class Rows:
    """Makes an array of so many numbers, among other values."""

    def __call__(self, count: int) -> tuple[str, NDArray[np.uint8], NDArray[np.float32]]:
        bytes_ = np.arange(count, dtype=np.uint8).reshape(-1, 2)
        return "a", bytes_, np.full(3, count, np.float32)

    def failed(self, count: int, failure: Failure, seconds: float) -> None:
        raise AssertionError(failure)


@pytest.mark.parametrize("count", [0, 2, 1000, (1 << 18) - 12, (1 << 18) - 10])
def test_arrays_arrive_whatever_their_size(executor: Create, count: int) -> None:
    """The last two sizes are the largest that fits into shared memory, and the next one."""
    for name, found, other in executor().run(Rows, [count] * 7, ahead=3):
        assert name == "a"
        np.testing.assert_array_equal(found, np.arange(count, dtype=np.uint8).reshape(-1, 2))
        np.testing.assert_array_equal(other, np.full(3, count, np.float32))


def test_results_stay_as_they_are_when_later_ones_arrive(executor: Create) -> None:
    counts: Iterable[int] = range(2, 42, 2)
    found = list(executor().run(Rows, counts, ahead=20))
    for count, (_, row, other) in zip(counts, found, strict=True):
        np.testing.assert_array_equal(row.ravel(), np.arange(count))
        assert other.tolist() == [count] * 3
