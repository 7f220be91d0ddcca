"""Workers in processes: those that die, and when they take over from threads."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from indexer.errors import ExtractionStalled
from indexer.executors import Failure, LocalExecutor, local
from indexer.executors.processes import Processes
from tests.waiting import eventually


@dataclass(frozen=True)
class Mortal:
    """Kills its own process for some tasks, each time or only the first one."""

    folder: Path
    kills: tuple[int, ...]
    once: bool = False

    def __call__(self, number: int) -> str:
        mark = self.folder / f"killed-{number}"
        if number in self.kills and not (self.once and mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return str(number)

    def failed(self, number: int, failure: Failure, seconds: float) -> str:
        return f"{failure} {number}"


def results(make: Callable[[], Mortal], count: int) -> list[str]:
    return list(LocalExecutor(2, processes=True).run(make, range(count), ahead=6))


def test_a_task_that_kills_its_process_costs_itself_alone(tmp_path: Path) -> None:
    expected = [str(number) for number in range(20)]
    expected[3], expected[11] = "worker_died 3", "worker_died 11"
    assert results(partial(Mortal, tmp_path, (3, 11)), 20) == expected


def test_a_task_whose_process_was_killed_is_done_again(tmp_path: Path) -> None:
    make = partial(Mortal, tmp_path, tuple(range(0, 20, 3)), once=True)
    assert results(make, 20) == [str(number) for number in range(20)]
    assert len(list(tmp_path.iterdir())) == 7


def unusable() -> Mortal:
    """Make no worker: in another process this ends it."""
    raise SystemExit(7)


def test_a_process_that_cannot_start_ends_the_run() -> None:
    with pytest.raises(ExtractionStalled, match="end at their start, with code 7, 7, 7"):
        results(unusable, 3)
    eventually(lambda: not [t for t in threading.enumerate() if t.name.startswith("prepare")])


class Shy(Mortal):
    """Kills its process when it is made there, twice."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, ())
        marks = len(list(folder.iterdir()))
        (folder / str(os.getpid())).touch()
        if marks < 2:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_was_killed_at_its_start_is_started_again(tmp_path: Path) -> None:
    executor = LocalExecutor(1, processes=True)
    assert list(executor.run(partial(Shy, tmp_path), range(3), ahead=3)) == ["0", "1", "2"]
    assert len(list(tmp_path.iterdir())) == 3


@dataclass(frozen=True)
class Slow:
    """Takes a while, and tells in which process."""

    def __call__(self, number: int) -> int:
        time.sleep(0.01)
        return os.getpid()

    def failed(self, number: int, failure: Failure, seconds: float) -> int:
        raise AssertionError(failure)


@pytest.mark.parametrize(
    ("cores", "busy", "switches"), [(5, 0.0, True), (5, 0.01, False), (4, 0.0, False)]
)
def test_processes_take_over_where_threads_do_not_keep_up(
    cores: int, busy: float, switches: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The consumer of five threads waits for them, unless it takes as long itself."""
    monkeypatch.setattr(local, "WINDOW_SECONDS", 0.2)
    started = list[int]()
    start = Processes.__init__

    def counted(self: Processes[int, int], make: object, count: int, *rest: object) -> None:
        started.append(count)
        start(self, make, count, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Processes, "__init__", counted)
    found = []
    for process in LocalExecutor(cores).run(Slow, range(400), ahead=40):
        time.sleep(busy)
        found.append(process)
    assert started == ([cores] if switches else [])
    assert len(found) == 400
    assert found[0] == os.getpid()
    assert (found[-1] != os.getpid()) == switches
