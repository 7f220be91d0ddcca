"""The contract of sources of images, checked on all of them."""

import json
import tarfile
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import DatasetConfig
from indexer.datasets import Dataset, open_dataset
from indexer.errors import DatasetError, ImageGone
from indexer.maintenance import verify
from indexer.search import Searcher
from tests.conftest import small_config

Files = dict[str, bytes]
KINDS = ["folder", "two folders", "list", "coco", "tar"]


def write_folder(base: Path, files: Files) -> dict[str, object]:
    write_files(base / "images", files)
    return {"root": str(base / "images")}


def write_two_folders(base: Path, files: Files) -> dict[str, object]:
    first, *others = files
    write_files(base / "images", {first: files[first]})
    write_files(base / "more", {name: files[name] for name in others})
    return {"root": [str(base / "images"), str(base / "more")]}


def write_list(base: Path, files: Files) -> dict[str, object]:
    write_files(base / "images", files)
    (base / "images.txt").write_text("".join(f"images/{name}\n" for name in files))
    return {"kind": "list", "root": str(base / "images.txt")}


def write_coco(base: Path, files: Files) -> dict[str, object]:
    write_files(base / "images", files)
    images = [{"id": number, "file_name": name} for number, name in enumerate(files)]
    (base / "coco.json").write_text(json.dumps({"images": images, "annotations": []}))
    return {
        "kind": "coco",
        "root": str(base / "images"),
        "annotations": str(base / "coco.json"),
    }


def write_tar(base: Path, files: Files) -> dict[str, object]:
    (base / "shards").mkdir(exist_ok=True)
    with tarfile.open(base / "shards" / "0000.tar", "w") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return {"kind": "tar", "root": str(base / "shards")}


def write_files(folder: Path, files: Files) -> None:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_bytes() != data:
            path.write_bytes(data)
    for path in folder.rglob("*.jpg"):
        if path.relative_to(folder).as_posix() not in files:
            path.unlink()


WRITERS = dict(
    zip(KINDS, (write_folder, write_two_folders, write_list, write_coco, write_tar), strict=True)
)


class Source:
    """A source on disk whose files a test may replace."""

    def __init__(self, kind: str, base: Path) -> None:
        self.kind, self.base = kind, base

    def put(self, files: Files) -> DatasetConfig:
        self.settings = WRITERS[self.kind](self.base, files)
        return DatasetConfig.model_validate(self.settings)

    def open(self, files: Files) -> Dataset:
        return open_dataset(self.put(files))


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    (tmp_path / "source").mkdir()
    return Source(request.param, tmp_path / "source")


@pytest.fixture
def files(photos: list[Path]) -> Files:
    return {f"{n % 2}/{n}.jpg": photo.read_bytes() for n, photo in enumerate(photos[::60])}


def test_every_image_is_listed_once_in_order_and_read(source: Source, files: Files) -> None:
    dataset = source.open(files)
    listing = dataset.scan()
    keys = [item.key for item in listing.items]
    assert keys == sorted(set(keys))
    assert listing.unreadable == {}
    assert sorted(dataset.read(key) for key in keys) == sorted(files.values())
    assert [item.size for item in listing.items] == [len(dataset.read(key)) for key in keys]


def test_keys_end_in_the_names_of_the_files(source: Source, files: Files) -> None:
    for item in source.open(files).scan().items:
        (name,) = (name for name in files if item.key.endswith(name))
        assert files[name] == source.open(files).read(item.key)


def test_nothing_changed_means_equal_items(source: Source, files: Files) -> None:
    config = source.put(files)
    assert open_dataset(config).scan() == open_dataset(config).scan()


def test_a_changed_file_is_another_item_under_the_same_key(source: Source, files: Files) -> None:
    before = {item.key: item for item in source.open(files).scan().items}
    name = next(iter(files))
    files[name] = files[name] + b"\0" * 600
    dataset = source.open(files)
    after = {item.key: item for item in dataset.scan().items}
    assert after.keys() == before.keys()
    (key,) = (key for key in after if key.endswith(name))
    assert after[key] != before[key]
    assert dataset.read(key) == files[name]


def test_an_open_dataset_reads_files_as_they_are_now(source: Source, files: Files) -> None:
    """Also tar shards, whose members may have other offsets since the scan."""
    dataset = source.open(files)
    keys = [item.key for item in dataset.scan().items]
    changed = {name: b"\0" * 700 + data for name, data in files.items()}
    source.put(changed)
    assert sorted(dataset.read(key) for key in keys) == sorted(changed.values())


def test_a_vanished_file_is_gone(source: Source, files: Files) -> None:
    dataset = source.open(files)
    (key,) = (i.key for i in dataset.scan().items if i.key.endswith(list(files)[-1]))
    files.popitem()
    source.put(files)
    with pytest.raises(ImageGone):
        dataset.read(key)
    assert key not in {item.key for item in dataset.scan().items}


def test_reading_needs_no_scan_and_is_safe_between_threads(source: Source, files: Files) -> None:
    config = source.put(files)
    keys = [item.key for item in open_dataset(config).scan().items] * 25
    alone = open_dataset(config)
    expected = [alone.read(key) for key in keys]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(open_dataset(config).read, keys)) == expected


@pytest.mark.parametrize("key", ["nothing.jpg", "", "0", "a\0b", "0000.tar/nothing.jpg"])
def test_a_key_that_names_no_image_is_gone(source: Source, files: Files, key: str) -> None:
    with pytest.raises(ImageGone):
        source.open(files).read(key)


@pytest.mark.parametrize("key", ["../secret", "0/../../secret", "/etc/passwd"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "list"])
def test_reading_never_leaves_the_folder(kind: str, files: Files, key: str, tmp_path: Path) -> None:
    """Except for lists, whose author chooses the files."""
    dataset = Source(kind, tmp_path).open(files)
    (tmp_path / "secret").write_bytes(b"secret")
    with pytest.raises(ImageGone):
        dataset.read(key)


def test_making_a_dataset_touches_nothing_and_a_missing_one_says_so(
    source: Source, files: Files, tmp_path: Path
) -> None:
    config = source.put(files)
    source.base.rename(tmp_path / "elsewhere")
    dataset = open_dataset(config)
    with pytest.raises(DatasetError) as caught:
        dataset.scan()
    assert str(source.base) in caught.value.message
    assert caught.value.hint
    with pytest.raises(ImageGone):
        open_dataset(config).read("0000.tar/0/0.jpg" if source.kind == "tar" else "0/0.jpg")


def test_the_settings_survive_the_manifest(source: Source, files: Files) -> None:
    config = source.put(files)
    again = DatasetConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert open_dataset(again).scan() == open_dataset(config).scan()


def test_an_index_of_it_is_built_searched_and_verified(
    source: Source, files: Files, tmp_path: Path
) -> None:
    source.put(files)
    config = small_config(tmp_path, tmp_path / "store", dataset=source.settings)
    report = build(config)
    assert (report.found, report.indexed, report.skipped) == (len(files), len(files), 0)
    assert build(config).encoded == 0
    searcher = Searcher.open(config)
    for data in files.values():
        best = searcher.search_image(data).hits[0]
        assert best.distance < 1e-3
        assert searcher.collection.image_file(best.image.id).data == data
        assert searcher.collection.thumbnail(best.image.id, 64).startswith(b"\xff\xd8")
        json.dumps(best.image.metadata)
    assert verify(config).problems == []


@pytest.mark.parametrize("kind", ["list", "coco"])
def test_a_named_file_that_is_missing_is_accounted_for(
    kind: str, tmp_path: Path, files: Files
) -> None:
    source = Source(kind, tmp_path)
    source.put(files)
    missing = next(iter(files))
    (tmp_path / "images" / missing).unlink()
    config = small_config(tmp_path, tmp_path / "store", dataset=source.settings)
    report = build(config)
    assert (report.found, report.indexed, report.skipped) == (len(files), len(files) - 1, 1)
    assert report.reasons == {"unreadable": 1}
