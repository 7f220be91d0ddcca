"""The pixels that are decoded at once: shares, order, and threads and processes that hang."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from indexer.build import build
from indexer.config import Config
from indexer.images import budget, decoding
from indexer.images.budget import Budget, SharedBudget
from tests.waiting import eventually


class Holder(threading.Thread):
    """Holds a share until it is told to let go."""

    def __init__(self, of: Budget, pixels: int, when_held: Callable[[], object] = bool) -> None:
        super().__init__(daemon=True)
        self._budget, self._pixels, self._when_held = of, pixels, when_held
        self.holds, self._done = threading.Event(), threading.Event()
        self.start()

    def run(self) -> None:
        with self._budget.hold(self._pixels):
            self._when_held()
            self.holds.set()
            self._done.wait(60)

    def let_go(self) -> None:
        self._done.set()
        self.join(60)


def waiting(of: Budget) -> bool:
    return of._first_in_line.locked()


def test_shares_are_held_at_once_up_to_the_budget() -> None:
    shared = Budget(100)
    first, second = Holder(shared, 60), Holder(shared, 40)
    assert first.holds.wait(60)
    assert second.holds.wait(60)
    assert shared.used == 100
    third = Holder(shared, 1)
    eventually(lambda: waiting(shared))
    assert not third.holds.is_set()
    second.let_go()
    assert third.holds.wait(60)
    assert shared.used == 61
    first.let_go()
    third.let_go()
    assert shared.used == 0


def test_an_image_larger_than_the_budget_is_decoded_alone() -> None:
    shared = Budget(100)
    small = Holder(shared, 1)
    assert small.holds.wait(60)
    large = Holder(shared, 5000)
    eventually(lambda: waiting(shared))
    assert not large.holds.is_set()
    small.let_go()
    assert large.holds.wait(60)
    assert shared.used == 100
    large.let_go()


def test_small_images_do_not_overtake_a_large_one_for_ever() -> None:
    shared, order = Budget(100), list[str]()
    first = Holder(shared, 60)
    assert first.holds.wait(60)
    large = Holder(shared, 100, lambda: order.append("large"))
    eventually(lambda: waiting(shared))
    small = Holder(shared, 10, lambda: order.append("small"))
    first.let_go()
    assert large.holds.wait(60)
    large.let_go()
    assert small.holds.wait(60)
    small.let_go()
    assert order == ["large", "small"]


def test_a_thread_that_hangs_does_not_keep_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = Budget(100)
    with shared.hold(100):
        monkeypatch.setattr(budget, "MAX_HELD_S", 0)
        assert shared.used == 0
        with shared.hold(100):
            pass


def test_a_share_is_returned_when_decoding_fails() -> None:
    shared = Budget(100)
    with pytest.raises(MemoryError), shared.hold(100):
        raise MemoryError
    assert shared.used == 0


def test_the_wait_is_told_apart_from_the_work() -> None:
    shared, events = Budget(100), list[str]()

    @contextmanager
    def told() -> Iterator[None]:
        events.append("waits")
        yield
        events.append("works")

    with shared.hold(1, told()):
        events.append("decodes")
    assert events == ["waits", "works", "decodes"]


def test_a_build_keeps_to_the_budget(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every image is larger than this budget, so each is decoded alone."""
    shared, seen = Budget(1), list[int]()
    first_frame = decoding._first_frame

    def counted(image: Image.Image, file: object) -> Image.Image:
        seen.append(len(shared._shares))
        return first_frame(image, file)

    monkeypatch.setattr(budget, "DECODING", shared)
    monkeypatch.setattr(decoding, "_first_frame", counted)
    report = build(config)
    assert (report.indexed, report.skipped) == (6, 0)
    assert seen == [1] * 6
    assert shared.used == 0


HOLD = """
import sys
from pathlib import Path
from contextlib import contextmanager
from indexer.images.budget import SharedBudget

@contextmanager
def told():
    print("waits", flush=True)
    yield

total, pixels = map(int, sys.argv[2:])
with SharedBudget(total, Path(sys.argv[1])).hold(pixels, told()):
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[Callable[[int], "subprocess.Popen[str]"]]:
    """Start a process that holds some of ten megapixels until its standard input ends."""
    running: list[subprocess.Popen[str]] = []

    def start(megapixels: float) -> "subprocess.Popen[str]":
        numbers = ["10000000", str(round(megapixels * 1e6))]
        command = [sys.executable, "-c", HOLD, str(tmp_path / "locks"), *numbers]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        running.append(subprocess.Popen(command, **pipes))  # type: ignore[call-overload]
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def says(process: "subprocess.Popen[str]", *lines: str) -> None:
    assert process.stdout
    for line in lines:
        assert process.stdout.readline() == f"{line}\n"


def test_processes_share_a_budget_and_one_that_is_killed_returns_its_share(
    hold: Callable[[float], "subprocess.Popen[str]"], tmp_path: Path
) -> None:
    first, second = hold(6), hold(4)
    says(first, "waits", "holds")
    says(second, "waits", "holds")
    third = hold(6.9)
    says(third, "waits")
    with SharedBudget(10_000_000, tmp_path / "locks").hold(999_999):
        """It is too small to be counted."""
    with pytest.raises(subprocess.TimeoutExpired):
        third.wait(0.3)
    first.kill()
    says(third, "holds")


def test_a_process_with_a_huge_image_waits_until_it_is_alone_and_is_not_overtaken(
    hold: Callable[[float], "subprocess.Popen[str]"],
) -> None:
    first = hold(1)
    says(first, "waits", "holds")
    huge = hold(500)
    says(huge, "waits")
    eventually(lambda: Path(f"/proc/{huge.pid}/fd").is_dir())
    first.communicate()
    says(huge, "holds")
    small = hold(1)
    says(small, "waits")
    with pytest.raises(subprocess.TimeoutExpired):
        small.wait(0.3)
    huge.communicate()
    says(small, "holds")
