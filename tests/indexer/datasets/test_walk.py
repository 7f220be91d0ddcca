"""Links to folders: inside the image folder, and out of it only as a setting says."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.build import build
from indexer.build.plan import preview
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import Exclusion, Folder, ImageList, Listing, Rules, TarShards
from indexer.errors import DatasetError
from indexer.search import Searcher
from tests.conftest import small_config


@pytest.fixture
def outside(tmp_path: Path, photos: list[Path]) -> Path:
    """A folder with one photograph beside the image folder, which links to it."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret.jpg").write_bytes(photos[100].read_bytes())
    return folder


@pytest.fixture
def linked(images: Path, outside: Path) -> Path:
    """The folder of six photographs, with a link to a folder outside."""
    (images / "link").symlink_to(outside)
    return images


def scanned(root: Path, follow_links: bool | None) -> tuple[list[str], Listing]:
    listing = Folder(root, rules=Rules(follow_links=follow_links)).scan()
    return [item.key for item in listing.items], listing


def test_a_link_out_of_the_folder_is_followed_only_on_request(linked: Path, outside: Path) -> None:
    keys, listing = scanned(linked, follow_links=True)
    assert "link/secret.jpg" in keys
    assert listing.report() == [f"Followed links out of the image folder: link (to {outside})."]
    for decision in (False, None):
        keys, listing = scanned(linked, decision)
        assert len(keys) == 6
        assert listing.report() == ["1 links to folders elsewhere, not followed: link"]
        assert list(listing.doubtful) == ["link/"]
        assert listing.undecided_links == ({} if decision is False else {"link": str(outside)})


@pytest.mark.parametrize("target", ["..", "../..", "/", "../outside", "inner/../../outside"])
def test_every_way_out_is_one(images: Path, outside: Path, target: str) -> None:
    (images / "inner").mkdir()
    (images / "link").symlink_to(target)
    assert list(scanned(images, None)[1].undecided_links) == ["link"]


def test_a_link_over_a_link_leads_where_the_last_one_leads(images: Path, outside: Path) -> None:
    (images.parent / "step").symlink_to(outside)
    (images / "out").symlink_to(images.parent / "step")
    (images.parent / "back").symlink_to(images)
    (images / "in").symlink_to(images.parent / "back")
    keys, listing = scanned(images, None)
    assert (len(keys), list(listing.undecided_links)) == (6, ["out"])


def test_links_within_the_folders_need_no_decision(images: Path, tmp_path: Path) -> None:
    (tmp_path / "alias").symlink_to(images)
    (images / "loop").symlink_to(images)
    (images / "sub").symlink_to(next(images.glob("*/")))
    keys, listing = scanned(tmp_path / "alias", None)
    assert (len(keys), listing.undecided_links) == (6, {})
    assert {*listing.report()} == {
        "1 links to folders that are searched anyway, not followed: sub",
        "1 links to a folder that they lie in, not followed: loop",
    }


def test_a_folder_whose_name_begins_like_that_of_the_root_is_outside(images: Path) -> None:
    sibling = images.with_name(images.name + "2")
    sibling.mkdir()
    (sibling / "1.jpg").touch()
    (images / "link").symlink_to(sibling)
    assert list(scanned(images, None)[1].undecided_links) == ["link"]


@pytest.mark.parametrize(("others", "is_asked"), [(0, False), (9, False), (10, True)])
def test_a_link_to_a_folder_without_images_needs_no_decision(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: int, is_asked: bool
) -> None:
    """It is not followed. Of a large folder it is not known."""
    monkeypatch.setattr("indexer.datasets.walk.MAX_LOOKED_AT", 10)
    (tmp_path / "etc" / "sub").mkdir(parents=True)
    for number in range(others):
        (tmp_path / "etc" / "sub" / f"{number}.conf").touch()
    (images / "link").symlink_to(tmp_path / "etc")
    _, listing = scanned(images, None)
    assert listing.report() == ["1 links to folders elsewhere, not followed: link"]
    assert bool(listing.undecided_links) == is_asked


def test_a_link_back_from_outside_ends(linked: Path, outside: Path) -> None:
    (outside / "back").symlink_to(linked)
    (outside / "up").symlink_to(linked.parent)
    keys, _ = scanned(linked, follow_links=True)
    assert sorted(keys) == sorted({*keys})
    assert len([key for key in keys if key.endswith("secret.jpg")]) == 1


def test_links_to_files_are_followed(images: Path, outside: Path) -> None:
    """Farms of links, as of git-annex and DVC, are made of them; only images get in."""
    (images / "file.jpg").symlink_to(outside / "secret.jpg")
    keys, listing = scanned(images, None)
    assert "file.jpg" in keys
    assert listing.undecided_links == {}


def test_an_excluded_link_needs_no_decision(linked: Path) -> None:
    listing = Folder(linked, rules=Rules(Exclusion(["link"]))).scan()
    assert (listing.undecided_links, listing.ignored) == ({}, {"excluded": 1})


@pytest.mark.parametrize(("name", "may_be_a_folder"), [("nas", True), ("1.jpg", False)])
def test_a_link_whose_disk_is_away_may_be_that_of_a_folder(
    images: Path, tmp_path: Path, name: str, may_be_a_folder: bool
) -> None:
    (images / name).symlink_to(tmp_path / "away")
    _, listing = scanned(images, None)
    assert bool(listing.undecided_links) == may_be_a_folder
    assert listing.doubtful == {f"{name}/": "the link leads nowhere"} | (
        {name: "No such file or directory"}
    )


def test_archives_in_a_linked_folder_follow_the_same_rule(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "0.tar").write_bytes(bytes(10_240))
    (outside / "1.tar").write_bytes(bytes(10_240))
    (tmp_path / "shards" / "link").symlink_to(outside)
    listing = TarShards(tmp_path / "shards").scan()
    assert list(listing.undecided_links) == ["link"]
    assert list(listing.unreadable) == []


def test_a_missing_file_does_not_list_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the folder is empty shows at the first entry that counts."""
    taken = 0

    class Counted:
        def __init__(self, path: Path) -> None:
            self.path = path

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return self.entries()

        def __exit__(self, *_: object) -> None:
            pass

        def entries(self) -> Iterator[os.DirEntry[str]]:
            nonlocal taken
            for entry in list(scandir(self.path)):
                taken += 1
                yield entry

    for number in range(100):
        (tmp_path / f"{number}.jpg").touch()
    (tmp_path / "list.txt").write_text("".join(f"gone{number}.jpg\n" for number in range(50)))
    scandir = os.scandir
    monkeypatch.setattr("indexer.datasets.walk.os.scandir", Counted)
    listing = ImageList(tmp_path / "list.txt").scan()
    assert (len(listing.deleted), taken) == (50, 50)


def settings(images: Path, store: Path, follow_links: bool | None) -> Config:
    return small_config(images, store, dataset={"root": str(images), "follow_links": follow_links})


def test_a_build_asks_before_it_reads_anything(linked: Path, tmp_path: Path) -> None:
    config = settings(linked, tmp_path / "store", None)
    with pytest.raises(DatasetError, match=r"lead out of the image folder: link \(to ") as caught:
        build(config)
    assert "--follow-links" in caught.value.hint
    with pytest.raises(DatasetError, match="lead out"):
        preview(config)
    report = build(settings(linked, tmp_path / "store", follow_links=False))
    assert report.indexed == 6
    assert report.ignored == {"links to folders elsewhere, not followed": 1}
    assert report.notes == ["1 links to folders elsewhere, not followed: link"]


def test_images_that_were_found_over_a_link_stay_until_someone_says_otherwise(
    linked: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert build(settings(linked, store, follow_links=True)).indexed == 7
    with pytest.raises(DatasetError, match="lead out"):
        build(settings(linked, store, None))
    report = build(settings(linked, store, follow_links=False))
    assert (report.indexed, report.removed, report.unavailable) == (7, 0, 1)
    assert "is not followed (1)" in report.notes[0]
    found = Searcher.open(settings(linked, store, None)).search_id(1, k=7).hits
    assert "link/secret.jpg" in {hit.image.key for hit in found}
    report = build(settings(linked, store, follow_links=False), allow_shrink=True)
    assert (report.indexed, report.removed, report.unavailable) == (6, 1, 0)


def test_the_command_line_asks_once_and_the_index_remembers(
    linked: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["index", str(linked), "--store", "s", "--encoder", "efficientnet_lite0"]
    assert main(command) == 1
    assert "--no-follow-links" in capsys.readouterr().err
    assert main([*command, "--follow-links"]) == 0
    assert "found 7 = indexed 7" in capsys.readouterr().out
    assert main(["index", "--store", "s"]) == 0
    assert "found 7 = indexed 7" in capsys.readouterr().out
    assert main([*command, "--no-follow-links"]) == 0
    assert "not followed" in capsys.readouterr().out
