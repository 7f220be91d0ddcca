"""The contract of sources of images, checked on all of them."""

import json
import os
import shutil
import tarfile
import unicodedata
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from indexer.build import build
from indexer.config import DatasetConfig
from indexer.datasets import Dataset, open_dataset
from indexer.errors import DatasetError, ImageGone
from indexer.maintenance import verify
from indexer.search import Allowed, Query, Searcher, Selection
from tests.conftest import small_config

Files = dict[str, bytes]
KINDS = ["folder", "two folders", "list", "coco", "tar", "parquet", "objects"]


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


def write_parquet(base: Path, files: Files) -> dict[str, object]:
    (base / "shards").mkdir(exist_ok=True)
    images = [{"bytes": data, "path": name} for name, data in files.items()]
    table = pa.table({"image": images})
    parquet.write_table(table, base / "shards" / "0000.parquet", row_group_size=2)
    return {"kind": "parquet", "root": str(base / "shards")}


def write_objects(base: Path, files: Files) -> dict[str, object]:
    write_files(base / "objects", files)
    return {"kind": "objects", "root": f"file://{base}/objects"}


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
    zip(
        KINDS,
        (
            write_folder,
            write_two_folders,
            write_list,
            write_coco,
            write_tar,
            write_parquet,
            write_objects,
        ),
        strict=True,
    )
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
    assert all(item.size in (None, len(dataset.read(item.key))) for item in listing.items)


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


def test_a_file_overwritten_with_equal_size_and_time_is_another_item(
    source: Source, files: Files
) -> None:
    """As ``cp -p``, ``rsync -t --inplace`` and ``exiftool -P`` do."""
    before = {item.key: item for item in source.open(files).scan().items}
    times = {path: path.stat() for path in source.base.rglob("*") if path.is_file()}
    name = next(iter(files))
    files[name] = files[name][:-1] + b"\0"
    config = source.put(files)
    for path, found in times.items():
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    after = {item.key: item for item in open_dataset(config).scan().items}
    (key,) = (key for key in after if key.endswith(name))
    assert after[key] != before[key]
    assert (after[key].size, after[key].mtime_ns) == (before[key].size, before[key].mtime_ns)


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


NO_IMAGES = [
    "nothing.jpg", "", "0", "a\0b", "0000.tar/nothing.jpg", "0000.parquet/00000000-1/0.jpg",
    "0000.parquet/00000099-0/0.jpg", "0000.parquet/0-0/0.jpg", "0000.parquet/00000000",
]  # fmt: skip


@pytest.mark.parametrize("key", NO_IMAGES)
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
        open_dataset(config).read(
            {
                "tar": "0000.tar/0/0.jpg",
                "parquet": "0000.parquet/00000000-0/0.jpg",
            }.get(source.kind, "0/0.jpg")
        )


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


NFC, NFD = (unicodedata.normalize(form, "Málaga") for form in ("NFC", "NFD"))


@pytest.fixture
def odd_names(photos: list[Path]) -> Files:
    """Files whose names are decomposed, or hold control characters and a real backslash."""
    names = [f"{NFD}/1.jpg", f"{NFC}/2.jpg", "back\\slash.jpg", "bell\a\x1b[31m.jpg", "日本/5.jpg"]
    return {name: photo.read_bytes() for name, photo in zip(names, photos[::40], strict=False)}


def test_odd_names_are_indexed_read_and_filtered(
    source: Source, odd_names: Files, tmp_path: Path
) -> None:
    source.put(odd_names)
    config = small_config(tmp_path, tmp_path / "store", dataset=source.settings)
    assert build(config).indexed == len(odd_names)
    assert build(config).version == "00000001"
    searcher = Searcher.open(config)
    hits = searcher.search_id(1, k=10).hits
    keys = {hit.image.key: hit.image.id for hit in hits}
    for name, data in odd_names.items():
        (key,) = (key for key in keys if key.endswith(name))
        assert searcher.collection.image_file(keys[key]).data == data
    folder = next(key for key in keys if key.endswith("/1.jpg")).removesuffix(f"{NFD}/1.jpg")
    for typed in (NFC, NFD):
        allowed = Allowed(f"{folder}{typed}/")
        found = searcher.search(Query(image_id=1), Selection(allowed=allowed)).hits
        assert f"{folder}{NFD}/1.jpg" in {hit.image.key for hit in found}


def respelt(settings: dict[str, object], change: dict[str, str]) -> None:
    """Change names in a list or an annotation file, not those on disk."""
    file = Path(str(settings.get("annotations", settings["root"])))
    names = json.loads(file.read_text()) if file.suffix == ".json" else None
    if names is None:
        text = file.read_text()
        for old, new in change.items():
            text = text.replace(old, new)
        file.write_text(text)
    else:
        for image in names["images"]:
            image["file_name"] = change.get(image["file_name"], image["file_name"])
        file.write_text(json.dumps(names))


@pytest.mark.parametrize("kind", ["list", "coco"])
def test_names_may_be_spelt_otherwise_than_on_disk(
    kind: str, tmp_path: Path, odd_names: Files
) -> None:
    """With composed letters or Windows' separators; and they stay if their disk is away."""
    source = Source(kind, tmp_path)
    source.put(odd_names)
    change = {
        f"{NFD}/1.jpg": f"{NFC}\\1.jpg",
        f"{NFC}/2.jpg": f"{NFD}/2.jpg",
        "日本/5.jpg": "日本\\5.jpg",
    }
    respelt(source.settings, change)
    config = small_config(tmp_path, tmp_path / "store", dataset=source.settings)
    report = build(config)
    assert (report.found, report.indexed, report.skipped) == (5, 5, 0)
    found = {item.key.removeprefix("images/") for item in open_dataset(config.dataset).scan().items}
    assert found == set(odd_names)
    images = tmp_path / "images"
    images.rename(tmp_path / "away")
    images.mkdir()
    report = build(config)
    assert (report.indexed, report.skipped, report.removed, report.unavailable) == (5, 0, 0, 5)
    shutil.rmtree(images)
    (tmp_path / "away").rename(images)
    assert build(config).encoded == 0
    (images / NFD / "1.jpg").rename(images / NFD / "other.jpg")
    report = build(config)
    assert (report.indexed, report.skipped) == (4, 1)


@pytest.mark.parametrize("kind", ["list", "coco"])
def test_a_name_is_that_of_the_file_that_has_it(kind: str, tmp_path: Path) -> None:
    """Other spellings are tried only if no file has the name as it is."""
    names = ["a\\b.jpg", "a/b.jpg", f"{NFC}.jpg", f"{NFD}.jpg"]
    dataset = Source(kind, tmp_path).open({name: name.encode() for name in names})
    items = dataset.scan().items
    assert len(items) == 4
    assert all(dataset.read(item.key).decode() in item.key for item in items)


METADATA = [
    b'{"score": NaN, "n": 1}',
    b'{"score": [Infinity, 1e999], "n": 1}',
    b'{"id": 18446744073709551615, "n": 1}',
    b'{"id": ' + b"9" * 5000 + b', "n": 1}',
    b'{"text": "half \\ud83d", "n": 1}',
    b'{"zero\\u0000": "a\\u0000b", "n": 1}',
    b'{"bell": "\\u0007\\u001b[31m", "n": 1}',
    b'\xef\xbb\xbf{"n": 1}',
    '{"n": 1, "日": "本"}'.encode("utf-16"),
]


def test_no_value_of_a_sidecar_breaks_filters_and_answers(
    photos: list[Path], tmp_path: Path
) -> None:
    """One bad value made every filter by metadata fail."""
    files = {}
    for number, (photo, values) in enumerate(zip(photos[::20], METADATA, strict=False)):
        files |= {f"{number}.jpg": photo.read_bytes(), f"{number}.json": values}
    settings = write_tar(tmp_path, files)
    config = small_config(tmp_path, tmp_path / "store", dataset=settings)
    assert build(config).indexed == len(METADATA)
    searcher = Searcher.open(config)

    def found(**metadata: str | float) -> list[dict[str, object]]:
        selection = Selection(k=20, allowed=Allowed("", metadata))
        answer = searcher.search(Query(image_id=1), selection).to_dict()
        text = json.dumps(answer, ensure_ascii=False, allow_nan=False)
        return [hit["metadata"] for hit in json.loads(text.encode())["results"]]

    assert len(found(n=1)) == len(METADATA)
    assert found(id="18446744073709551615") == [{"id": "18446744073709551615", "n": 1}]
    assert found(id="9" * 5000) == [], "the API refuses values of more than 1,000 characters"
    assert found(text="half \ufffd") == [{"text": "half \ufffd", "n": 1}]
    assert found(bell="\a\x1b[31m")[0]["n"] == 1
    assert found(日="本") == [{"n": 1, "日": "本"}]


def test_an_archive_of_a_folder_holds_what_the_folder_holds(
    photos: list[Path], tmp_path: Path
) -> None:
    """Also under names that are hard links and links, and but for what is hidden or excluded."""
    root = tmp_path / "images"
    names = ["a/1.jpg", "b.jpg", "@eaDir/c.jpg", ".hidden/d.jpg", "._e.jpg"]
    write_files(
        root, {name: photo.read_bytes() for name, photo in zip(names, photos, strict=False)}
    )
    (root / "best.jpg").hardlink_to(root / "a" / "1.jpg")
    (root / "link.jpg").symlink_to("a/1.jpg")
    (root / "a" / "up.jpg").symlink_to("../b.jpg")
    (root / "a" / "over.jpg").symlink_to("up.jpg")
    (root / "folder").symlink_to("a")
    (root / "gone.jpg").symlink_to("nothing.jpg")
    with tarfile.open(tmp_path / "all.tar", "w") as archive:
        archive.add(root, ".")
    folder = open_dataset(DatasetConfig(root=root)).scan()
    shard = open_dataset(DatasetConfig(kind="tar", root=tmp_path / "all.tar"))
    listing = shard.scan()
    assert [item.key.removeprefix("all.tar/") for item in listing.items] == [
        item.key for item in folder.items
    ]
    assert {len(shard.read(item.key)) for item in listing.items} == {
        item.size for item in folder.items
    }
    assert list(listing.unreadable) == ["all.tar/gone.jpg"]
    assert list(folder.unreadable) == ["gone.jpg"]
    assert listing.ignored["excluded"] == folder.ignored["excluded"] == 1
