"""What is read of Parquet files with images, and how often."""

import errno
import os
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from pathlib import Path

import pyarrow as pa
import pytest

import indexer.datasets.parquet.shard
from indexer.build.extract import Preparation, Prepared, prepared_batches
from indexer.datasets import Dataset, ParquetShards
from indexer.datasets.parquet.places import FilePlace
from indexer.datasets.parquet.shard import KEPT_BATCHES, Changed, Shard
from indexer.datasets.parquet.turns import Turns
from indexer.datasets.shards import Stamp
from indexer.errors import (
    ImageUnreadable,
)
from indexer.executors import LocalExecutor
from tests.corners import picture
from tests.parquet_files import pictures, random_images, write
from tests.waiting import eventually


class CountingFile(FileIO):
    """A file that counts the bytes that are read."""

    total = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        CountingFile.total += len(data)
        return data


@pytest.fixture
def file_reads(monkeypatch: pytest.MonkeyPatch) -> type[CountingFile]:
    """Counts the bytes that are read of Parquet files."""

    def counting(place: FilePlace) -> tuple[CountingFile, Stamp]:
        return CountingFile(place.path), place.stamp()

    monkeypatch.setattr(FilePlace, "open", counting)
    monkeypatch.setattr(CountingFile, "total", 0)
    return CountingFile


def test_a_scan_reads_no_image(tmp_path: Path, file_reads: type[CountingFile]) -> None:
    columns = {"image": random_images(40, 100_000), "label": list(range(40))}
    path = write(tmp_path / "0.parquet", columns, row_group_size=10)
    dataset = ParquetShards(path)
    items = dataset.scan().items
    assert [item.size for item in items] == [None] * 40
    assert 0 < file_reads.total < 200_000
    file_reads.total = 0
    assert dataset.read(items[25].key) == columns["image"][25]["bytes"]
    assert 0 < file_reads.total < 1_300_000, "one row group"


def test_rows_are_read_once_in_about_their_order(
    tmp_path: Path, row_group_reads: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.datasets.parquet.shard, "BATCH_BYTES", 2000)
    values = random_images(60, 500)
    path = write(tmp_path / "0.parquet", {"image": values}, row_group_size=20)
    dataset = ParquetShards(path)
    keys = [item.key for item in dataset.scan().items]
    order = [number ^ 3 for number in range(60)]  # 3, 2, 1, 0, 7, 6, ...
    assert [dataset.read(keys[n]) for n in order] == [values[n]["bytes"] for n in order]
    assert row_group_reads == {0: 1, 1: 1, 2: 1}
    far = KEPT_BATCHES * 4 + 2
    assert dataset.read(keys[40 - far]) == values[40 - far]["bytes"], "behind what is kept"
    assert sum(row_group_reads.values()) == 4
    assert dataset.read(keys[59]) == values[59]["bytes"]
    assert sum(row_group_reads.values()) == 4, "the other reader goes on where it was"


def test_many_threads_do_not_read_row_groups_again_and_again(
    tmp_path: Path, row_group_reads: Counter[int]
) -> None:
    values = random_images(3000, 5000)
    path = write(tmp_path / "0.parquet", {"image": values}, row_group_size=100)
    dataset = ParquetShards(path)
    keys = [item.key for item in dataset.scan().items]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(dataset.read, keys))
    assert found == [value["bytes"] for value in values]
    assert 30 <= sum(row_group_reads.values()) <= 40


def test_turns_are_taken_in_the_order_of_coming() -> None:
    turns, order = Turns(), list[int]()

    def come(number: int) -> None:
        with turns.turn():
            order.append(number)
            raise KeyError(number)

    with ThreadPoolExecutor(6) as pool:
        with turns.turn():
            threads = []
            for number in range(6):
                threads.append(pool.submit(come, number))
                eventually(lambda number=number: len(turns) == number + 2)  # type: ignore[misc]
            assert order == []
        errors = [str(thread.exception()) for thread in threads]
    assert order == list(range(6))
    assert errors == list("012345")
    assert len(turns) == 0


def test_memory_is_that_of_few_batches_not_of_a_row_group(tmp_path: Path) -> None:
    values = random_images(60, 1_000_000)
    path = write(tmp_path / "0.parquet", {"image": values}, write_batch_size=1)
    dataset, before, most = ParquetShards(path), pa.total_allocated_bytes(), 0
    for number in range(60):
        key = f"0.parquet/{number:08}-{number}.jpg"
        assert dataset.read(key) == values[number]["bytes"]
        most = max(most, pa.total_allocated_bytes() - before)
    assert most < 30_000_000


def test_two_pages_are_in_memory_whatever_is_read(tmp_path: Path) -> None:
    """Many programs write a row group of up to 1,024 rows as one page."""
    values = random_images(20, 500_000)
    for number in range(4):
        path = tmp_path / f"{number}.parquet"
        write(path, {"image": values}, row_group_size=10, compression="none", use_dictionary=False)
    dataset, before, most = ParquetShards(tmp_path), pa.total_allocated_bytes(), 0
    for number in (0, 10, 1, 11) * 2:
        for file in range(4):
            key = f"{file}.parquet/{number:08}-{number}.jpg"
            assert dataset.read(key) == values[number]["bytes"]
            most = max(most, pa.total_allocated_bytes() - before)
    assert most < 2 * 2 * 10 * 500_000 + 2_000_000, "and as much in batches"
    for number in range(20):
        dataset.read(f"0.parquet/{number:08}-{number}.jpg")
    assert pa.total_allocated_bytes() - before < 2 * 10 * 500_000 + 2_000_000, "batches"


def test_rows_behind_damage_are_unreadable_and_cost_no_further_reading(
    tmp_path: Path, row_group_reads: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = random_images(30, 50_000)
    path = write(
        tmp_path / "0.parquet", {"image": values}, write_batch_size=1, write_page_checksum=True,
        row_group_size=20, data_page_size=50_000, compression="none", use_dictionary=False,
    )  # fmt: skip
    content = bytearray(path.read_bytes())
    content[content.index(values[10]["bytes"]) + 100] ^= 0xFF
    path.write_bytes(content)
    dataset = ParquetShards(path)
    keys = [item.key for item in dataset.scan().items]
    assert len(keys) == 30
    monkeypatch.setattr(indexer.datasets.parquet.shard, "BATCH_BYTES", 1)
    good = [number for number in range(30) if readable(dataset, keys[number])]
    assert good == [*range(10), *range(20, 30)]
    assert row_group_reads == {0: 1, 1: 1}


def readable(dataset: Dataset, key: str) -> bool:
    try:
        return bool(dataset.read(key))
    except ImageUnreadable:
        return False


def test_a_file_that_changes_while_it_is_read_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.datasets.parquet.shard, "BATCH_BYTES", 1)
    path = write(tmp_path / "0.parquet", {"image": pictures(3)})
    with Shard(FilePlace(path)) as shard:
        assert shard.image(0) == ("0.png", picture(0))
        os.utime(path)
        assert shard.image(0) == ("0.png", picture(0)), "it was read before"
        with pytest.raises(Changed):
            shard.image(1)
        with pytest.raises(Changed):
            shard.image(1)


def test_a_disk_that_fails_is_tried_again(
    tmp_path: Path, file_reads: type[CountingFile], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = ParquetShards(write(tmp_path / "0.parquet", {"image": pictures(2)}))
    keys = [item.key for item in dataset.scan().items]
    dataset.read(keys[0])
    dataset = ParquetShards(tmp_path / "0.parquet")
    with monkeypatch.context() as patch:
        seek = file_reads.seek

        def fail(self: CountingFile, position: int, whence: int = 0) -> int:
            if position == 4:  # where the images begin
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return seek(self, position, whence)

        patch.setattr(file_reads, "seek", fail)
        with pytest.raises(ImageUnreadable, match="Input/output error"):
            dataset.read(keys[1])
    assert dataset.read(keys[1]) == picture(1)


def test_many_open_files_are_closed(tmp_path: Path) -> None:
    for number in range(8):
        write(tmp_path / f"{number}.parquet", {"image": pictures(1, number)})
    dataset = ParquetShards(tmp_path)
    keys = [item.key for item in dataset.scan().items]
    before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert [dataset.read(key) for key in keys] == [picture(number) for number in range(8)]
    assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208


def test_processes_open_the_files_by_themselves(tmp_path: Path) -> None:
    path = write(tmp_path / "0.parquet", {"image": pictures(40)}, row_group_size=10)
    dataset = ParquetShards(path)
    items = dataset.scan().items
    dataset.read(items[0].key)
    assert pickle.loads(pickle.dumps(dataset)).read(items[1].key) == picture(1)  # noqa: S301
    batches = prepared_batches(
        Preparation(dataset, 1000), items, 8, LocalExecutor(2, processes=True)
    )
    outcomes = [outcome for batch in batches for outcome in batch]
    assert all(isinstance(outcome, Prepared) for outcome in outcomes)
    assert [outcome.item.key for outcome in outcomes] == [item.key for item in items]
    assert [outcome.item.size for outcome in outcomes] == [len(picture(n)) for n in range(40)]
