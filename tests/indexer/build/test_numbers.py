"""Numbers that files have and a catalogue cannot hold cost nothing, or the file that has them."""

import os
import struct
import threading
from pathlib import Path

import pytest

from indexer.build import build
from indexer.build.plan import preview
from indexer.config import Config
from indexer.datasets import Folder, Item
from indexer.errors import ImageUnreadable
from indexer.maintenance import status, verify
from indexer.store import Store
from tests.conftest import Reindex

SECOND = 10**9
TIMES = {
    "the epoch": 0,
    "just before it": -1,
    "the year 1901": -(2**31) * SECOND,
    "the year 2262": 2**63 - 1,
    "just after 64 bits": 2**63,
    "the year 2300": 10_413_792_000 * SECOND,
    "as late as the file system allows": 2**62 * SECOND,
    "as early": -(2**62) * SECOND,
}


def test_files_of_any_time_are_indexed_once(reindex: Reindex, images: Path, config: Config) -> None:
    data = next(images.rglob("*.jpg")).read_bytes()
    for number, (name, time) in enumerate(TIMES.items()):
        (images / f"{name}.jpg").write_bytes(data + bytes([number]))
        os.utime(images / f"{name}.jpg", ns=(time, time))
    report = reindex()
    assert (report.indexed, report.skipped) == (6 + len(TIMES), 0)
    assert not any(preview(config).values())
    assert reindex().version == report.version
    assert status(config).to_json()["counts"]["indexed"] == 6 + len(TIMES)
    assert verify(config).problems == []


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        (2**63 - 1, 2**63 - 1), (2**63, 2**63 - 1), (2**80, 2**63 - 1),
        (-(2**63), -(2**63)), (-(2**63) - 1, -(2**63)), (0, 0),
    ],
)  # fmt: skip
def test_sizes_and_times_beyond_64_bits_become_the_nearest(number: int, kept: int) -> None:
    item = Item("a.jpg", number, number)
    assert (item.size, item.mtime_ns) == (kept, kept)


def big_tiff(width: int, height: int) -> bytes:
    """Return the header of a BigTIFF, whose sides have 64 bits."""
    tags = [
        (256, width), (257, height), (258, 8), (259, 1), (262, 1),
        (273, 8), (277, 1), (278, height), (279, 1),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHQQ", tag, 16, 1, value) for tag, value in tags)
    head = b"II" + struct.pack("<HHHQQ", 43, 8, 0, 16, len(tags))
    return head + entries + struct.pack("<Q", 0)


@pytest.mark.parametrize(
    ("width", "height", "kept"),
    [
        (2**31, 2**31, (2**31, 2**31)), (2**62, 2, (None, None)), (2**62, 1, (2**62, 1)),
        (2**63 + 1, 1, (None, None)), (2**64 - 1, 2**64 - 1, (None, None)),
    ],
)  # fmt: skip
def test_more_pixels_than_64_bits_count_cost_one_file(
    reindex: Reindex, images: Path, config: Config, width: int, height: int, kept: object
) -> None:
    (images / "big.tif").write_bytes(big_tiff(width, height))
    report = reindex()
    assert (report.indexed, report.skipped) == (6, 1)
    (row,) = Store(config.store).open_published().catalogue.rows("skipped")
    assert (row.width, row.height) == kept
    assert build(config, reread=True).version == report.version


def test_a_file_that_changes_while_it_is_read_is_unreadable(tmp_path: Path) -> None:
    path, done = tmp_path / "a.jpg", threading.Event()
    path.touch()
    os.truncate(path, 200_000_000)  # a sparse file: reading takes a while, and no disk

    def change() -> None:
        while not done.is_set():
            os.truncate(path, 200_000_001 + path.stat().st_size % 2)

    changing = threading.Thread(target=change)
    changing.start()
    try:
        with pytest.raises(ImageUnreadable, match="changed while it was read"):
            Folder(tmp_path).read("a.jpg")
    finally:
        done.set()
        changing.join()
    assert len(Folder(tmp_path).read("a.jpg")) == path.stat().st_size
