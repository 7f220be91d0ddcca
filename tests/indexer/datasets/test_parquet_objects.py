"""Parquet files with images in object storage."""

import pickle
import threading
from collections import Counter
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import indexer.datasets.parquet.shard
from indexer.build import build
from indexer.cli.parser import _parser, flags_of
from indexer.config import Config, load_config
from indexer.datasets import ParquetShards
from indexer.errors import DatasetError, ImageGone, ImageUnreadable, ObjectStorageError
from indexer.object_storage import ObjectFolder
from tests.conftest import small_config
from tests.corners import Corners, picture
from tests.object_storage import s3_server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


def shard(count: int, start: int = 0, **options: Any) -> bytes:
    """Return a Parquet file with so many pictures, numbered from ``start``."""
    values = [{"bytes": picture(n), "path": f"{n}.png"} for n in range(start, start + count)]
    file = BytesIO()
    parquet.write_table(
        pa.table({"image": values, "label": range(count)}), file, row_group_size=5, **options
    )
    return file.getvalue()


def put(folder: ObjectFolder, name: str, content: bytes) -> None:
    folder.replace(name, content, folder.tag(name))


@pytest.fixture
def folder(bucket: str, tmp_path: Path) -> ObjectFolder:
    """Two shards, of ten pictures each, and other objects."""
    folder = ObjectFolder(f"{bucket}/{tmp_path.name}")
    put(folder, "train/0.parquet", shard(10))
    put(folder, "train/1.parquet", shard(10, 10))
    for name in (".hidden.parquet", "@eaDir/0.parquet", "README.md"):
        put(folder, name, b"x")
    return folder


@pytest.fixture
def config(folder: ObjectFolder, tmp_path: Path) -> Config:
    dataset = {"kind": "parquet", "root": folder.address}
    return small_config(tmp_path, tmp_path / "store", dataset=dataset)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How many bytes were read of each object."""
    counter = Counter[str]()
    read = ObjectFolder.read_part

    def counted(self: ObjectFolder, name: str, start: int, size: int) -> bytes:
        counter[name] += size
        return read(self, name, start, size)

    monkeypatch.setattr(ObjectFolder, "read_part", counted)
    return counter


def test_shards_are_listed_and_read_in_parts(
    folder: ObjectFolder, config: Config, parts: Counter[str]
) -> None:
    report = build(config, Corners())
    assert (report.found, report.indexed, report.encoded) == (20, 20, 20)
    assert report.ignored == {"hidden": 1, "excluded": 1, ".md": 1}
    dataset = ParquetShards(folder.address)
    items = dataset.scan().items
    assert items[13].key == "train/1.parquet/00000003-13.png"
    assert items[13].metadata == {"label": 3}
    again = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert [again.read(item.key) for item in items] == [picture(n) for n in range(20)]
    parts.clear()
    assert build(config, Corners()).encoded == 0
    scanned = parts.total()
    put(folder, "train/1.parquet", shard(12, 10))
    report = build(config, Corners())
    assert (report.encoded, report.recognised, report.indexed) == (2, 10, 22)
    assert parts.total() > 2 * scanned
    folder.remove(["train/1.parquet"])
    report = build(config, Corners(), allow_shrink=True)
    assert (report.indexed, report.removed) == (10, 12)


def test_a_scan_reads_no_images(bucket: str, parts: Counter[str], tmp_path: Path) -> None:
    folder = ObjectFolder(f"{bucket}/{tmp_path.name}")
    values = [{"bytes": picture(n) * 10_000, "path": f"{n}.png"} for n in range(20)]
    file = BytesIO()
    table = pa.table({"image": values})
    parquet.write_table(table, file, row_group_size=5, compression="none", use_dictionary=False)
    put(folder, "0.parquet", file.getvalue())
    dataset = ParquetShards(folder.address)
    items = dataset.scan().items
    assert parts["0.parquet"] < 100_000
    parts.clear()
    assert dataset.read(items[12].key) == values[12]["bytes"]
    assert parts["0.parquet"] < len(file.getvalue()) // 4 + 100_000


def test_an_address_may_be_that_of_a_file(folder: ObjectFolder, bucket: str) -> None:
    address = f"{folder.address}/train/1.parquet"
    flags = flags_of(_parser().parse_args(["build", address]))
    dataset = load_config(None, flags).dataset
    assert (dataset.kind, dataset.address) == ("parquet", address)
    shards = ParquetShards(address)
    keys = [item.key for item in shards.scan().items]
    assert keys[0] == "1.parquet/00000000-10.png"
    assert shards.read(keys[9]) == picture(19)
    for nothing in (f"{folder.address}/2.parquet", f"{folder.address}/none"):
        with pytest.raises(DatasetError, match=nothing):
            ParquetShards(nothing).scan()


def test_a_web_server_has_to_give_parts_of_files(tmp_path: Path) -> None:
    """Python's does not."""
    (tmp_path / "0.parquet").write_bytes(shard(400))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/0.parquet"
        listing = ParquetShards(address).scan()
        server.shutdown()
    assert listing.items == []
    why = f"The server of {address} gives no parts of files"
    assert listing.unreadable == {"0.parquet/": why}


def test_what_cannot_be_read_stays_in_the_index(
    folder: ObjectFolder, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config, Corners())
    read = ObjectFolder.read_part

    def refused(self: ObjectFolder, name: str, start: int, size: int) -> bytes:
        if name == "train/1.parquet":
            raise ObjectStorageError(f"{name} refuses access.", "Ask.")
        return read(self, name, start, size)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectFolder, "read_part", refused)
        report = build(config, Corners())
        assert (report.indexed, report.removed, report.unavailable) == (20, 0, 10)
        with pytest.raises(ImageUnreadable, match="refuses access"):
            ParquetShards(folder.address).read("train/1.parquet/00000003-13.png")
    put(folder, "train/1.parquet", b"no Parquet file")
    report = build(config, Corners())
    assert (report.indexed, report.removed, report.unavailable) == (20, 0, 10)


def test_an_object_that_was_replaced_is_opened_again(
    folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.datasets.parquet.shard, "BATCH_BYTES", 1)
    dataset = ParquetShards(folder.address)
    assert dataset.read("train/0.parquet/00000000-0.png") == picture(0)
    put(folder, "train/0.parquet", shard(10, compression="none"))
    assert dataset.read("train/0.parquet/00000001-1.png") == picture(1)
    put(folder, "train/0.parquet", bytes(100) + shard(10)[100:])
    with pytest.raises(ImageUnreadable):
        dataset.read("train/0.parquet/00000002-2.png")
    put(folder, "train/0.parquet", shard(10, compression="none"))
    assert dataset.read("train/0.parquet/00000002-2.png") == picture(2)
    folder.remove(["train/0.parquet"])
    for key in ("train/0.parquet/00000003-3.png", "train/0.parquet/00000009-9.png"):
        with pytest.raises(ImageGone):
            dataset.read(key)
    with pytest.raises(ImageGone):
        dataset.read("../0.parquet/00000000-0.png")
