"""A text file that lists images: the meaning of its lines."""

import os
from pathlib import Path

from indexer.datasets import ImageList


def listed(tmp_path: Path, text: str | bytes) -> ImageList:
    for name in ("a.jpg", "b c.jpg", "#d.jpg", "any.thing"):
        (tmp_path / "lists" / "sub").mkdir(parents=True, exist_ok=True)
        (tmp_path / "lists" / name).write_bytes(name.encode())
    (tmp_path / "outside.jpg").write_bytes(b"outside")
    file = tmp_path / "lists" / "images.txt"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return ImageList(file)


def keys(tmp_path: Path, text: str | bytes) -> list[str]:
    return [item.key for item in listed(tmp_path, text).scan().items]


def test_paths_are_relative_to_the_list(tmp_path: Path) -> None:
    dataset = listed(tmp_path, "b c.jpg\n../outside.jpg\na.jpg\n")
    found = [item.key for item in dataset.scan().items]
    assert found == [str(tmp_path / "outside.jpg"), "a.jpg", "b c.jpg"]
    assert [dataset.read(key) for key in found] == [b"outside", b"a.jpg", b"b c.jpg"]


def test_blank_lines_comments_and_foreign_line_ends_are_understood(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf# a comment\r\n\r\n  a.jpg  \r\n#d.jpg\r\n./#d.jpg"
    assert keys(tmp_path, text) == ["#d.jpg", "a.jpg"]


def test_one_file_written_in_several_ways_is_listed_once(tmp_path: Path) -> None:
    text = f"a.jpg\n./a.jpg\nsub/../a.jpg\n{tmp_path}/lists/a.jpg\na.jpg\n"
    listing = listed(tmp_path, text).scan()
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.ignored == {"listed twice": 4}


def test_a_listed_file_counts_whatever_its_ending(tmp_path: Path) -> None:
    assert keys(tmp_path, "any.thing\n") == ["any.thing"]


def test_unreadable_files_are_accounted_for(tmp_path: Path) -> None:
    dataset = listed(tmp_path, b"gone.jpg\nsub\npipe\ncaf\xe9.jpg\na\0b.jpg\na.jpg\n")
    os.mkfifo(tmp_path / "lists" / "pipe")
    listing = dataset.scan()
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.unreadable == {
        "gone.jpg": "No such file or directory",
        "sub": "it is not a regular file",
        "pipe": "it is not a regular file",
        "caf\\xe9.jpg": "the name is not valid UTF-8",
        "a\0b.jpg": "there is a zero byte in the path",
    }
