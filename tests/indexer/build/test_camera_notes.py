"""What cameras note in photographs is metadata of every build, and read only with the file."""

import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from PIL.ExifTags import GPS, IFD, Base

import indexer.images.decoding
from indexer.build import BuildReport, build
from indexer.config import Config
from indexer.datasets import Folder
from indexer.maintenance import verify
from indexer.search import Query, Searcher, Selection
from indexer.store import Store
from tests.conftest import small_config

CAMERA = {"captured": "2013-11-14T17:02:52", "camera": "Canon EOS 5D"}
PLACE = {"latitude": 48.5, "longitude": -2.25}


def photograph(source: Path, target: Path, model: str = "Canon EOS 5D") -> None:
    exif = Image.Exif()
    exif[Base.Make], exif[Base.Model] = "Canon", model
    exif[IFD.Exif] = {Base.DateTimeOriginal: "2013:11:14 17:02:52"}
    exif[IFD.GPSInfo] = {
        GPS.GPSLatitudeRef: "N", GPS.GPSLatitude: (48, 30, 0),
        GPS.GPSLongitudeRef: "W", GPS.GPSLongitude: (2, 15, 0),
    }  # fmt: skip
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(source) as image:
        image.resize((64, 64)).save(target, exif=exif.tobytes())


@pytest.fixture
def folder(tmp_path: Path, photos: list[Path]) -> Path:
    """A photograph with notes, and one without."""
    folder = tmp_path / "images"
    photograph(photos[0], folder / "noted.jpg")
    shutil.copy(photos[60], folder / "plain.jpg")
    return folder


def settings(tmp_path: Path, **dataset: Any) -> Config:
    root = {"root": str(tmp_path / "images")}
    return small_config(tmp_path, tmp_path / "store", dataset={**root, **dataset})


def metadata(config: Config) -> dict[str, dict[str, Any]]:
    rows = Store(config.store).open_published().catalogue.rows("indexed")
    return {row.key: dict(row.metadata) for row in rows}


@contextmanager
def reading_no_file() -> Iterator[None]:
    def read(self: Folder, key: str) -> bytes:
        raise AssertionError(f"{key} is read")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Folder, "read", read)
        yield


def work(report: BuildReport) -> tuple[int, int]:
    return report.encoded, report.recognised


def test_notes_survive_builds_and_positions_follow_the_setting(
    folder: Path, tmp_path: Path
) -> None:
    """Positions are shown only if that is asked for; neither way needs the files again."""
    config, with_gps = settings(tmp_path), settings(tmp_path, gps=True)
    first = build(config)
    assert first.encoded == 2
    assert metadata(config) == {"noted.jpg": CAMERA, "plain.jpg": {}}
    with reading_no_file():
        assert build(config).version == first.version
        assert work(build(with_gps)) == (0, 0)
        assert metadata(config) == {"noted.jpg": CAMERA | PLACE, "plain.jpg": {}}
        build(config)
        assert metadata(config) == {"noted.jpg": CAMERA, "plain.jpg": {}}
    assert verify(config).problems == []


def test_moved_copied_and_touched_files_have_the_notes_of_their_content(
    folder: Path, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    build(config)
    (folder / "noted.jpg").rename(folder / "moved.jpg")
    shutil.copy(folder / "moved.jpg", folder / "copy.jpg")
    assert work(build(config)) == (0, 2)
    assert metadata(config) == {"copy.jpg": CAMERA, "moved.jpg": CAMERA, "plain.jpg": {}}
    os.utime(folder / "copy.jpg")
    assert work(build(config)) == (0, 1)
    with reading_no_file():
        build(config)
    assert metadata(config)["copy.jpg"] == CAMERA


def test_notes_that_were_edited_replace_those_of_the_file_before(
    folder: Path, tmp_path: Path, photos: list[Path]
) -> None:
    config = settings(tmp_path)
    build(config)
    photograph(photos[0], folder / "noted.jpg", "PowerShot")
    assert build(config).encoded == 1
    assert metadata(config)["noted.jpg"] == CAMERA | {"camera": "Canon PowerShot"}
    shutil.copy(folder / "plain.jpg", folder / "noted.jpg")
    build(config)
    assert metadata(config)["noted.jpg"] == {}


def test_what_the_dataset_says_is_above_the_notes(folder: Path, tmp_path: Path) -> None:
    file = tmp_path / "coco.json"
    images = [{"id": 1, "file_name": "noted.jpg", "date_captured": "2020-01-01 00:00:00"}]
    file.write_text(json.dumps({"images": images, "annotations": []}))
    config = settings(tmp_path, kind="coco", annotations=str(file))
    build(config)
    before = metadata(config)["noted.jpg"]
    assert (before["captured"], before["camera"]) == ("2020-01-01T00:00:00", CAMERA["camera"])
    file.write_text(json.dumps({"images": [images[0] | {"date_captured": ""}]}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer.images.decoding, "exif_fields", None)
        build(config)
    assert metadata(config)["noted.jpg"]["captured"] == CAMERA["captured"]


def test_fields_of_tables_and_cameras_are_those_of_filters_and_facets(
    folder: Path, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("path,place,year\nnoted.jpg,Brest,2013\nplain.jpg,Brest,2020\n")
    config = settings(tmp_path, gps=True, metadata=str(table))
    build(config)
    searcher = Searcher.open(config)
    for clauses, keys in {
        ('camera="Canon EOS 5D"',): ["noted.jpg"],
        ("latitude=48..49", "longitude=-3..-2", "captured>=2013-11"): ["noted.jpg"],
        ("place=Brest", "year>2013"): ["plain.jpg"],
    }.items():
        selection = Selection(filter=clauses, facets=["place"])
        answer = searcher.search(Query(vector=[1.0] * 1280), selection).to_dict()
        assert [hit["key"] for hit in answer["results"]] == keys
        assert answer["facets"]["place"]["values"] == [{"value": "Brest", "count": 1}]


def alter(config: Config, statement: str) -> None:
    with closing(sqlite3.connect(Store(config.store).catalogue)) as connection:
        connection.executescript(statement)


def test_a_store_of_an_older_version_gets_them_when_its_files_are_read(
    folder: Path, tmp_path: Path
) -> None:
    config = settings(tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer.images.decoding, "exif_fields", lambda _: {})
        build(config)
    alter(config, "ALTER TABLE images DROP COLUMN exif")
    assert verify(config).problems == []
    with reading_no_file():
        build(config)
    assert metadata(config)["noted.jpg"] == {}
    assert work(build(config, reread=True)) == (0, 2)
    assert metadata(config)["noted.jpg"] == CAMERA


def test_a_catalogue_that_is_made_again_has_them_again(folder: Path, tmp_path: Path) -> None:
    config = settings(tmp_path)
    build(config)
    Store(config.store).catalogue.unlink()
    assert work(build(config)) == (0, 2)
    assert metadata(config) == {"noted.jpg": CAMERA, "plain.jpg": {}}
    with reading_no_file():
        build(settings(tmp_path, gps=True))
    assert metadata(config)["noted.jpg"] == CAMERA | PLACE
