"""Which files a build reads again: those that may have changed, whatever their time says."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

import indexer.datasets.files
from indexer.build import BuildReport, build
from indexer.build.plan import plan, preview
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import Folder, Listing
from indexer.errors import DatasetError
from indexer.maintenance import status, verify
from indexer.search import Searcher
from indexer.store import Store
from tests.conftest import Reindex, small_config

KEPT = (0, 0, 6)
"""Encoded, recognised and indexed images of a build that reads nothing."""

READ = (0, 6, 6)
"""The same of a build that reads everything and finds it unchanged."""


def counts(report: BuildReport) -> tuple[int, int, int]:
    return report.encoded, report.recognised, report.indexed


def overwrite(path: Path, data: bytes) -> None:
    """Write other content of the same size into a file, and set its time back."""
    before = path.stat()
    path.write_bytes(data.ljust(before.st_size, b"\0"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def same_size(images: Path) -> tuple[Path, Path]:
    """Make two photographs equal in size and time by padding one; return them, this one last."""
    larger, smaller = sorted(images.rglob("*.jpg"), key=lambda p: p.stat().st_size)[1::-1]
    smaller.write_bytes(smaller.read_bytes().ljust(larger.stat().st_size, b"\0"))
    for path in (larger, smaller):
        os.utime(path, ns=(0, 10**18))
    return larger, smaller


def layers(config: Config) -> list[str]:
    return sorted(path.name for path in Store(config.store).layers.iterdir())


def catalogue(config: Config) -> sqlite3.Connection:
    return sqlite3.connect(Store(config.store).catalogue)


@pytest.fixture
def revisions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Files of a file system whose change times and inode numbers say nothing: set a text."""
    texts = ["the same"]
    monkeypatch.setattr(indexer.datasets.files, "revision_of", lambda _: texts[-1])
    return texts


@pytest.fixture
def without_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans that do not know how large the files are."""
    scan = Folder.scan

    def unsized(self: Folder) -> Listing:
        listing = scan(self)
        listing.items = [replace(item, size=None) for item in listing.items]
        return listing

    monkeypatch.setattr(Folder, "scan", unsized)


@pytest.mark.usefixtures("without_sizes")
def test_where_sizes_are_unknown_time_and_revision_tell_what_changed(
    reindex: Reindex, images: Path, config: Config
) -> None:
    first, second, third, *_ = sorted(images.rglob("*.jpg"))
    first.write_bytes(b"no image")
    assert plan(config).image_bytes is None
    assert " to encode, 0 unchanged" in plan(config).summary
    assert counts(reindex()) == (5, 0, 5)
    assert (preview(config)["retried"], counts(reindex())) == ([], (0, 0, 5))
    os.utime(second)
    third.chmod(0o600)
    found = preview(config)
    assert found["changed"] == [second.relative_to(images).as_posix()]
    assert found["checked"] == [third.relative_to(images).as_posix()]
    assert counts(reindex()) == (0, 2, 5)
    collection = Searcher.open(config).collection
    sizes = {collection.image(int(image_id)).size for image_id in collection.ids}
    assert second.stat().st_size in sizes


@pytest.mark.usefixtures("without_sizes")
def test_where_sizes_are_unknown_the_times_tell_that_all_files_were_renamed(
    reindex: Reindex, images: Path
) -> None:
    reindex()
    times = [10**18 + number for number in range(6)]
    for path, time in zip(sorted(images.rglob("*.jpg")), times, strict=True):
        os.utime(path, ns=(time, time))
    reindex()
    for path in list(images.rglob("*.jpg")):
        path.rename(path.with_name(f"renamed {path.name}"))
    assert counts(reindex()) == (0, 6, 6)
    for path in list(images.rglob("*.jpg")):
        path.rename(path.with_name(f"again {path.name}"))
        os.utime(path.with_name(f"again {path.name}"))
    with pytest.raises(DatasetError, match="None of the 6 files of this store"):
        reindex()


def test_a_file_overwritten_with_equal_size_and_time_is_encoded(
    reindex: Reindex, images: Path, config: Config
) -> None:
    larger, smaller = same_size(images)
    reindex()
    overwrite(larger, smaller.read_bytes()[:-1] + b"\1")
    assert counts(reindex()) == (1, 0, 6)
    first, second, *_ = Searcher.open(config).search_image(larger.read_bytes()).hits
    assert {first.image.key, second.image.key} == {
        str(path.relative_to(images)) for path in (larger, smaller)
    }
    assert second.distance < 1e-4
    assert counts(reindex()) == KEPT


def test_files_that_exchange_their_names_are_noticed(
    reindex: Reindex, images: Path, config: Config
) -> None:
    """Their folders are renamed, so that not even their change times differ."""
    one, other = same_size(images)
    for path, folder in ((one, "one"), (other, "other")):
        (images / folder).mkdir()
        path.rename(images / folder / "photo.jpg")
    reindex()
    query = (images / "one" / "photo.jpg").read_bytes()
    assert Searcher.open(config).search_image(query).hits[0].image.key == "one/photo.jpg"
    (images / "one").rename(images / "aside")
    (images / "other").rename(images / "one")
    (images / "aside").rename(images / "other")
    report = reindex()
    assert (report.encoded, report.recognised) == (0, 2)
    assert Searcher.open(config).search_image(query).hits[0].image.key == "other/photo.jpg"


def change_permissions(images: Path) -> None:
    for path in images.rglob("*.jpg"):
        path.chmod(0o600)


def link(images: Path) -> None:
    for number, path in enumerate(images.rglob("*.jpg")):
        os.link(path, images.parent / f"{number}.jpg")


def restore(images: Path) -> None:
    """Replace all files by copies with the same times, as from a backup."""
    shutil.copytree(images, images.parent / "backup")
    shutil.rmtree(images)
    shutil.copytree(images.parent / "backup", images)


@pytest.mark.parametrize("change", [change_permissions, link, restore])
def test_files_with_the_same_content_are_read_once_and_nothing_is_published(
    reindex: Reindex, images: Path, config: Config, change: object
) -> None:
    version, before = reindex().version, layers(config)
    assert callable(change)
    change(images)
    assert len(preview(config)["checked"]) == 6
    report = reindex()
    assert counts(report) == READ
    assert (report.version, layers(config)) == (version, before)
    assert counts(reindex()) == KEPT


def test_inode_numbers_that_always_differ_change_no_row_of_a_version(
    reindex: Reindex, images: Path, config: Config, revisions: list[str]
) -> None:
    """As those of some network file systems do."""
    (images / "broken.jpg").write_bytes(b"x")
    version = reindex().version
    for number in range(3):
        revisions.append(f"another {number}")
        report = reindex()
        assert counts(report) == READ
        assert (report.version, report.skipped) == (version, 1)
        with closing(catalogue(config)) as connection:
            assert connection.execute("SELECT count(*) FROM changed").fetchone() == (0,)
    assert counts(reindex()) == KEPT


def test_reread_finds_what_no_stamp_tells(
    reindex: Reindex, images: Path, config: Config, revisions: list[str]
) -> None:
    larger, smaller = same_size(images)
    (images / "broken.jpg").write_bytes(b"x")
    reindex()
    overwrite(larger, smaller.read_bytes()[:-1] + b"\1")
    assert counts(reindex()) == KEPT
    report = build(config, reread=True)
    assert counts(report) == (1, 5, 6)
    assert report.skipped == 1
    version = report.version
    report = build(config, reread=True)
    assert (report.version, counts(report)) == (version, READ)
    assert verify(config).problems == []


def test_reread_on_the_command_line(
    reindex: Reindex, images: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    reindex()
    options = ["index", str(images), "--store", str(config.store), "--reread", "--json"]
    options += ["--encoder", "efficientnet_lite0"]
    assert main([*options, "--dry-run"]) == 0
    assert len(json.loads(capsys.readouterr().out)["checked"]) == 6
    assert main(options) == 0
    assert json.loads(capsys.readouterr().out)["recognised"] == 6


@pytest.mark.parametrize("reread", [False, True])
def test_an_indexed_file_that_cannot_be_read_now_stays(
    reindex: Reindex, images: Path, config: Config, reread: bool
) -> None:
    reindex()
    path = next(images.rglob("*.jpg"))
    data = path.read_bytes()
    path.unlink()
    path.symlink_to("/proc/self/mem")  # reading it is an input/output error
    report = build(config, reread=reread)
    assert (report.indexed, report.skipped, report.unavailable) == (6, 0, 1)
    assert any("Input/output error (1)" in note for note in report.notes)
    key = str(path.relative_to(images))
    assert Searcher.open(config).search_image(data).hits[0].image.key == key
    assert reindex().unavailable == 1
    path.unlink()
    path.write_bytes(data)
    report = reindex()
    assert (report.indexed, report.encoded, report.unavailable) == (6, 0, 0)


def test_a_store_of_an_older_version_is_read_once(
    reindex: Reindex, images: Path, config: Config
) -> None:
    (images / "broken.jpg").write_bytes(b"x")
    version = reindex().version
    with closing(catalogue(config)) as connection:
        connection.executescript(
            "DROP INDEX dead_by_segment; ALTER TABLE images DROP COLUMN revision;"
        )
    assert len(preview(config)["checked"]) == 6
    assert status(config).counts.indexed == 6
    report = reindex()
    assert (report.version, report.skipped, counts(report)) == (version, 1, READ)
    assert counts(reindex()) == KEPT


def test_a_broken_file_is_not_read_again_because_it_was_checked(
    reindex: Reindex, images: Path, config: Config, tmp_path: Path
) -> None:
    """Its new revision is noted although its row stays as it is."""
    (images / "broken.jpg").write_bytes(b"x")
    version = reindex().version
    (images / "broken.jpg").chmod(0o600)
    assert preview(config)["retried"] == ["broken.jpg"]
    assert reindex().version == version
    assert preview(config)["retried"] == []
    clean = small_config(images, tmp_path / "clean")
    assert build(clean).skipped == 1
