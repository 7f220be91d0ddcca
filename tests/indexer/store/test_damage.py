"""Damage to a store is noticed when it is opened, or when every byte is verified."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.maintenance import verify
from indexer.store import Segment, Store, files, open_writer, read_damage
from tests.stores import commit, damage


@pytest.mark.parametrize(
    "name",
    ["versions/00000001/manifest.json", "segments/00000002/segment.json", "CURRENT"],
)
def test_a_damaged_record_is_noticed_when_opening(published: Store, name: str) -> None:
    damage(published.folder / name)
    with pytest.raises(StoreCorrupt):
        published.open_published()


@pytest.mark.parametrize(
    "name",
    [
        "versions/00000001/manifest.json",
        "layers/00000001.sqlite",
        "segments/00000001/segment.json",
        "segments/00000001/vectors.faiss",
        "segments/00000001/ids.npy",
    ],
)
@pytest.mark.parametrize("how", ["truncated", "missing"])
def test_a_missing_or_truncated_file_is_noticed_when_opening(
    published: Store, name: str, how: str
) -> None:
    path = published.folder / name
    if how == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreCorrupt, match=path.name):
        published.open_published()


@pytest.mark.parametrize(
    "name",
    [
        "layers/00000001.sqlite",
        "segments/00000001/vectors.faiss",
        "segments/00000002/ids.npy",
    ],
)
def test_a_flipped_bit_anywhere_is_noticed_by_verification(published: Store, name: str) -> None:
    damage(published.folder / name)
    (problem,) = published.open_published().problems()
    assert name in problem


def test_segments_of_another_version_are_noticed(published: Store) -> None:
    with open_writer(published) as writer:
        commit(writer, ["x"], encoder="e2")
    entry = published.segments / "00000002"
    for file in entry.iterdir():
        file.write_bytes((published.segments / "00000003" / file.name).read_bytes())
    with pytest.raises(StoreCorrupt, match="not the segment that was published"):
        published.open_published()


def test_a_record_of_another_format_is_refused(published: Store) -> None:
    from indexer.store.files import read_record, write_record
    from indexer.store.records import Manifest

    path = published.versions / "00000001" / "manifest.json"
    write_record(path, read_record(path, Manifest).model_copy(update={"format": 99}))
    with pytest.raises(StoreCorrupt, match="format 99"):
        published.open_published()


def test_records_are_readable_json_with_a_checksum(published: Store) -> None:
    record = json.loads((published.versions / "00000001" / "manifest.json").read_text())
    assert set(record) == {"sha256", "record"}
    assert record["record"]["fingerprint"] == "e1"


def test_damaged_ids_are_noticed_when_they_are_read(published: Store) -> None:
    damage(published.segments / "00000001" / "ids.npy")
    with pytest.raises(StoreCorrupt, match="is damaged"):
        _ = published.open_published().segments[0].ids


def test_a_damaged_catalogue_is_an_error_of_the_store(published: Store) -> None:
    path = published.layers / "00000001.sqlite"
    path.write_bytes(path.read_bytes()[:4096] + b"\xff" * (path.stat().st_size - 4096))
    catalogue = published.open_published().catalogue
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        catalogue.get_many([1, 2])


def test_a_pickle_in_place_of_the_ids_is_not_loaded(published: Store) -> None:
    path = published.segments / "00000001" / "ids.npy"
    np.save(path, np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    with pytest.raises(StoreCorrupt):
        _ = Segment(path.parent).ids


def test_a_file_that_the_disk_cannot_read_is_damaged(
    published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = published.segments / "00000001" / "vectors.faiss"
    read: list[Path] = []
    describe_file = files.describe_file

    def describe(path: Path) -> files.FileRecord:
        read.append(path)
        if path == bad:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return describe_file(path)

    monkeypatch.setattr(files, "describe_file", describe)
    assert verify(Config(store=published.folder)).problems == [
        f"{bad} cannot be read: Input/output error"
    ]
    assert len(read) == len(set(read)) == 5
    assert read_damage(published).segments == ("00000001",)
    with open_writer(published) as writer, pytest.raises(StoreCorrupt):
        writer.verified_segment("00000001")
