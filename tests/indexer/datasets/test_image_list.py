"""A text file that lists images: the meaning of its lines."""

import os
from pathlib import Path

import pytest

from indexer.datasets import ImageList
from indexer.errors import DatasetError


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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_list_of_windows_is_read(tmp_path: Path, encoding: str) -> None:
    """PowerShell's > writes UTF-16 with a byte order mark."""
    listing = listed(tmp_path, "# é\r\na.jpg\r\ngone.jpg\r\n".encode(encoding)).scan()
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert list(listing.unreadable) == ["gone.jpg"]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("a.jpg\nb c.jpg\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"a.jpg\n" + "b c.jpg\n".encode("utf-16-le"), "UTF-16 without a byte order mark"),
        (b"a.jpg\0b c.jpg\0#d.jpg\0", "full of zero bytes"),
        (b"\xff\xfea", "not valid UTF-16"),
    ],
)
def test_a_list_that_is_not_text_is_refused_with_the_reason(
    tmp_path: Path, data: bytes, problem: str
) -> None:
    with pytest.raises(DatasetError, match=problem) as caught:
        listed(tmp_path, data).scan()
    assert "images.txt cannot be read" in caught.value.message


def test_one_bad_line_costs_that_line(tmp_path: Path) -> None:
    text = "\ufeffa.jpg\n\ud83d.jpg\nb c.jpg\n".encode("utf-16-le", "surrogatepass")
    listing = listed(tmp_path, text).scan()
    assert [item.key for item in listing.items] == ["a.jpg", "b c.jpg"]
    assert listing.unreadable == {"\\xed\\xa0\\xbd.jpg": "the name is not valid UTF-8"}


def test_names_may_hold_what_ends_a_line_elsewhere(tmp_path: Path) -> None:
    name = "a\u2028b\x85c\x1cd.jpg"
    listed(tmp_path, "")
    (tmp_path / "lists" / name).write_bytes(b"x")
    assert keys(tmp_path, f"{name}\na.jpg\r") == ["a.jpg", name]
