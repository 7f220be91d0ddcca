"""A store that somebody else has made: nothing in it waits, leads out of it or fills the memory."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from indexer.config import Config
from indexer.errors import LookalikeError, StoreCorrupt
from indexer.maintenance import status, verify
from indexer.store import Store, open_writer
from tests.stores import commit, publish

READ_WHEN_OPENED = [
    "CURRENT",
    "versions/00000001/manifest.json",
    "segments/00000001/segment.json",
    "segments/00000001/ids.npy",
    "segments/00000001/vectors.faiss",
    "layers/00000001.sqlite",
]
READ_BY_BUILDS = ["catalogue.sqlite", "build.lock", "build.owner", "damage.json"]


def fifo(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def folder(path: Path, outside: Path) -> None:
    path.mkdir()


def empty(path: Path, outside: Path) -> None:
    path.touch()


def binary(path: Path, outside: Path) -> None:
    path.write_bytes(bytes(range(256)))


def huge(path: Path, outside: Path) -> None:
    path.touch()
    os.truncate(path, 2**40)  # a hole: it takes no room on the disk


def link(path: Path, outside: Path) -> None:
    """Lead to the same file outside the store."""
    path.symlink_to(outside)


def endless(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def nested(path: Path, outside: Path) -> None:
    path.write_text("[" * 10**6)


FORMS = [fifo, folder, empty, binary, huge, link, endless, nested]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", READ_WHEN_OPENED)
def test_what_is_no_file_of_a_store_is_damage(
    published: Store, tmp_path: Path, name: str, form: Callable[[Path, Path], None]
) -> None:
    path, outside = published.folder / name, tmp_path / "outside"
    path.rename(outside)
    form(path, outside)
    with pytest.raises(StoreCorrupt):
        published.open_published().segments[0].ids  # noqa: B018 -- read when it is needed
    assert verify(Config(store=published.folder)).problems
    assert outside.exists()


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
@pytest.mark.parametrize("name", [*READ_WHEN_OPENED, *READ_BY_BUILDS])
def test_a_build_does_not_wait_for_it_nor_write_through_it(
    published: Store, tmp_path: Path, name: str, form: Callable[[Path, Path], None]
) -> None:
    path, outside = published.folder / name, tmp_path / "outside"
    path.rename(outside) if path.exists() else outside.write_bytes(b"mine")
    before = outside.read_bytes()
    form(path, outside)
    with suppress(LookalikeError, OSError), open_writer(published) as writer:
        commit(writer, ["d"])
        publish(writer)
        writer.collect_garbage(1)
    assert outside.read_bytes() == before
    with suppress(LookalikeError, OSError):
        status(Config(store=published.folder))


@pytest.mark.parametrize("file", ["-wal", "-shm", "-journal"])
@pytest.mark.parametrize("form", [fifo, link], ids=lambda form: form.__name__)
def test_what_sqlite_keeps_beside_the_catalogue_is_no_link(
    published: Store, tmp_path: Path, file: str, form: Callable[[Path, Path], None]
) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")
    form(published.catalogue.with_name(published.catalogue.name + file), outside)
    with pytest.raises(StoreCorrupt, match=f"sqlite{file} is not a regular file"):
        status(Config(store=published.folder))
    with pytest.raises(StoreCorrupt, match="not a regular file"):
        open_writer(published).__enter__()
    assert outside.read_bytes() == b"mine"


@pytest.mark.parametrize(
    "name",
    ["segments", "versions", "layers", "derived", "segments/00000001", "versions/00000001"],
)
def test_a_folder_in_the_store_that_is_a_link_is_refused(
    published: Store, tmp_path: Path, name: str
) -> None:
    """Collecting garbage would remove what it leads to."""
    path, outside = published.folder / name, tmp_path / "outside"
    path.rename(outside)
    (outside / "00000099").mkdir()
    path.symlink_to(outside, target_is_directory=True)
    with pytest.raises(StoreCorrupt, match="is a link"):
        published.open_published()
    with suppress(LookalikeError, OSError), open_writer(published) as writer:
        writer.collect_garbage(1)
    assert (outside / "00000099").is_dir()


def test_the_store_itself_may_be_a_link(published: Store, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(published.folder, target_is_directory=True)
    store = Store(tmp_path / "link")
    with open_writer(store) as writer:
        commit(writer, ["d"])
        publish(writer)
    assert store.open_published().problems() == []


def alter(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a record and seal it again, as somebody who makes a store on purpose can."""
    record = json.loads(path.read_text())["record"]
    change(record)
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps({"sha256": digest, "record": record}))


@pytest.mark.parametrize(
    "name",
    [
        "../00000001",
        "/etc/00000001",
        "",
        ".",
        "..",
        "a\0b",
        "..\\x",
        "1/../1",
        "0\n",
        "٣",
        "9" * 30,
    ],
)
@pytest.mark.parametrize("where", ["segments", "layers", "derived", "parts", "version"])
def test_a_record_names_only_files_of_the_store(published: Store, name: str, where: str) -> None:
    size = {"bytes": 1, "sha256": "x"}
    structure = {
        "folder": "00000001", "setting": "s", "made_by": "s", "trained": size,
        "trained_count": 1, "trained_error": 0.0, "parts": {},
    }  # fmt: skip

    def change(record: dict[str, Any]) -> None:
        if where == "version":
            record["version"] = name
        elif where == "derived":
            record["derived"]["map"] = {**structure, "folder": name}
        elif where == "parts":
            part = {"file": size, "vectors": "x", "count": 1, "error": 0.0}
            record["derived"]["map"] = {**structure, "parts": {name: part}}
        else:
            record[where][0]["id"] = name

    alter(published.versions / "00000001" / "manifest.json", change)
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        published.open_published()


def test_a_version_under_the_name_of_another_is_refused(published: Store) -> None:
    shutil.copytree(published.versions / "00000001", published.versions / "00000007")
    (published.folder / "CURRENT").write_text("00000007")
    with pytest.raises(StoreCorrupt, match="holds the record of version 00000001"):
        published.open_published()


@pytest.mark.parametrize("name", ["../../precious", "..", "/", "", "x"])
def test_a_catalogue_that_names_a_segment_elsewhere_removes_nothing(
    published: Store, tmp_path: Path, name: str
) -> None:
    """A merge removes the segments that it replaces."""
    (tmp_path / "precious").mkdir()
    with open_writer(published) as writer:
        writer.catalogue._db.execute(
            "UPDATE segments SET name = ? WHERE name = '00000001'", (name,)
        )
        with pytest.raises(StoreCorrupt, match="holds a damaged value"):
            writer.catalogue.segments()
    os.utime(published.catalogue)  # as what else writes to it changes its time
    with open_writer(published) as writer:
        writer.collect_garbage(1)
        assert "holds a damaged value" in writer.notes[0]
        assert writer.catalogue.segments() == ["00000001", "00000002"]
    assert (tmp_path / "precious").is_dir()
    assert (published.segments / "00000001").is_dir()
