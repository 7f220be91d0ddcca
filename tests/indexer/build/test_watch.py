"""A folder that is followed: what changes in it is in the index a little later."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from indexer.build import BuildReport, watch
from indexer.config import Config
from indexer.datasets import Folder
from indexer.errors import ConfigError, DatasetError
from indexer.store import Store
from indexer.store.lock import locked
from tests.conftest import small_config
from tests.waiting import SECONDS, eventually


class Ended(Exception):
    """The test is over."""


class Follower:
    """A thread that follows the folder of a configuration, and what it has told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.told: list[BuildReport | str] = []
        self.scans = self.builds = self.looks = 0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self._config: Config | None = None
        real_watch, real_scan, real_build = watch.watchfiles.watch, Folder.scan, watch.build

        def looks(*folders: Path, **options: Any) -> Iterator[set[Any]]:
            for changes in real_watch(*folders, **options):
                self.looks += 1
                if self._ended.is_set():
                    raise Ended
                yield changes

        def scan(folder: Folder) -> Any:
            self.scans += 1
            return real_scan(folder)

        monkeypatch.setattr(watch.watchfiles, "watch", looks)

        def build(*arguments: Any, **options: Any) -> BuildReport:
            self.builds += 1
            return real_build(*arguments, **options)

        monkeypatch.setattr(watch, "build", build)
        monkeypatch.setattr(Folder, "scan", scan)
        monkeypatch.setattr(watch, "LOOK_MS", 50)
        for name in ("SETTLED_S", "EVERY_S", "WAIT_S", "RETRY_S"):
            monkeypatch.setattr(watch, name, 0.05)

    def start(self, config: Config) -> None:
        self._config = config
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        assert self._config
        with suppress(Ended):
            watch.watch(self._config, self.told.append)

    def end(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join(SECONDS)

    @property
    def keys(self) -> list[str]:
        assert self._config
        if Store(self._config.store).current() is None:
            return []
        catalogue = Store(self._config.store).open_published().catalogue
        return sorted(row.key for row in catalogue.rows("indexed"))

    @property
    def reports(self) -> list[BuildReport]:
        return [what for what in self.told if not isinstance(what, str)]

    def has_told(self, text: str) -> bool:
        return any(text in what for what in self.told if isinstance(what, str))

    def eventually_has(self, *keys: str) -> None:
        eventually(lambda: self.keys == sorted(keys))


@pytest.fixture
def follower(monkeypatch: pytest.MonkeyPatch) -> Iterator[Follower]:
    follower = Follower(monkeypatch)
    yield follower
    follower.end()


@pytest.fixture
def folder(tmp_path: Path, photos: list[Path]) -> Path:
    """A folder of three photographs: 0.jpg to 2.jpg."""
    (tmp_path / "photos").mkdir()
    for number in range(3):
        shutil.copy(photos[number], tmp_path / "photos" / f"{number}.jpg")
    return tmp_path / "photos"


def arrive(photo: Path, file: Path) -> None:
    """Put a photograph there at once: nobody sees half of it, however busy the machine is."""
    shutil.copy(photo, file.parent.with_name("arriving.jpg"))
    file.parent.with_name("arriving.jpg").replace(file)


@pytest.fixture
def followed(folder: Path, tmp_path: Path, follower: Follower) -> Config:
    config = small_config(folder, tmp_path / "store")
    follower.start(config)
    eventually(lambda: follower.has_told("Following"))
    return config


def test_new_changed_moved_and_deleted_files_cost_no_scan(
    followed: Config, folder: Path, follower: Follower, photos: list[Path]
) -> None:
    arrive(photos[5], folder / "new.jpg")
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "new.jpg")
    (folder / "1.jpg").rename(folder / "moved.jpg")
    follower.eventually_has("0.jpg", "2.jpg", "moved.jpg", "new.jpg")
    (folder / "2.jpg").unlink()
    follower.eventually_has("0.jpg", "moved.jpg", "new.jpg")
    arrive(photos[6], folder / "0.jpg")
    eventually(lambda: sum(report.encoded for report in follower.reports) == 5)
    assert [report.skipped for report in follower.reports] == [0] * len(follower.reports)
    assert follower.scans == 1


def test_new_and_removed_folders(
    followed: Config, folder: Path, follower: Follower, photos: list[Path]
) -> None:
    shutil.copytree(folder, folder / "deep" / "er")
    deep = [f"deep/er/{number}.jpg" for number in range(3)]
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", *deep)
    shutil.copy(photos[5], folder / "deep" / "er" / "new.jpg")
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", *deep, "deep/er/new.jpg")
    (folder / "deep" / "er").rename(folder.with_name("gone"))
    (folder / "deep").rmdir()
    eventually(lambda: follower.has_told("of 7 indexed images are no longer there"))
    shutil.copytree(folder.with_name("gone"), folder / "again")
    again = [key.replace("deep/er", "again") for key in (*deep, "deep/er/new.jpg")]
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", *again)


def test_a_folder_that_is_away_is_waited_for(
    followed: Config, folder: Path, follower: Follower, photos: list[Path], tmp_path: Path
) -> None:
    folder.rename(tmp_path / "away")
    folder.mkdir()  # the mount point without its disk
    eventually(lambda: follower.has_told("away or empty"))
    shutil.copy(photos[5], tmp_path / "away" / "new.jpg")
    folder.rmdir()
    (tmp_path / "away").rename(folder)
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "new.jpg")
    assert sum(report.removed for report in follower.reports) == 0
    shutil.copy(photos[6], folder / "later.jpg")
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "later.jpg", "new.jpg")


def test_a_folder_without_images_is_waited_for(
    tmp_path: Path, follower: Follower, photos: list[Path]
) -> None:
    (tmp_path / "inbox").mkdir()
    follower.start(small_config(tmp_path / "inbox", tmp_path / "store"))
    eventually(lambda: follower.has_told("There are no images in"))
    shutil.copy(photos[0], tmp_path / "inbox")
    follower.eventually_has(photos[0].name)


def test_another_build_is_waited_for(
    followed: Config, folder: Path, follower: Follower, photos: list[Path]
) -> None:
    with locked(Store(followed.store)):
        arrive(photos[5], folder / "new.jpg")
        eventually(lambda: follower.has_told("Waiting: Another build"))
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "new.jpg")
    assert follower.scans == 1


def test_a_file_that_is_being_written_keeps_only_itself_waiting(
    followed: Config,
    folder: Path,
    follower: Follower,
    photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, sizes, is_writing = watch._state, count(), True

    def state(path: str) -> tuple[int, int] | None:
        return (next(sizes), 0) if is_writing and path.endswith("slow.jpg") else real(path)

    monkeypatch.setattr(watch, "_state", state)
    (folder / "slow.jpg").write_bytes(photos[5].read_bytes()[:1000])
    arrive(photos[6], folder / "quick.jpg")
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "quick.jpg")
    shutil.copy(photos[5], folder / "slow.jpg")
    is_writing = False
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "quick.jpg", "slow.jpg")
    assert [report.skipped for report in follower.reports] == [0] * len(follower.reports)


@pytest.mark.parametrize("is_described", [False, True])
def test_the_index_itself_is_not_followed(
    folder: Path, follower: Follower, photos: list[Path], tmp_path: Path, is_described: bool
) -> None:
    """Else each build would be the reason for the next one."""
    (tmp_path / "table.csv").write_text("path,text\nnew.jpg,what is new\n")
    dataset: dict[str, object] = {"root": str(folder)}
    if is_described:
        dataset["metadata"] = str(tmp_path / "table.csv")
    follower.start(small_config(folder, folder / "index", dataset=dataset))
    eventually(lambda: follower.has_told("Following"))
    arrive(photos[5], folder / "new.jpg")
    follower.eventually_has("0.jpg", "1.jpg", "2.jpg", "new.jpg")
    looks = follower.looks
    eventually(lambda: follower.looks > looks + 20)
    assert (follower.builds, follower.scans) == (2, 2 if is_described else 1)


def test_drives_that_report_no_changes_are_polled(
    folder: Path, tmp_path: Path, follower: Follower, photos: list[Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(watch, "is_network_drive", lambda _: True)
    monkeypatch.setattr(watch, "POLL_MS", 50)
    follower.start(small_config(folder, tmp_path / "store"))
    eventually(lambda: follower.has_told("a network drive, by polling"))
    shutil.copy(photos[5], folder / "new.jpg")
    (folder / "0.jpg").unlink()
    follower.eventually_has("1.jpg", "2.jpg", "new.jpg")
    assert follower.scans == 1


def test_what_cannot_be_followed(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a.jpg\n")
    flags = {"kind": "list", "root": str(tmp_path / "a.txt")}
    config = small_config(tmp_path, tmp_path / "store", dataset=flags)
    with pytest.raises(ConfigError, match=r"dataset\.kind is list"):
        watch.watch(config, print)
    with pytest.raises(DatasetError, match="does not exist"):
        watch.watch(small_config(tmp_path / "none", tmp_path / "store"), print)


def test_missing_files_are_taken_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "SETTLED_S", 0.0)
    files = [tmp_path / f"{number}.jpg" for number in range(3)]
    for file in files:
        file.touch()
    pending = watch.Pending()
    pending.add([str(tmp_path / "gone.jpg"), *map(str, files)])
    assert pending.take(2) == {str(file) for file in files[:2]}
    assert pending.take(2) == {str(files[2]), str(tmp_path / "gone.jpg")}
    assert pending.take(2) == set()


def test_many_changes_are_a_scan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MANY", 10)
    pending = watch.Pending()
    for number in (9, 10):
        pending.add([str(tmp_path / f"{n}.jpg") for n in range(number)])
        assert (pending.take(100) is None) == (number == 10)
    assert pending.take(100) == set()
    pending.put_back(None)
    assert pending.take(100) is None
