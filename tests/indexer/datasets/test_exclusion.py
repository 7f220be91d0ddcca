"""Glob patterns, the defaults, and an index among the images."""

import unicodedata
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import Config, DatasetConfig
from indexer.datasets import Exclusion, Folder, Rules, open_dataset
from indexer.datasets.exclusion import STORE_FILES, STORE_FOLDERS, is_store
from indexer.errors import DatasetError, IndexWouldShrink
from indexer.store import Store, open_writer
from tests.conftest import Reindex, small_config


def put(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


@pytest.mark.parametrize(
    ("pattern", "excluded", "kept"),
    [
        ("raw", ["raw", "a/raw", "RAW"], ["raw2", "a/draw"]),
        ("raw/", ["raw", "a/raw"], ["raw2"]),
        ("*_thumb.jpg", ["a_thumb.jpg", "b/c_thumb.jpg"], ["thumb.jpg", "a_thumb.jpg.png"]),
        ("raw/20*", ["raw/2024", "raw/20.jpg"], ["2024", "b/raw/2024", "raw"]),
        ("/raw/20*/*.jpg", ["raw/2024/a.jpg", "raw/2024/b/a.jpg"], ["raw/2024"]),
        ("image[12].jpg", ["image1.jpg"], ["image3.jpg", "image[12].jpg"]),
        ("$RECYCLE.BIN", ["$RECYCLE.BIN", "d/$Recycle.Bin"], ["RECYCLE.BIN", "$RECYCLExBIN"]),
        (unicodedata.normalize("NFC", "Málaga"), [unicodedata.normalize("NFD", "Málaga")], ["M"]),
    ],
)
def test_patterns_match_names_at_any_depth_or_paths(
    pattern: str, excluded: list[str], kept: list[str]
) -> None:
    exclude = Exclusion([pattern])
    assert all(exclude(path.rpartition("/")[2], path) for path in excluded)
    assert not any(exclude(path.rpartition("/")[2], path) for path in kept)


@pytest.mark.parametrize(
    ("path", "part"),
    [
        ("a/raw/b/c.jpg", "a/raw"),
        ("raw/raw/c.jpg", "raw"),
        ("a/b/raw", "a/b/raw"),
        ("a/b/c.jpg", None),
        ("x/y/c.jpg", "x/y"),
    ],
)
def test_what_lies_in_an_excluded_folder_is_excluded(path: str, part: str | None) -> None:
    assert Exclusion(["raw", "x/y"]).part_of(path) == part


def test_the_folders_of_disks_and_systems_are_excluded_counted_and_named(tmp_path: Path) -> None:
    put(
        tmp_path,
        "a.jpg",
        "b/@eaDir/c.jpg/SYNOPHOTO_THUMB_M.jpg",
        "#recycle/d.jpg",
        "$RECYCLE.BIN/S-1-5/e.jpg",
        "__MACOSX/f.jpg",
        "lost+found/g.jpg",
        ".Trash-1000/files/h.jpg",
        ".thumbnails/i.jpg",
        ".git/j.jpg",
        "._a.jpg",
    )
    listing = open_dataset(DatasetConfig(root=tmp_path)).scan()
    assert [item.key for item in listing.items] == ["a.jpg"]
    assert listing.ignored == {"excluded": 5, "hidden": 4}
    (line,) = listing.report()
    assert line == "5 excluded: lost+found, __MACOSX, $RECYCLE.BIN, ..."


def test_nothing_is_excluded_on_request(tmp_path: Path) -> None:
    put(tmp_path, "@eaDir/a.jpg")
    config = DatasetConfig.model_validate({"root": str(tmp_path), "exclude": []})
    assert [item.key for item in open_dataset(config).scan().items] == ["@eaDir/a.jpg"]


def test_paths_of_further_folders_are_below_their_names(tmp_path: Path) -> None:
    put(tmp_path, "one/two/a.jpg", "one/raw/b.jpg", "more/raw/c.jpg", "more/d.jpg")
    rules = Rules(Exclusion(["more/raw"]))
    dataset = Folder(tmp_path / "one", tmp_path / "more", rules=rules)
    keys = [item.key for item in dataset.scan().items]
    assert keys == ["more/d.jpg", "raw/b.jpg", "two/a.jpg"]


def test_a_mount_point_in_which_a_system_left_something_is_empty(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "nas/@eaDir/b.jpg", "other/lost+found/b.jpg", "thumbs/b_thumb.jpg")
    rules = Rules(Exclusion(["@eaDir", "lost+found", "*_thumb.jpg"]))
    listing = Folder(tmp_path, rules=rules).scan()
    assert listing.doubtful == {"nas/": "the folder is empty", "other/": "the folder is empty"}
    with pytest.raises(DatasetError, match="is empty"):
        Folder(tmp_path / "nas", tmp_path / "other", rules=rules).scan()


def test_what_is_excluded_later_leaves_the_index_if_it_is_little(images: Path) -> None:
    """More than a third asks first, and says that the setting is the reason."""
    names = sorted(path.name for path in images.rglob("*.jpg"))

    def excluding(count: int) -> Config:
        dataset = {"root": str(images), "exclude": names[:count]}
        return small_config(images, images.with_name("store"), dataset=dataset)

    assert build(excluding(0)).indexed == 6
    report = build(excluding(1))
    assert (report.removed, report.ignored) == (1, {"excluded": 1})
    assert report.notes[0].startswith("1 excluded: ")
    assert report.notes[0].endswith(names[0])
    with pytest.raises(IndexWouldShrink, match=r"dataset\.exclude passes over") as caught:
        build(excluding(4))
    assert "allow-shrink" in caught.value.hint
    assert build(excluding(4), allow_shrink=True).indexed == 2


def test_a_store_is_recognised_by_all_its_own_entries(config: Config, reindex: Reindex) -> None:
    reindex()
    with open_writer(Store(config.store)) as writer:
        writer.note_progress(0, 1)
        during = {entry.name for entry in config.store.iterdir()}
    after = {entry.name for entry in config.store.iterdir()} | {"damage.json", "COPY"}
    assert during | after == STORE_FOLDERS | STORE_FILES
    assert is_store(after)
    assert is_store(after - {"graphs"})
    assert not is_store({"segments", "versions", "layers", "a.jpg"})


@pytest.mark.parametrize("place", ["index", "deep/er/index"])
def test_a_store_among_the_images_is_no_image_and_makes_no_new_version(
    place: str, images: Path
) -> None:
    config = small_config(images, images / place)
    reports = [build(config) for _ in range(3)]
    assert {(report.version, report.found, report.skipped) for report in reports} == {
        ("00000001", 6, 0)
    }
    assert reports[-1].ignored == {"folders of an index": 1}
    assert reports[-1].notes == [f"1 folders of an index: {place}"]


def test_another_index_among_the_images_is_passed_over_too(
    images: Path, tmp_path: Path, config: Config
) -> None:
    build(small_config(images, images / "old" / "index"))
    build(config)
    assert build(config).found == 6


def test_images_beside_the_files_of_an_index_are_found(images: Path) -> None:
    build(small_config(images, images / "index"))
    for entry in (images / "index").iterdir():
        entry.rename(images / entry.name)
    config = small_config(images, images)
    report = build(config)
    assert (report.version, report.found, report.encoded) == ("00000001", 6, 0)
