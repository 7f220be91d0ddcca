"""Parquet files with images: their columns, keys and metadata."""

import sys
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer.build import build
from indexer.config import DatasetConfig
from indexer.datasets import ParquetShards, open_dataset
from indexer.errors import (
    DatasetError,
    ImageGone,
    MissingDependency,
)
from tests.conftest import small_config
from tests.corners import Corners, picture
from tests.parquet_files import IMAGE, config_of, pictures, write


def scanned(path: Path, column: str | None = None) -> dict[str, dict[str, Any]]:
    """Return the metadata of the images by key."""
    listing = ParquetShards(path, column=column).scan()
    assert listing.unreadable == {}
    return {item.key: dict(item.metadata) for item in listing.items}


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


def test_a_key_is_that_of_its_row_and_name(tmp_path: Path) -> None:
    """Where rows were removed, a key means no other image."""
    path = write(tmp_path / "0.parquet", {"image": pictures(3)})
    dataset = ParquetShards(path)
    assert dataset.read("0.parquet/00000001-1.png") == picture(1)
    write(path, {"image": pictures(2, 1)})
    with pytest.raises(ImageGone):
        dataset.read("0.parquet/00000001-1.png")
    assert dataset.read("0.parquet/00000000-1.png") == picture(1)


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
