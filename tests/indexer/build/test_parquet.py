"""Builds of Parquet files with images."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.build import BuildReport, build
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import open_dataset
from indexer.errors import (
    ImageUnreadable,
    IndexWouldShrink,
)
from indexer.search import Searcher
from tests.corners import Corners, picture
from tests.parquet_files import config_of, pictures, write


def test_photographs_in_parquet_files_are_found_like_those_in_a_folder(
    tmp_path: Path, images: Path, row_group_reads: Counter[int], capsys: pytest.CaptureFixture[str]
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
    row_group_reads.clear()
    assert main(index) == 0
    assert capsys.readouterr().out.endswith(", nothing to encode\n")
    assert row_group_reads == {}
    assert main(["plan", *index[1:]]) == 0
    assert capsys.readouterr().out.startswith("0 images to encode")


def built(config: Config, **options: Any) -> tuple[int, int, int]:
    """Build with an encoder that takes no time; return what was encoded, recognised, indexed."""
    return counts(build(config, Corners(), **options))


def counts(report: BuildReport) -> tuple[int, int, int]:
    return report.encoded, report.recognised, report.indexed


def test_a_build_reads_the_row_groups_of_files_that_changed_and_encodes_new_contents(
    tmp_path: Path, row_group_reads: Counter[int]
) -> None:
    root = tmp_path / "shards"
    write(root / "0.parquet", {"image": pictures(50)}, row_group_size=10)
    write(root / "1.parquet", {"image": pictures(50, 50)}, row_group_size=10)
    config = config_of(root, tmp_path)
    assert built(config) == (100, 0, 100)
    assert set(row_group_reads) == set(range(5))
    assert 10 <= sum(row_group_reads.values()) <= 20, "once; a thread may be late"
    row_group_reads.clear()
    assert built(config) == (0, 0, 100)
    assert row_group_reads == {}, "unchanged"
    os.utime(root / "0.parquet")
    assert built(config) == (0, 50, 100)
    assert 5 <= sum(row_group_reads.values()) <= 10, "touched"
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
    tmp_path: Path, row_group_reads: Counter[int]
) -> None:
    rows = [*pictures(3), {"bytes": None, "path": "/data/a.png"}, None, {"bytes": picture(9)[:50]}]
    config = config_of(write(tmp_path / "0.parquet", {"image": rows}), tmp_path)
    report = build(config, Corners())
    assert counts(report) == (3, 0, 3)
    assert report.reasons == {"unsupported_image": 2, "invalid_image": 1}
    row_group_reads.clear()
    assert built(config) == (0, 0, 3)
    assert row_group_reads == {}, "they are not read again"


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
