"""Parquet files with images: their columns, keys and metadata, what is read, and bad ones."""

import errno
import json
import os
import pickle
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

import indexer.datasets.parquet.shard
from indexer.build import BuildReport, build
from indexer.build.extract import Preparation, Prepared, prepared_batches
from indexer.cli.parser import main
from indexer.config import Config, DatasetConfig
from indexer.datasets import Dataset, ParquetShards, open_dataset
from indexer.datasets.parquet.places import FilePlace
from indexer.datasets.parquet.shard import KEPT_BATCHES, Changed, Shard
from indexer.datasets.parquet.turns import Turns
from indexer.datasets.shards import Stamp
from indexer.errors import (
    DatasetError,
    ImageGone,
    ImageUnreadable,
    IndexWouldShrink,
    MissingDependency,
)
from indexer.executors import LocalExecutor
from indexer.search import Searcher
from tests.conftest import small_config
from tests.corners import Corners, picture
from tests.waiting import eventually

Columns = Mapping[str, Any]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pictures(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return values of an image column, each another picture."""
    return [{"bytes": picture(n), "path": f"{n}.png"} for n in range(start, start + count)]


def write(path: Path, columns: Columns, features: object = None, **options: Any) -> Path:
    """Write a Parquet file, with Hugging Face's features in its schema if there are some."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if features is not None:
        noted = {"huggingface": json.dumps({"info": {"features": features}})}
        table = table.replace_schema_metadata(noted)
    parquet.write_table(table, path, **options)
    return path


def scanned(path: Path, column: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the metadata of the images by key."""
    listing = ParquetShards(path, column=column).scan()
    assert listing.unreadable == {}
    return {item.key: dict(item.metadata) for item in listing.items}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often images of a row group were begun to be read, by its number."""
    counter = Counter[int]()
    real = parquet.ParquetFile.iter_batches

    def counted(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        counter.update(options.get("row_groups", ()))
        return real(self, *arguments, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    return counter


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


@pytest.mark.parametrize(
    "column",
    [
        pa.array(pictures(2), IMAGE),
        pa.array([image["bytes"] for image in pictures(2)]),
        pa.array([image["bytes"] for image in pictures(2)], pa.large_binary()),
        pa.array(
            pictures(2), pa.struct([("path", pa.large_string()), ("bytes", pa.large_binary())])
        ),
        pa.array([{"bytes": image["bytes"], "width": 4} for image in pictures(2)]),
    ],
)
def test_the_column_that_can_hold_images_is_found(tmp_path: Path, column: pa.Array) -> None:
    dataset = ParquetShards(write(tmp_path / "0.parquet", {"id": ["a", "b"], "photo": column}))
    items = dataset.scan().items
    assert [item.metadata for item in items] == [{"id": "a"}, {"id": "b"}]
    assert [dataset.read(item.key) for item in items] == [picture(0), picture(1)]


TWO = {"photo": pa.array(pictures(1), IMAGE), "mask": pa.array(pictures(1, 1), IMAGE)}


def test_of_several_columns_one_has_to_be_named(tmp_path: Path) -> None:
    path = write(tmp_path / "0.parquet", TWO)
    with pytest.raises(DatasetError, match=r"2 columns that may hold images: photo, mask") as error:
        ParquetShards(path).scan()
    assert "LOOKALIKE_DATASET__IMAGE_COLUMN=photo" in error.value.hint
    settings = {"kind": "parquet", "root": str(path), "image_column": "mask"}
    dataset = open_dataset(DatasetConfig.model_validate(settings))
    assert [dataset.read(item.key) for item in dataset.scan().items] == [picture(1)]
    with pytest.raises(ImageGone):
        ParquetShards(path).read("0.parquet/00000000-0.png")


def test_a_feature_says_which_column_holds_images(tmp_path: Path) -> None:
    features = {"photo": {"_type": "Image"}, "mask": {"dtype": "binary", "_type": "Value"}}
    assert list(scanned(write(tmp_path / "0.parquet", TWO, features))) == [
        "0.parquet/00000000-0.png"
    ]
    path = write(tmp_path / "sound.parquet", {"audio": TWO["photo"]}, {"audio": {"_type": "Audio"}})
    with pytest.raises(DatasetError, match=r"may hold images; it has audio\."):
        ParquetShards(path).scan()


def test_a_file_without_images_is_passed_over_beside_others(tmp_path: Path) -> None:
    write(tmp_path / "labels.parquet", {"label": [1], "text": ["a"]})
    with pytest.raises(DatasetError, match=r"may hold images; it has label, text") as error:
        ParquetShards(tmp_path).scan()
    assert "--metadata" in error.value.hint
    write(tmp_path / "images.parquet", {"image": pictures(1)})
    listing = ParquetShards(tmp_path).scan()
    assert [item.key for item in listing.items] == ["images.parquet/00000000-0.png"]
    assert listing.report() == ["1 Parquet files without images: labels.parquet"]
    with pytest.raises(DatasetError, match="has no images in a column photo") as error:
        ParquetShards(tmp_path, column="photo").scan()
    assert "image_column" in error.value.hint


@pytest.mark.parametrize("image", [{"bytes": None, "path": "/data/a.png"}, None])
def test_a_file_with_paths_only_is_no_file_of_images(
    tmp_path: Path, image: dict[str, Any] | None
) -> None:
    """As ``datasets`` writes it without ``embed_table_storage``."""
    column = pa.array([image] * 3, IMAGE)
    path = write(tmp_path / "0.parquet", {"image": column}, row_group_size=2)
    with pytest.raises(DatasetError, match=r"0\.parquet holds no images") as error:
        ParquetShards(path).scan()
    assert "embed_table_storage" in error.value.hint
    write(path, {"image": [*pictures(1), image, image]}, row_group_size=2)
    assert len(scanned(path)) == 3
    write(path, {"image": column.slice(0, 0)})
    assert scanned(path) == {}


def test_keys_are_numbers_of_rows_with_the_names_of_files(tmp_path: Path) -> None:
    paths = [
        "a.png", None, "", "/root/.cache/x/b.png", "train/cat/c.png", "../../d.png", "./e//f.png",
        "zero\0.png", "日本.png", "back\\slash.png", "/", "line\nfeed.png",
    ]  # fmt: skip
    values = [{"bytes": picture(n), "path": path} for n, path in enumerate(paths)]
    dataset = ParquetShards(write(tmp_path / "s" / "0.parquet", {"image": [*values, None]}))
    keys = [item.key for item in dataset.scan().items]
    assert [key.removeprefix("0.parquet/") for key in keys] == [
        "00000000-a.png", "00000001", "00000002", "00000003-b.png", "00000004-train/cat/c.png",
        "00000005-d.png", "00000006-e/f.png", "00000007-zero\ufffd.png", "00000008-日本.png",
        "00000009-back\\slash.png", "00000010", "00000011-line\nfeed.png", "00000012",
    ]  # fmt: skip
    assert [dataset.read(key) for key in keys[:-1]] == [picture(n) for n in range(len(paths))]
    assert dataset.read(keys[-1]) == b""
    assert ParquetShards(tmp_path).scan().items[0].key == "s/0.parquet/00000000-a.png"


def test_other_columns_are_metadata_with_the_names_of_classes(tmp_path: Path) -> None:
    animals = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    features = {
        "image": {"_type": "Image"},
        "label": animals,
        "labels": {"feature": animals, "_type": "Sequence"},
        "listed": [animals],
        "objects": {"feature": {"category": animals, "area": {"_type": "Value"}}, "_type": "List"},
    }
    columns = {
        "image": pictures(2),
        "label": [1, -1],
        "labels": [[0, 1], []],
        "listed": [[1, 7], None],
        "objects": [{"category": [0], "area": [2.5]}, None],
        "plain": [3, None],
        "taken": [date(2026, 1, 2), None],
        "thumbnail": [b"x", b"y"],
        "masks": [[b"x"], []],
    }
    path = write(tmp_path / "0.parquet", columns, features)
    assert list(scanned(path).values()) == [
        {
            "label": "dog",
            "labels": ["cat", "dog"],
            "listed": ["dog", 7],
            "objects": {"category": ["cat"], "area": [2.5]},
            "plain": 3,
            "taken": "2026-01-02",
        },
        {"label": -1, "labels": []},
    ]


@pytest.mark.parametrize("noted", [b"{", b"[1]", b'{"info": 1}', b'{"info": {"features": []}}'])
def test_features_that_cannot_be_read_leave_numbers(tmp_path: Path, noted: bytes) -> None:
    table = pa.table({"image": pictures(1), "label": [1]})
    table = table.replace_schema_metadata({"huggingface": noted})
    parquet.write_table(table, tmp_path / "0.parquet")
    assert list(scanned(tmp_path / "0.parquet").values()) == [{"label": 1}]


def test_a_value_that_cannot_be_read_costs_that_value(tmp_path: Path) -> None:
    text = pa.array([b"ok", b"\xff"], pa.binary()).view(pa.string())
    columns = {"image": pictures(2), "text": text, "score": [float("nan"), 1.0]}
    listing = ParquetShards(write(tmp_path / "0.parquet", columns)).scan()
    assert [item.metadata for item in listing.items] == [{"text": "ok"}, {"score": 1.0}]
    assert listing.ignored == {
        "table values that are Unreadable": 1,
        "table values with NaN or infinity, which became null": 1,
    }


def test_a_path_that_is_not_utf8_gives_no_name(tmp_path: Path) -> None:
    paths = pa.array([b"a.png", b"\xff"], pa.binary()).view(pa.string())
    column = pa.StructArray.from_arrays([pa.array([picture(0), picture(1)]), paths], fields=IMAGE)
    dataset = ParquetShards(write(tmp_path / "0.parquet", {"image": column}))
    keys = [item.key for item in dataset.scan().items]
    assert keys == ["0.parquet/00000000-a.png", "0.parquet/00000001"]
    assert [dataset.read(key) for key in keys] == [picture(0), picture(1)]


def random_images(count: int, size: int) -> list[dict[str, Any]]:
    return [{"bytes": os.urandom(size), "path": f"{n}.jpg"} for n in range(count)]


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
    tmp_path: Path, reads: Counter[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.datasets.parquet.shard, "BATCH_BYTES", 2000)
    values = random_images(60, 500)
    path = write(tmp_path / "0.parquet", {"image": values}, row_group_size=20)
    dataset = ParquetShards(path)
    keys = [item.key for item in dataset.scan().items]
    order = [number ^ 3 for number in range(60)]  # 3, 2, 1, 0, 7, 6, ...
    assert [dataset.read(keys[n]) for n in order] == [values[n]["bytes"] for n in order]
    assert reads == {0: 1, 1: 1, 2: 1}
    far = KEPT_BATCHES * 4 + 2
    assert dataset.read(keys[40 - far]) == values[40 - far]["bytes"], "behind what is kept"
    assert sum(reads.values()) == 4
    assert dataset.read(keys[59]) == values[59]["bytes"]
    assert sum(reads.values()) == 4, "the other reader goes on where it was"


def test_many_threads_do_not_read_row_groups_again_and_again(
    tmp_path: Path, reads: Counter[int]
) -> None:
    values = random_images(3000, 5000)
    path = write(tmp_path / "0.parquet", {"image": values}, row_group_size=100)
    dataset = ParquetShards(path)
    keys = [item.key for item in dataset.scan().items]
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(dataset.read, keys))
    assert found == [value["bytes"] for value in values]
    assert 30 <= sum(reads.values()) <= 40


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


def test_photographs_in_parquet_files_are_found_like_those_in_a_folder(
    tmp_path: Path, images: Path, reads: Counter[int], capsys: pytest.CaptureFixture[str]
) -> None:
    photos = sorted(images.rglob("*.jpg"))
    values = [{"bytes": photo.read_bytes(), "path": photo.name} for photo in photos]
    labels = {"names": ["cat", "dog", "boat"], "_type": "ClassLabel"}
    path = write(
        tmp_path / "train-00000-of-00001.parquet",
        {"image": values, "label": [0, 1, 2, 0, 1, 2], "caption": [None] * 5 + ["A boat at sea"]},
        {"image": {"_type": "Image"}, "label": labels},
        row_group_size=4,
    )
    vectors = []
    for source in (images, path):
        flags = ["--store", str(tmp_path / f"store of {source.name}")]
        index = ["index", str(source), "--encoder=efficientnet_lite0", *flags]
        assert main(index) == 0
        assert "found 6 = indexed 6 + skipped 0" in capsys.readouterr().out
        assert main(["export", "--to=npy", str(tmp_path / f"{source.name}.npy"), *flags]) == 0
        vectors.append(np.load(tmp_path / f"{source.name}.npy" / "vectors.npy"))
    assert vectors[0].shape == (6, 1280)
    assert vectors[0].tobytes() == vectors[1].tobytes()
    capsys.readouterr()
    assert main(["search", str(photos[5]), "--k=1", "--filter=label=boat", "--json", *flags]) == 0
    (hit,) = json.loads(capsys.readouterr().out)["results"]
    assert hit["key"] == f"{path.name}/00000005-{photos[5].name}"
    assert hit["distance"] < 1e-3
    assert (hit["metadata"]["label"], hit["metadata"]["caption"]) == ("boat", "A boat at sea")
    reads.clear()
    assert main(index) == 0
    assert capsys.readouterr().out.endswith(", nothing to encode\n")
    assert reads == {}
    assert main(["plan", *index[1:]]) == 0
    assert capsys.readouterr().out.startswith("0 images to encode")


def config_of(root: Path, tmp_path: Path) -> Config:
    dataset = {"kind": "parquet", "root": str(root)}
    return small_config(root, tmp_path / "store", dataset=dataset)


def built(config: Config, **options: Any) -> tuple[int, int, int]:
    """Build with an encoder that takes no time; return what was encoded, recognised, indexed."""
    return counts(build(config, Corners(), **options))


def counts(report: BuildReport) -> tuple[int, int, int]:
    return report.encoded, report.recognised, report.indexed


def test_a_build_reads_the_row_groups_of_files_that_changed_and_encodes_new_contents(
    tmp_path: Path, reads: Counter[int]
) -> None:
    root = tmp_path / "shards"
    write(root / "0.parquet", {"image": pictures(50)}, row_group_size=10)
    write(root / "1.parquet", {"image": pictures(50, 50)}, row_group_size=10)
    config = config_of(root, tmp_path)
    assert built(config) == (100, 0, 100)
    assert set(reads) == set(range(5))
    assert 10 <= sum(reads.values()) <= 20, "once; a thread may be late"
    reads.clear()
    assert built(config) == (0, 0, 100)
    assert reads == {}, "unchanged"
    os.utime(root / "0.parquet")
    assert built(config) == (0, 50, 100)
    assert 5 <= sum(reads.values()) <= 10, "touched"
    write(root / "1.parquet", {"image": pictures(53, 50)}, row_group_size=10)
    assert built(config) == (3, 50, 103), "grown"
    (root / "1.parquet").rename(root / "2.parquet")
    assert built(config) == (0, 53, 103), "renamed"
    for number, name in enumerate(("0.parquet", "2.parquet")):
        (root / name).rename(root / f"part-{number}.parquet")
    assert built(config) == (0, 103, 103), "all of them renamed"
    write(root / "part-1.parquet", {"image": pictures(40, 50)})
    report = build(config, Corners())
    assert (counts(report), report.removed) == ((0, 40, 90), 13), "shrunk"


def test_metadata_that_changed_is_updated_without_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "0.parquet", {"image": pictures(2), "label": ["a", "b"]})
    config = config_of(path, tmp_path)
    assert built(config) == (2, 0, 2)
    write(path, {"image": pictures(2), "label": ["a", "c"]})
    assert built(config) == (0, 2, 2)
    collection = Searcher.open(config).collection
    rows = (collection.image(int(image_id)) for image_id in collection.ids)
    assert {row.key: row.metadata for row in rows} == {
        "0.parquet/00000000-0.png": {"label": "a"},
        "0.parquet/00000001-1.png": {"label": "c"},
    }


def test_rows_without_an_image_are_skipped_with_their_reasons(
    tmp_path: Path, reads: Counter[int]
) -> None:
    rows = [*pictures(3), {"bytes": None, "path": "/data/a.png"}, None, {"bytes": picture(9)[:50]}]
    config = config_of(write(tmp_path / "0.parquet", {"image": rows}), tmp_path)
    report = build(config, Corners())
    assert counts(report) == (3, 0, 3)
    assert report.reasons == {"unsupported_image": 2, "invalid_image": 1}
    reads.clear()
    assert built(config) == (0, 0, 3)
    assert reads == {}, "they are not read again"


NOT_PARQUET = {
    "truncated": lambda data: data[:-9],
    "its end only": lambda data: data[-500:],
    "text": lambda _: b"no Parquet file",
    "empty": lambda _: b"",
    "damaged footer": lambda data: data[:-200] + bytes(150) + data[-50:],
}


@pytest.mark.parametrize("damage", NOT_PARQUET)
def test_images_of_a_file_that_cannot_be_read_stay_in_the_index(
    tmp_path: Path, damage: str
) -> None:
    root = tmp_path / "shards"
    write(root / "0.parquet", {"image": pictures(3)})
    bad = write(root / "1.parquet", {"image": pictures(5, 3)})
    config = config_of(root, tmp_path)
    assert built(config) == (8, 0, 8)
    content = bad.read_bytes()
    bad.write_bytes(NOT_PARQUET[damage](content))
    listing = open_dataset(config.dataset).scan()
    assert (len(listing.items), list(listing.unreadable)) == (3, ["1.parquet/"])
    with pytest.raises(ImageUnreadable, match=r"1\.parquet"):
        open_dataset(config.dataset).read("1.parquet/00000000-3.png")
    report = build(config, Corners())
    assert (report.indexed, report.removed, report.unavailable) == (8, 0, 5)
    bad.write_bytes(content)
    assert built(config) == (0, 5, 8)
    bad.unlink()
    with pytest.raises(IndexWouldShrink):
        built(config)
    assert built(config, allow_shrink=True)[2] == 3


def test_rows_behind_damage_are_unreadable_and_cost_no_further_reading(
    tmp_path: Path, reads: Counter[int], monkeypatch: pytest.MonkeyPatch
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
    assert reads == {0: 1, 1: 1}


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


def test_a_key_is_that_of_its_row_and_name(tmp_path: Path) -> None:
    """Where rows were removed, a key means no other image."""
    path = write(tmp_path / "0.parquet", {"image": pictures(3)})
    dataset = ParquetShards(path)
    assert dataset.read("0.parquet/00000001-1.png") == picture(1)
    write(path, {"image": pictures(2, 1)})
    with pytest.raises(ImageGone):
        dataset.read("0.parquet/00000001-1.png")
    assert dataset.read("0.parquet/00000000-1.png") == picture(1)


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


def test_a_folder_of_shards_that_is_indexed_as_one_of_images_says_what_to_do(
    tmp_path: Path,
) -> None:
    write(tmp_path / "images" / "0.parquet", {"image": pictures(1)})
    with pytest.raises(DatasetError, match="no images in") as error:
        build(small_config(tmp_path / "images", tmp_path / "store"), Corners())
    assert "dataset.kind: parquet" in error.value.hint
    (tmp_path / "images" / "0.parquet").rename(tmp_path / "images" / "0.txt")
    with pytest.raises(DatasetError, match=r"no \.parquet files in"):
        build(config_of(tmp_path / "images", tmp_path), Corners())


def test_without_pyarrow_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "0.parquet", {"image": pictures(1)})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "indexer.datasets.parquet.shard", raising=False)
    with pytest.raises(MissingDependency, match="pyarrow") as caught:
        build(config_of(path, tmp_path))
    assert "extra parquet" in caught.value.hint
