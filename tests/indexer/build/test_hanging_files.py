"""Files that hang are skipped; neither the build nor the process waits for them."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

import indexer.build.ingest
import indexer.build.pipeline
import indexer.build.plan
from indexer.build import build
from indexer.build.extract import extract
from indexer.build.plan import preview
from indexer.config import Config
from indexer.datasets import Folder, Item, Listing
from indexer.executors import LocalExecutor
from indexer.store import Store
from tests.processes import started

# Opening a pipe without a writer blocks, like a file on an unreachable network disk.
PIPE = "pipe.jpg"


class FolderWithPipe(Folder):
    """A folder in which a pipe is listed as a file."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._pipe = root / PIPE

    def scan(self) -> Listing:
        listing = super().scan()
        if listing.unreadable.pop(PIPE, None):
            listing.items.append(Item(PIPE, 1, 1))
        return listing.in_order()

    def read(self, key: str) -> bytes:
        return self._pipe.read_bytes() if key == PIPE else super().read(key)


@pytest.fixture
def pipe(images: Path) -> Iterator[Path]:
    os.mkfifo(images / PIPE)
    yield images / PIPE
    for thread in threading.enumerate():
        if thread.name.startswith("prepare"):
            os.close(os.open(images / PIPE, os.O_RDWR))  # a writer that opens and closes it
            thread.join()


def test_a_file_that_hangs_is_skipped_and_tried_again(
    config: Config, images: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(indexer.build.pipeline, "open_dataset", lambda _: FolderWithPipe(images))
        impatient = partial(extract, executor=LocalExecutor(seconds=3))
        patch.setattr(indexer.build.ingest, "extract", impatient)
        report = build(config)
    assert (report.found, report.indexed, report.skipped) == (7, 6, 1)
    (skipped,) = Store(config.store).open_published().catalogue.rows("skipped")
    assert (skipped.key, skipped.stage, skipped.reason) == (PIPE, "read", "timeout")
    assert skipped.message == "Reading and decoding it took more than 3 s."
    os.close(os.open(pipe, os.O_RDWR))
    pipe.unlink()
    pipe.write_bytes(next(images.rglob("*/*.jpg")).read_bytes())
    report = build(config)
    assert (report.recognised, report.indexed, report.skipped) == (1, 7, 0)


def test_a_file_that_hangs_is_tried_once_more(
    config: Config, images: Path, pipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (indexer.build.pipeline, indexer.build.plan):
        monkeypatch.setattr(module, "open_dataset", lambda _: FolderWithPipe(images))
    impatient = partial(extract, executor=LocalExecutor(seconds=3))
    monkeypatch.setattr(indexer.build.ingest, "extract", impatient)
    assert build(config).reasons == {"timeout": 1}
    assert preview(config)["retried"] == ["pipe.jpg"]
    assert build(config).reasons == {"timeout_twice": 1}
    assert preview(config)["retried"] == []
    version = build(config).version
    (skipped,) = Store(config.store).open_published().catalogue.rows("skipped")
    assert (skipped.reason, version) == ("timeout_twice", "00000002")


SCRIPT = """
import sys
from functools import partial
from pathlib import Path
import indexer.build.pipeline
import indexer.build.ingest
import indexer.build.plan
from indexer.cli.parser import main
from indexer.executors import LocalExecutor
from indexer.build.extract import extract
from tests.indexer.build.test_hanging_files import FolderWithPipe

images, store, seconds = sys.argv[1:]

class Folder(FolderWithPipe):
    def read(self, key):
        if key == "pipe.jpg":
            print("hanging", flush=True)
        return super().read(key)

indexer.build.pipeline.open_dataset = lambda _: Folder(Path(images))
indexer.build.ingest.extract = partial(extract, executor=LocalExecutor(seconds=float(seconds)))
sys.exit(main(["build", "--images", images, "--encoder", "efficientnet_lite0", "--store", store]))
"""


def command(images: Path, tmp_path: Path, seconds: float) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(images), str(tmp_path / "s"), str(seconds)]


def test_a_file_that_hangs_does_not_keep_the_process_from_ending(
    images: Path, pipe: Path, tmp_path: Path
) -> None:
    with started(command(images, tmp_path, 3)) as running:
        output, errors = running.communicate(timeout=120)
    assert running.returncode == 0, errors
    assert "found 7 = indexed 6 + skipped 1 (timeout 1)" in output


def test_an_interruption_does_not_wait_for_a_file_that_hangs(
    images: Path, pipe: Path, tmp_path: Path
) -> None:
    with started(command(images, tmp_path, 10_000)) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "hanging\n"
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=120)
    assert running.returncode == 130, errors
    assert "run it again to go on" in errors
