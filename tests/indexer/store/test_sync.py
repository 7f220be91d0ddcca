"""Moved, copied and touched files are recognised and not encoded again."""

import os
import shutil
from pathlib import Path

import pytest

from indexer.config import Config
from indexer.store import Store
from tests.conftest import Reindex, delete
from tests.stores import assert_like_a_clean_build


def test_moved_copied_swapped_and_touched_files_are_not_encoded_again(
    reindex: Reindex, images: Path, config: Config, tmp_path: Path
) -> None:
    reindex()
    moved, copied, one, other, touched, _ = photos = sorted(images.rglob("*.jpg"))
    before = {row.key: row.id for row in Store(config.store).open_published().catalogue.rows()}
    (images / "new").mkdir()
    moved.rename(images / "new" / "moved.jpg")
    shutil.copy(copied, images / "new" / "copy.jpg")
    one.rename(tmp_path / "aside")
    other.rename(one)
    (tmp_path / "aside").rename(other)
    os.utime(one, ns=(1, 1))
    os.utime(other, ns=(2, 2))
    os.utime(touched, ns=(3, 3))
    report = reindex()
    assert (report.encoded, report.recognised, report.removed) == (0, 5, 0)
    after = {row.key: row.id for row in Store(config.store).open_published().catalogue.rows()}
    assert after["new/moved.jpg"] == before[str(photos[0].relative_to(images))]
    assert after[str(touched.relative_to(images))] == before[str(touched.relative_to(images))]
    assert len(set(after.values())) == 7
    assert reindex().version == report.version
    assert_like_a_clean_build(config, tmp_path)


def test_a_touched_folder_publishes_nothing(reindex: Reindex, images: Path) -> None:
    first = reindex()
    for photo in images.rglob("*.jpg"):
        os.utime(photo, ns=(5, 5))
    report = reindex()
    assert (report.version, report.recognised, report.encoded) == (first.version, 6, 0)
    assert reindex().recognised == 0


def test_a_dry_run_says_what_would_happen_and_changes_nothing(
    reindex: Reindex, images: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    from indexer.cli.parser import main

    (images / "bad.jpg").write_bytes(b"x")
    reindex()
    gone, changed, *_ = sorted(images.rglob("*/*.jpg"))
    delete(gone)
    os.utime(changed, ns=(5, 5))
    os.utime(images / "bad.jpg", ns=(5, 5))
    (images / "new.jpg").write_bytes(changed.read_bytes())
    state = {p: p.stat().st_mtime_ns for p in config.store.rglob("*") if p.is_file()}
    flags = [f"--images={images}", f"--store={config.store}", "--encoder=efficientnet_lite0"]
    assert main(["build", "--dry-run", *flags]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert set(lines[:4]) == {
        "+ new.jpg",
        f"~ {changed.relative_to(images)}",
        "? bad.jpg",
        f"- {gone.relative_to(images)}",
    }
    assert {p: p.stat().st_mtime_ns for p in state if p.exists()} == state
