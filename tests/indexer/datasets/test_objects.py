"""Images in object storage: what is listed, what is read, and what stays if neither can be done."""

import pickle
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from indexer.build import build, replaced_source, with_stored_settings
from indexer.cli.parser import main
from indexer.config import Config, DatasetConfig, load_config
from indexer.datasets import Objects, open_dataset
from indexer.errors import (
    ConfigError,
    DatasetError,
    ImageGone,
    ImageTooLarge,
    ImageUnreadable,
    ObjectStorageError,
)
from indexer.maintenance import status
from indexer.object_storage import ObjectFolder
from indexer.search import Searcher
from indexer.transfer import push
from tests.conftest import small_config
from tests.object_storage import s3_server
from tests.processes import started


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def photographs(bucket: str, images: Path, tmp_path: Path) -> ObjectFolder:
    """Six photographs in a bucket, under the names they have in the folder ``images``."""
    folder = ObjectFolder(f"{bucket}/{tmp_path.name}")
    for photo in images.rglob("*.jpg"):
        put(folder, photo.relative_to(images).as_posix(), photo.read_bytes())
    return folder


def put(folder: ObjectFolder, name: str, content: bytes) -> None:
    folder.replace(name, content, folder.tag(name))


@pytest.fixture
def config(photographs: ObjectFolder, tmp_path: Path) -> Config:
    dataset = {"kind": "objects", "root": photographs.address}
    return small_config(tmp_path, tmp_path / "store", dataset=dataset)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the objects that are read."""
    names: list[str] = []
    read = ObjectFolder.read

    def counted(self: ObjectFolder, name: str, limit: int) -> bytes | None:
        names.append(name)
        return read(self, name, limit)

    monkeypatch.setattr(ObjectFolder, "read", counted)
    return names


def test_only_objects_that_changed_are_read(
    config: Config, photographs: ObjectFolder, reads: list[str]
) -> None:
    report = build(config)
    assert (report.indexed, report.encoded, len(reads)) == (6, 6, 6)
    reads.clear()
    assert build(config).encoded == 0
    assert reads == []
    first, second, *_ = sorted(photographs.list())
    put(photographs, first, photographs.read(first, 10**9) + b"\0")  # type: ignore[operator]
    photographs.remove([second])
    reads.clear()
    report = build(config)
    assert (report.encoded, report.removed, report.indexed) == (1, 1, 5)
    assert reads == [first]


def test_what_cannot_be_listed_is_unknown_not_gone(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    with pytest.raises(DatasetError, match="cannot be listed") as caught:
        build(config)
    assert "AWS_ACCESS_KEY_ID" in caught.value.hint
    assert status(config).counts.indexed == 6


def test_an_address_with_nothing_below_it_removes_nothing(
    config: Config, photographs: ObjectFolder
) -> None:
    build(config)
    photographs.remove(photographs.list())
    with pytest.raises(DatasetError, match="There is nothing at s3://"):
        build(config)
    assert status(config).counts.indexed == 6


def test_an_object_that_cannot_be_read_stays_in_the_index(
    config: Config, photographs: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config)
    first = min(photographs.list())
    put(photographs, first, b"changed")

    def refused(self: ObjectFolder, name: str, limit: int) -> bytes | None:
        raise ObjectStorageError(f"{self.address}/{name} refuses access.", "Ask.")

    monkeypatch.setattr(ObjectFolder, "read", refused)
    report = build(config)
    assert (report.indexed, report.removed) == (6, 0)
    assert any("1 indexed images cannot be read now" in note for note in report.notes)


def test_names_are_passed_over_as_in_folders(
    config: Config, photographs: ObjectFolder, tmp_path: Path
) -> None:
    build(config)
    push(config, photographs.address)
    push(config, f"{photographs.address}/index")
    for name in (".hidden.jpg", ".trash/1.jpg", "@eaDir/1.jpg", "notes.pdf"):
        put(photographs, name, b"x")
    put(photographs, "empty.jpg", b"")
    put(photographs, "segments.jpg", b"no image")
    listing = Objects(photographs.address, open_dataset(config.dataset)._rules).scan()  # type: ignore[attr-defined]
    assert len(listing.items) == 8
    assert listing.ignored == {"hidden": 2, "excluded": 1, ".pdf": 1, "folders of an index": 2}
    assert listing.examples["folders of an index"] == [".", "index"]
    report = build(config)
    assert report.skipped == 2
    assert status(config).reasons == {"unsupported_image": 2}


def test_objects_are_read_by_their_keys_only(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset(config.dataset)))  # noqa: S301 -- our own
    key = dataset.scan().items[0].key
    assert dataset.read(key).startswith(b"\xff\xd8")
    with pytest.raises(ImageGone, match="is not at s3://"):
        dataset.read("none.jpg")
    with pytest.raises(ImageGone, match="is outside of s3://"):
        dataset.read("../other/1.jpg")
    size = len(dataset.read(key))
    monkeypatch.setattr("indexer.datasets.objects.MAX_FILE_BYTES", size)
    assert len(dataset.read(key)) == size
    monkeypatch.setattr("indexer.datasets.objects.MAX_FILE_BYTES", size - 1)
    with pytest.raises(ImageTooLarge):
        dataset.read(key)


def test_the_storage_may_be_away_when_an_image_is_shown(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(config)
    collection = Searcher.open(config).collection
    assert collection.image_file(1).data.startswith(b"\xff\xd8")
    assert collection.files_are_remote
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    collection = Searcher.open(config).collection
    with pytest.raises(ImageUnreadable):
        collection.image_file(1)
    assert len(Searcher.open(config).search_id(1).hits) == 6


def test_images_may_move_between_a_folder_and_object_storage(
    config: Config, images: Path, tmp_path: Path
) -> None:
    build(config)
    moved = config.model_copy(update={"dataset": DatasetConfig(root=images)})
    shown = Searcher.open(moved).collection
    assert shown.image_file(1).data == (images / shown.image(1).key).read_bytes()
    here = small_config(images, tmp_path / "other")
    build(here)
    shutil.rmtree(images)
    moved = here.model_copy(update={"dataset": config.dataset})
    assert Searcher.open(moved).collection.image_file(1).data.startswith(b"\xff\xd8")


def test_the_command_takes_an_address_and_remembers_it(
    photographs: ObjectFolder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where there is no config.yaml
    store = str(tmp_path / "store")
    flags = ["--store", store, "--encoder", "efficientnet_lite0"]
    assert main(["index", photographs.address, *flags]) == 0
    assert "found 6 = indexed 6" in capsys.readouterr().out
    assert main(["index", "--store", store]) == 0
    assert "found 6 = indexed 6" in capsys.readouterr().out
    assert main(["status", "--store", store]) == 0
    assert f"images     {photographs.address}" in capsys.readouterr().out
    again = with_stored_settings(load_config(None, {"store": store}))
    assert again.dataset.address == photographs.address
    assert replaced_source(again) is None
    folder = again.model_copy(update={"dataset": DatasetConfig(root=tmp_path)})
    assert replaced_source(folder) == photographs.address


def test_an_address_is_of_the_kind_objects_and_nothing_else_is(tmp_path: Path) -> None:
    for dataset in (
        {"kind": "objects", "root": "images"},
        {"kind": "folder", "root": "s3://bucket/images"},
        {"kind": "objects", "root": ["s3://bucket/a", "s3://bucket/b"]},
    ):
        with pytest.raises(ConfigError):
            load_config(None, {"dataset": dataset})
    file = tmp_path / "config.yaml"
    file.write_text("dataset: {kind: objects, root: 's3://bucket/images'}\n")
    assert load_config(file).dataset.root == "s3://bucket/images"


def test_an_index_of_objects_is_searched_without_the_extra(config: Config) -> None:
    build(config)
    code = (
        "import sys; sys.modules['fsspec'] = None\n"
        "from indexer.config import load_config\n"
        "from indexer.maintenance import status, verify\n"
        "from indexer.search import Searcher\n"
        f"config = load_config(None, {{'store': {str(config.store)!r}}})\n"
        "print(status(config).counts.indexed, verify(config).problems, "
        "len(Searcher.open(config).search_id(1).hits))"
    )
    with started([sys.executable, "-c", code]) as process:
        output, errors = process.communicate(timeout=60)
    assert output == "6 [] 6\n", errors
