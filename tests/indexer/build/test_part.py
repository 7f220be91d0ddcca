"""A part of a folder, looked at by itself, changes the index as a scan of all of it would."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import Config, DatasetConfig
from indexer.datasets import Folder, Part, open_dataset
from indexer.errors import IndexWouldShrink
from indexer.search import Searcher
from indexer.store import Store
from tests.work import Work, counted


def look_at(config: Config, *paths: Path) -> Part | None:
    dataset = open_dataset(config.dataset)
    assert isinstance(dataset, Folder)
    return dataset.scan_part(map(str, paths))


def keys_of(config: Config) -> list[str]:
    return sorted(row.key for row in Store(config.store).open_published().catalogue.rows("indexed"))


def flatten(images: Path) -> None:
    """Put all photographs into one folder."""
    for file in sorted(images.rglob("*.jpg")):
        file.rename(images / file.name)


def test_new_changed_moved_and_deleted_files(
    config: Config, images: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    flatten(images)
    build(config)
    first, second, third, *_ = sorted(images.glob("*.jpg"))
    new, moved = images / "new.jpg", images / "moved.jpg"
    shutil.copy(photos[1], new)
    shutil.copy(photos[2], first)
    second.rename(moved)
    third.unlink()
    changed = [new, first, second, moved, third]
    part = look_at(config, *changed)
    monkeypatch.setattr(Folder, "scan", pytest.fail)
    report = build(config, part=part)
    assert (report.indexed, report.encoded, report.recognised, report.removed) == (6, 2, 1, 1)
    assert keys_of(config) == sorted(
        path.relative_to(images).as_posix() for path in images.rglob("*.jpg")
    )
    monkeypatch.undo()
    again = build(config)
    assert (again.encoded, again.recognised, again.version) == (0, 0, report.version)


def test_a_part_costs_what_it_holds(config: Config, images: Path, photos: list[Path]) -> None:
    """But for the hashes of all contents, which are a few calls for each image."""
    new, copies = images / "new.jpg", 1000

    def work_of_one_file() -> Work:
        new.write_bytes(photos[1].read_bytes())
        with counted() as work:
            assert build(config, part=look_at(config, new)).encoded == 1
        new.unlink()
        build(config)
        return work

    build(config)
    work_of_one_file()  # which loads the model
    few = work_of_one_file()
    shutil.copy(photos[0], images / "copy.jpg")
    for number in range(copies):
        (images / f"copy{number}.jpg").symlink_to(images / "copy.jpg")
    build(config)
    many = work_of_one_file()
    assert many.sql < few.sql + copies * 5
    assert many.calls < few.calls + copies * 20


@pytest.mark.parametrize(
    "name", [".hidden.jpg", ".thumbnails/1.jpg", "@eaDir/1.jpg", "a/#recycle/b/1.jpg", "a.txt"]
)
def test_what_a_scan_passes_over_is_not_looked_at(config: Config, images: Path, name: str) -> None:
    (images / name).parent.mkdir(parents=True, exist_ok=True)
    (images / name).write_bytes(b"")
    part = look_at(config, images / name)
    assert part is not None
    assert part.keys == set()


def test_an_index_among_the_images_is_not_looked_at(config: Config, images: Path) -> None:
    config = config.model_copy(update={"store": images / "index"})
    build(config)
    files = [path for path in config.store.rglob("*") if path.is_file()]
    part = look_at(config, *files)
    assert part is not None
    assert part.keys == set()
    (images / "index" / "photo.jpg").touch()
    part = look_at(config, images / "index" / "photo.jpg")
    assert part is not None
    assert part.keys == {"index/photo.jpg"}


def add_a_folder(images: Path) -> Path:
    (images / "folder").mkdir()
    return images / "folder"


def add_a_link_to_a_folder(images: Path) -> Path:
    (images / "link").symlink_to(images)
    return images / "link"


def add_behind_a_link(images: Path) -> Path:
    return add_a_link_to_a_folder(images) / "1.jpg"


def add_a_link_that_leads_nowhere(images: Path) -> Path:
    (images / "link.jpg").symlink_to(images / "away" / "1.jpg")
    return images / "link.jpg"


def remove_a_folder(images: Path) -> Path:
    file = next(images.rglob("*.jpg"))
    shutil.rmtree(file.parent)
    return file


def empty_a_folder(images: Path) -> Path:
    file = next(images.rglob("*.jpg"))
    for other in file.parent.iterdir():
        other.unlink()
    return file


def elsewhere(images: Path) -> Path:
    return images.with_name("other") / "1.jpg"


@pytest.mark.parametrize(
    "change",
    [
        add_a_folder,
        add_a_link_to_a_folder,
        add_behind_a_link,
        add_a_link_that_leads_nowhere,
        remove_a_folder,
        empty_a_folder,
        elsewhere,
    ],
)
def test_what_only_a_scan_can_tell(
    config: Config, images: Path, change: Callable[[Path], Path]
) -> None:
    assert look_at(config, change(images)) is None


def test_a_folder_that_was_renamed_is_scanned(config: Config, images: Path) -> None:
    build(config)
    folder = next(path for path in images.iterdir() if path.is_dir())
    gone = len(list(folder.iterdir()))
    folder.rename(images.with_name("elsewhere"))
    part = look_at(config, folder)
    assert part is not None
    assert part.missing == {folder.name}
    report = build(config, part=part, allow_shrink=True)
    assert (report.indexed, report.removed) == (6 - gone, gone)


def test_keys_begin_with_the_folder_they_lie_in(
    config: Config, images: Path, tmp_path: Path, photos: list[Path]
) -> None:
    (tmp_path / "more").mkdir()
    shutil.copy(photos[1], tmp_path / "more" / "1.jpg")
    roots = DatasetConfig(root=(images, tmp_path / "more"))
    part = look_at(config.model_copy(update={"dataset": roots}), tmp_path / "more" / "1.jpg")
    assert part is not None
    assert part.keys == {"more/1.jpg"}


def test_a_part_may_not_remove_more_than_a_scan(config: Config, images: Path) -> None:
    flatten(images)
    build(config)
    files = sorted(images.glob("*.jpg"))
    for file in files[:3]:
        file.unlink()
    part = look_at(config, *files[:3])
    with pytest.raises(IndexWouldShrink, match="3 of 6 indexed images"):
        build(config, part=part)
    assert build(config, part=look_at(config, *files[:2])).removed == 2
    assert len(Searcher.open(config).collection) == 4
