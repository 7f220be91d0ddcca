"""Scanning a folder: images, ignored files and unreadable ones."""

import os
from pathlib import Path

import pytest

from indexer.datasets import Folder, Rules
from indexer.datasets.files import MAX_FILE_BYTES
from indexer.errors import DatasetError, ImageGone, ImageTooLarge, ImageUnreadable


def keys(folder: Path, rules: Rules | None = None) -> list[str]:
    return [item.key for item in Folder(folder, rules=rules).scan().items]


def put(path: Path, data: bytes = b"x") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_images_are_found_at_any_depth_in_order(tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.PNG", "a/b/c.webp", "no_ending"):
        put(tmp_path / name)
    assert keys(tmp_path) == ["a/b/c.webp", "a/z.PNG", "b.jpg", "no_ending"]


def test_other_files_are_counted_by_their_ending(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.txt", "c.TXT", ".hidden.jpg", "d.mov"):
        put(tmp_path / name)
    listing = Folder(tmp_path).scan()
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.ignored == {".txt": 2, "hidden": 1, ".mov": 1}


def test_hidden_folders_are_ignored(tmp_path: Path) -> None:
    put(tmp_path / ".thumbnails" / "a.jpg")
    listing = Folder(tmp_path).scan()
    assert (listing.items, listing.ignored) == ([], {"hidden": 1})


def test_an_ending_that_is_not_utf8_is_counted_by_its_escape(tmp_path: Path) -> None:
    put(tmp_path / os.fsdecode(b"a.caf\xe9"))
    assert Folder(tmp_path).scan().ignored == {".caf\\xe9": 1}


def test_files_in_unreadable_formats_are_found(tmp_path: Path) -> None:
    put(tmp_path / "phone.HEIC")
    assert keys(tmp_path) == ["phone.HEIC"]


def test_size_and_time_are_recorded(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", b"12345")
    os.utime(tmp_path / "a.jpg", ns=(7, 8))
    (item,) = Folder(tmp_path).scan().items
    assert (item.size, item.mtime_ns) == (5, 8)


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.jpg")
    put(tmp_path / "elsewhere" / "b.jpg")
    (tmp_path / "images" / "loop").symlink_to(tmp_path / "images")
    (tmp_path / "images" / "there").symlink_to(tmp_path / "elsewhere")
    assert keys(tmp_path / "images", Rules(follow_links=True)) == ["a.jpg", "there/b.jpg"]


def test_a_dangling_link_and_a_self_link_are_accounted_for(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing.jpg")
    (tmp_path / "self.jpg").symlink_to(tmp_path / "self.jpg")
    listing = Folder(tmp_path).scan()
    assert listing.items == []
    assert sorted(listing.unreadable) == ["gone.jpg", "self.jpg"]


def test_a_name_that_is_not_utf8_is_accounted_for(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    listing = Folder(tmp_path).scan()
    assert listing.unreadable == {"caf\\xe9.jpg": "the name is not valid UTF-8"}


def test_a_valid_name_wins_over_an_escaped_one_that_looks_the_same(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
    (tmp_path / "caf\\xe9.jpg").write_bytes(b"x")
    listing = Folder(tmp_path).scan()
    assert [item.key for item in listing.items] == ["caf\\xe9.jpg"]
    assert listing.unreadable == {}


def test_a_folders_own_path_wins_over_links_to_it(tmp_path: Path) -> None:
    put(tmp_path / "z" / "a.jpg")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "link").symlink_to(tmp_path / "z")
    assert keys(tmp_path) == ["z/a.jpg"]


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "dump").open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)  # a sparse file: nothing is written
    with pytest.raises(ImageTooLarge, match="larger than 500 MB"):
        Folder(tmp_path).read("dump")


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    listing = Folder(tmp_path).scan()
    assert (listing.items, listing.unreadable) == ([], {"pipe.jpg": "it is not a regular file"})
    with pytest.raises(ImageUnreadable, match="not a regular file"):
        Folder(tmp_path).read("pipe.jpg")


def test_a_missing_folder_is_an_error_that_says_how_to_name_one(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="does not exist") as caught:
        Folder(tmp_path / "nothing").scan()
    assert "lookalike index FOLDER" in caught.value.hint


def test_read_returns_the_bytes(tmp_path: Path) -> None:
    put(tmp_path / "a" / "b.jpg", b"123")
    assert Folder(tmp_path).read("a/b.jpg") == b"123"


@pytest.mark.parametrize("key", ["../secret", "/etc/passwd", "a/../../secret", "gone.jpg", "a\0b"])
def test_read_stays_inside_the_folder(tmp_path: Path, key: str) -> None:
    put(tmp_path / "secret")
    (tmp_path / "images").mkdir()
    with pytest.raises(ImageGone):
        Folder(tmp_path / "images").read(key)


def two_folders(tmp_path: Path) -> tuple[Path, Path]:
    put(tmp_path / "one" / "a.jpg", b"1")
    put(tmp_path / "two" / "a.jpg", b"2")
    return tmp_path / "one", tmp_path / "two"


def test_another_folder_changes_no_key(tmp_path: Path) -> None:
    one, two = two_folders(tmp_path)
    put(tmp_path / "three" / "b" / "a.jpg", b"3")
    dataset = Folder(one, two, tmp_path / "three")
    found = [item.key for item in dataset.scan().items]
    assert found == ["a.jpg", "three/b/a.jpg", "two/a.jpg"]
    assert [dataset.read(key) for key in found] == [b"1", b"3", b"2"]
    assert {*keys(one)} < {item.key for item in Folder(one, two).scan().items} < {*found}


def test_a_link_from_one_folder_into_another_adds_nothing(tmp_path: Path) -> None:
    one, two = two_folders(tmp_path)
    (one / "link").symlink_to(two)
    assert [item.key for item in Folder(one, two).scan().items] == ["a.jpg", "two/a.jpg"]


def test_folders_whose_keys_would_be_ambiguous_are_refused(tmp_path: Path) -> None:
    one, two = two_folders(tmp_path)
    put(tmp_path / "elsewhere" / "two" / "a.jpg")
    put(one / "inner" / "a.jpg")
    (tmp_path / "link").symlink_to(one)
    for roots, reason in (
        ((one, two, tmp_path / "elsewhere" / "two"), "the same name"),
        ((one, one / "inner"), "lies in"),
        ((one / "inner", one), "lies in"),
        ((one, tmp_path / "link"), "lies in"),
        ((tmp_path / "elsewhere", two), "would mean both"),
    ):
        with pytest.raises(DatasetError, match=reason):
            Folder(*roots).scan()


def test_one_of_several_folders_that_is_missing_or_empty_is_an_error(tmp_path: Path) -> None:
    """Its disk is probably not mounted; its images must stay in the index."""
    one, two = two_folders(tmp_path)
    (two / "a.jpg").unlink()
    with pytest.raises(DatasetError, match="is empty") as caught:
        Folder(one, two).scan()
    assert "mounted" in caught.value.hint
    two.rmdir()
    with pytest.raises(DatasetError, match="does not exist"):
        Folder(one, two).scan()
