"""Decoding, encoding and committing side by side: none waits for another without need."""

import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random

import faiss
import numpy as np
import pytest

import indexer.build.extract
import indexer.build.ingest
from indexer.build import build
from indexer.build.extract import Batch, extract
from indexer.build.ingest import Ingest
from indexer.config import Config
from indexer.datasets import Folder, Listing
from indexer.encoders.spec import Images, Vectors
from indexer.errors import LookalikeError
from indexer.executors import LocalExecutor
from indexer.maintenance import verify
from indexer.store import Store
from tests.conftest import small_config
from tests.corners import Corners, picture
from tests.processes import started

PICTURES = 40


class Encoder(Corners):
    """An encoder of small batches that calls a function before each of them."""

    batch_size = 4

    def __init__(self, before: Callable[[int], object] = bool) -> None:
        self.begun = 0
        self._before = before

    def encode(self, images: Images) -> Vectors:
        self.begun += 1
        self._before(self.begun)
        return super().encode(images)


def in_processes(*, slot_bytes: int, **_: object) -> LocalExecutor:
    """An executor of two processes, however many cores and files there are."""
    return LocalExecutor(2, slot_bytes=slot_bytes, processes=True)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    (tmp_path / "images").mkdir()
    for number in range(PICTURES):
        (tmp_path / "images" / f"{number:03}.png").write_bytes(picture(number))
    return small_config(tmp_path / "images", tmp_path / "s")


@pytest.fixture
def commits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of images of every commit."""
    sizes, commit = list[int](), Ingest._commit_batch

    def counted(ingest: Ingest, batch: Batch) -> None:
        commit(ingest, batch)
        sizes.append(len(batch.prepared))

    monkeypatch.setattr(Ingest, "_commit_batch", counted)
    return sizes


def wait_for(event: threading.Event) -> None:
    assert event.wait(60)


def test_the_encoder_does_not_wait_for_a_commit(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded_all, commit = threading.Event(), Ingest._commit_batch

    def slow(ingest: Ingest, batch: Batch) -> None:
        wait_for(encoded_all)
        commit(ingest, batch)

    monkeypatch.setattr(Ingest, "_commit_batch", slow)
    last = PICTURES // Encoder.batch_size
    report = build(config, Encoder(lambda number: number == last and encoded_all.set()))
    assert (report.encoded, report.indexed) == (PICTURES, PICTURES)
    assert verify(config).problems == []


def test_a_commit_does_not_wait_for_the_encoder(config: Config, commits: list[int]) -> None:
    """Each batch but the last two is committed before the second one after it is encoded."""

    def before(number: int) -> None:
        deadline = time.monotonic() + 60
        while sum(commits) < (number - 2) * Encoder.batch_size:
            assert time.monotonic() < deadline
            time.sleep(0.001)

    assert build(config, Encoder(before)).encoded == PICTURES


def test_fast_encoders_commit_many_batches_at_once(
    config: Config, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.ingest, "FAST", 0)
    build(config, Encoder())
    assert len(commits) <= 2, "the first one, whose speed is unknown, and the others"
    assert [s.count for s in Store(config.store).open_published().segments] in (commits, [PICTURES])


def test_a_commit_is_not_larger_than_necessary(
    config: Config, commits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.ingest, "FAST", 0)
    monkeypatch.setattr(indexer.build.ingest, "COMMIT_VECTORS", 2 * Encoder.batch_size)
    build(config, Encoder())
    assert max(commits) == 2 * Encoder.batch_size
    assert sum(commits) == PICTURES


def test_few_files_are_decoded_ahead(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.build.extract, "AHEAD", 6)
    read, ahead = list[str](), list[int]()
    dataset = indexer.build.extract.Preparation.__call__

    def counted(preparation: object, item: object) -> object:
        read.append("")
        return dataset(preparation, item)  # type: ignore[arg-type]

    monkeypatch.setattr(indexer.build.extract.Preparation, "__call__", counted)

    def before(number: int) -> None:
        time.sleep(0.05)
        ahead.append(len(read) - number * Encoder.batch_size)

    build(config, Encoder(before))
    assert len(read) == PICTURES
    assert 4 <= max(ahead) <= 6 + 2 * Encoder.batch_size


def test_an_error_of_the_encoder_keeps_what_was_encoded(config: Config) -> None:
    def fail(number: int) -> None:
        if number == 6:
            raise LookalikeError("The device is gone.", "Look for it.")

    with pytest.raises(LookalikeError, match="The device is gone"):
        build(config, Encoder(fail))
    assert build(config, Encoder()).encoded == PICTURES - 5 * Encoder.batch_size


def test_processes_make_the_index_that_threads_make(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "images" / "bad.png").write_bytes(b"x")
    (tmp_path / "images" / "copy.png").write_bytes(picture(7))
    other = small_config(tmp_path / "images", tmp_path / "other")
    reports = [build(config, Encoder())]
    monkeypatch.setattr(indexer.build.extract, "LocalExecutor", in_processes)
    reports.append(build(other, Encoder()))
    assert [r.reasons for r in reports] == [{"unsupported_image": 1}] * 2
    stores = [Store(c.store).open_published() for c in (config, other)]
    rows = [sorted(map(repr, store.catalogue.rows("indexed"))) for store in stores]
    assert rows[0] == rows[1]
    (tmp_path / "images" / "moved.png").write_bytes(picture(9))
    assert build(other, Encoder()).recognised == 1


def decoders() -> list[int]:
    """The processes that decode for this one: they have loaded Pillow."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        with suppress(OSError):
            for child in map(int, (task / "children").read_text().split()):
                with suppress(OSError):
                    is_executors = (
                        b"executors.processes" in Path(f"/proc/{child}/cmdline").read_bytes()
                    )
                    if is_executors and "_imaging" in Path(f"/proc/{child}/maps").read_text():
                        found.append(child)
    return found


def test_decoders_that_are_killed_change_nothing(
    tmp_path: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With DECODER_KILLS=50, a longer run."""
    kills, random = int(os.environ.get("DECODER_KILLS", "4")), Random(5)  # noqa: S311 -- moments
    (tmp_path / "images").mkdir()
    for photo in photos:
        shutil.copy(photo, tmp_path / "images" / photo.name)
    clean, config = (small_config(tmp_path / "images", tmp_path / name) for name in ("c", "s"))
    build(clean, Encoder())
    monkeypatch.setattr(indexer.build.extract, "AHEAD", 8)
    monkeypatch.setattr(indexer.build.extract, "LocalExecutor", in_processes)
    killed, last = 0, len(photos) // Encoder.batch_size - 4  # the others may all be decoded

    def kill(number: int) -> None:
        nonlocal killed
        deadline = time.monotonic() + 60
        while killed < kills * min(number, last) / last:
            assert time.monotonic() < deadline
            before = decoders()
            time.sleep(random.uniform(0.1, 0.3))
            # Not the one that tries a file again: after its second death the file is skipped.
            running = [process for process in decoders() if process in before]
            for process in random.sample(running, min(1, len(running))):
                os.kill(process, signal.SIGKILL)
                killed += 1

    report = build(config, Encoder(kill))
    assert killed >= kills
    assert (report.indexed, report.skipped) == (len(photos), 0)
    assert vectors(config) == vectors(clean)
    assert verify(config).problems == []


def vectors(config: Config) -> dict[str, tuple[float, ...]]:
    """The vector of every key."""
    version = Store(config.store).open_published()
    keys = {row.id: row.key for row in version.catalogue.rows("indexed")}
    return {
        keys[image_id]: tuple(vector)
        for segment in version.segments
        for image_id, vector in zip(
            segment.ids, faiss.read_index(str(segment.vectors_path)).reconstruct_n(), strict=True
        )
        if image_id in keys
    }


def test_a_content_that_is_taken_for_another_one_is_encoded(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config, Encoder())
    monkeypatch.setattr(indexer.build.extract, "_prefix", lambda _: np.uint64(0))
    (tmp_path / "images" / "new.png").write_bytes(picture(PICTURES))
    (tmp_path / "images" / "copy.png").write_bytes(picture(0))
    report = build(config, Encoder())
    assert (report.encoded, report.recognised, report.indexed) == (1, 1, PICTURES + 2)


class Described(Folder):
    """A folder whose images have more metadata than fit into the buffers between two processes."""

    def scan(self) -> Listing:
        listing = super().scan()
        text = "x" * 1_000_000
        listing.items = [replace(item, metadata={"text": text}) for item in listing.items]
        return listing


def test_long_metadata_does_not_stop_the_exchange_with_processes(config: Config) -> None:
    dataset = Described(config.dataset.roots[0])
    batches = extract(
        dataset,
        dataset.scan().items,
        Encoder(),
        max_pixels=1000,
        executor=LocalExecutor(2, processes=True),
    )
    images = [image for batch in batches for image in batch.prepared]
    assert len(images) == PICTURES
    assert all(len(image.item.metadata["text"]) == 1_000_000 for image in images)


@pytest.mark.parametrize(
    ("files", "cores", "on_gpu", "expected"),
    [
        (8, 5, True, True),
        (7, 5, True, None),  # too few for the start of processes
        (8, 4, True, None),  # threads use these
        (8, 5, False, None),  # which decodes on the cores that encode
    ],
)
def test_many_files_are_prepared_for_a_gpu_in_processes_from_the_start(
    files: int,
    cores: int,
    on_gpu: bool,
    expected: bool | None,
    config: Config,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = list[bool | None]()

    class Executor(LocalExecutor):
        def __init__(self, *, slot_bytes: int, processes: bool | None) -> None:
            chosen.append(processes)
            super().__init__(2, slot_bytes=slot_bytes, processes=processes)

    monkeypatch.setattr(indexer.build.extract, "LocalExecutor", Executor)
    monkeypatch.setattr(indexer.build.extract, "MANY_FILES", 8)
    monkeypatch.setattr(indexer.build.extract, "available_cores", lambda: cores)
    dataset = Folder(config.dataset.roots[0])
    encoder = Encoder()
    encoder.shares_cores = not on_gpu
    batches = extract(dataset, dataset.scan().items[:files], encoder, max_pixels=1000)
    assert sum(len(batch.prepared) for batch in batches) == files
    assert chosen == [expected]


SLOW = """
import sys, time
from indexer.cli.parser import main
from indexer.encoders.ncnn import NcnnEncoder
import indexer.machine

def encode(encoder, images):
    print("encodes", flush=True)
    time.sleep(60)

NcnnEncoder.encode = encode
indexer.machine.leave(main(["build", "--images", sys.argv[1], "--encoder", "efficientnet_lite0",
                            "--store", sys.argv[2]]))
"""


def test_an_interrupt_does_not_wait_for_the_encoder(config: Config) -> None:
    command = [sys.executable, "-c", SLOW, str(config.dataset.root), str(config.store)]
    with started(command) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "encodes\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)  # encoding takes twice as long
    assert process.returncode == 130
    assert "Interrupted. What was committed is kept" in errors
