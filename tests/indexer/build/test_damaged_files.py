"""Files that are damaged but have their whole picture: indexed, and noted for good."""

import json
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import Config
from indexer.maintenance import status
from lookalike.cli import main

NOTE = "The file ends without an end marker."


@pytest.fixture
def damaged(images: Path) -> Path:
    """A photograph without its end marker, among five others."""
    photo = min(images.rglob("*.jpg"))
    data = photo.read_bytes()
    photo.write_bytes(data[: data.rindex(b"\xff\xd9")])
    return photo


def test_the_build_and_the_status_say_what_is_wrong(
    config: Config, images: Path, damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = str(damaged.relative_to(images))
    report = build(config)
    assert (report.indexed, report.skipped) == (6, 0)
    assert [note for note in report.notes if f"are whole: 1, {key} ({NOTE})" in note]
    assert status(config).noted == {key: NOTE}
    assert build(config).notes == []  # nothing new

    assert main(["status", "--store", str(config.store), "--skipped"]) == 0
    printed = capsys.readouterr().out
    assert "  damaged  1 indexed, their pictures are whole\n" in printed
    assert printed.endswith(f"{key}\tindexed\t{NOTE}\n")
    assert main(["status", "--store", str(config.store), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["noted"] == {key: NOTE}
    assert main(["search", str(damaged), "--store", str(config.store)]) == 0
    assert capsys.readouterr().err.endswith(f"{damaged} is damaged: {NOTE}\n")


def test_the_note_moves_with_the_file(config: Config, images: Path, damaged: Path) -> None:
    build(config)
    damaged.rename(images / "moved.jpg")
    assert build(config).recognised == 1
    assert status(config).noted == {"moved.jpg": NOTE}
    copy = images / "copy.jpg"
    copy.write_bytes((images / "moved.jpg").read_bytes())
    build(config)
    assert status(config).noted == {"copy.jpg": NOTE, "moved.jpg": NOTE}
    copy.write_bytes(copy.read_bytes() + b"\xff\xd9")
    build(config)
    assert status(config).noted == {"moved.jpg": NOTE}
