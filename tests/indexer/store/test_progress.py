"""How far a build is, for those who watch the store; it never hinders the build."""

import os
import time
from pathlib import Path

import pytest

import indexer.store.writer
from indexer.build import build
from indexer.config import Config
from indexer.store import BuildProgress, Store, build_progress, open_writer
from indexer.store.progress import FILE, STALE_S, note_progress


def test_a_build_notes_what_it_has_committed_and_leaves_nothing(
    config: Config, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (images / "bad.jpg").write_bytes(b"no image")
    noted = []

    def note(folder: Path, progress: BuildProgress) -> None:
        note_progress(folder, progress)
        assert build_progress(folder) == progress
        noted.append(progress)

    monkeypatch.setattr(indexer.store.writer, "note_progress", note)
    build(config)
    assert noted[0] == (0, 7)
    assert noted[-1] == (7, 7)
    assert noted == sorted(noted)
    assert build_progress(config.store) is None
    assert not (config.store / FILE).exists()


def test_a_shorter_note_replaces_a_longer_one(tmp_path: Path) -> None:
    for progress in (BuildProgress(99, 12345678), BuildProgress(1, 2)):
        note_progress(tmp_path, progress)
        assert build_progress(tmp_path) == progress


def test_a_build_that_was_killed_is_not_shown_for_ever(tmp_path: Path) -> None:
    note_progress(tmp_path, BuildProgress(3, 9))
    for age, found in ((STALE_S - 100, BuildProgress(3, 9)), (STALE_S + 1, None)):
        then = time.time() - age
        os.utime(tmp_path / FILE, (then, then))
        assert build_progress(tmp_path) == found
    with open_writer(Store(tmp_path / "store")) as writer:
        writer.note_progress(1, 2)
    assert not (tmp_path / "store" / FILE).exists()


@pytest.mark.parametrize(
    "content", [b"", b"1", b"1 2 3", b"3 2", b"-1 2", b"a b", b"\xff 1", b"1 2" * 99]
)
def test_what_is_no_note_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE).write_bytes(content)
    assert build_progress(tmp_path) is None


def test_neither_links_nor_pipes_are_followed(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("1 2")
    (tmp_path / FILE).symlink_to(tmp_path / "outside")
    note_progress(tmp_path, BuildProgress(3, 4))
    assert (tmp_path / "outside").read_text() == "1 2"
    assert build_progress(tmp_path) is None
    (tmp_path / FILE).unlink()
    os.mkfifo(tmp_path / FILE)
    note_progress(tmp_path, BuildProgress(3, 4))
    assert build_progress(tmp_path) is None


def test_no_store_has_no_progress(tmp_path: Path) -> None:
    note_progress(tmp_path / "missing", BuildProgress(3, 4))
    assert build_progress(tmp_path / "missing") is None
