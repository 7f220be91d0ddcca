"""Images whose disk is away stay in the index; what was deleted leaves it."""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets.base import Listing
from indexer.datasets.folder import Folder
from indexer.errors import DatasetError, IndexWouldShrink
from indexer.search import Searcher
from tests.conftest import small_config

NAMES = [f"{number}.jpg" for number in range(6)]


class Disk:
    """A folder on a disk that can be unmounted: its mount point is then empty, or gone."""

    def __init__(self, mount_point: Path, away: Path) -> None:
        self.mount_point = mount_point
        self._away = away
        mount_point.mkdir(parents=True)

    def unmount(self, *, keep_mount_point: bool = True) -> None:
        self.mount_point.rename(self._away)
        if keep_mount_point:
            self.mount_point.mkdir()

    def mount(self) -> None:
        if self.mount_point.exists():
            self.mount_point.rmdir()
        self._away.rename(self.mount_point)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    """A disk with no images yet, mounted at ``mnt``."""
    return Disk(tmp_path / "mnt", tmp_path / "away")


@pytest.fixture
def copy(photos: list[Path]) -> Callable[[Path, list[str]], None]:
    """Copy a photograph to each of some names in a folder."""

    def copy(folder: Path, names: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(photos[NAMES.index(name) * 30], folder / name)

    return copy


Copy = Callable[[Path, list[str]], None]


def settings_of(kind: str, disk: Disk, base: Path, copy: Copy) -> dict[str, object]:
    """Put six images on the disk, all or most of what a dataset names, and return its settings."""
    if kind == "list":
        copy(disk.mount_point / "photos", NAMES)
        (base / "a.txt").write_text("".join(f"{disk.mount_point}/photos/{n}\n" for n in NAMES))
        return {"kind": "list", "root": str(base / "a.txt")}
    if kind == "coco":
        copy(disk.mount_point, NAMES)
        images = [{"id": number, "file_name": name} for number, name in enumerate(NAMES)]
        (base / "a.json").write_text(json.dumps({"images": images}))
        root, annotations = str(disk.mount_point), str(base / "a.json")
        return {"kind": "coco", "root": root, "annotations": annotations}
    root = base / "images"
    copy(root, NAMES[:1])
    copy(disk.mount_point / "deep" / "er", NAMES[1:])
    if kind == "nested mount":
        shutil.rmtree(disk.mount_point)
        disk.mount_point = root / "nas"
        copy(root / "nas" / "deep", NAMES[1:])
    elif kind == "linked folder":
        (root / "nas").symlink_to(disk.mount_point)
    elif kind == "linked folder named like a photograph":
        (root / "2024.jpg").symlink_to(disk.mount_point / "deep")
    elif kind == "link within a link":
        (root / "nas").symlink_to(base / "step")
        (base / "step").symlink_to(disk.mount_point / "deep")
    else:
        assert kind == "farm of links"
        (root / "annex").mkdir()
        for name in NAMES[1:]:
            (root / "annex" / name).symlink_to(disk.mount_point / "deep" / "er" / name)
        return {"root": str(root)}  # links to files need no setting
    return {"root": str(root), "follow_links": True}


KINDS = [
    "list", "coco", "nested mount", "linked folder", "linked folder named like a photograph",
    "link within a link", "farm of links",
]  # fmt: skip
CASES = [(kind, True) for kind in KINDS]
CASES += [(kind, False) for kind in KINDS if kind not in ("coco", "nested mount")]
"""A removed mount point is a missing image folder (COCO) or a deleted folder (nested mount)."""


@pytest.mark.parametrize(("kind", "keep_mount_point"), CASES)
def test_images_of_a_disk_that_is_away_stay_in_the_index(
    kind: str, keep_mount_point: bool, disk: Disk, tmp_path: Path, copy: Copy
) -> None:
    config = small_config(tmp_path, tmp_path / "s", dataset=settings_of(kind, disk, tmp_path, copy))
    assert build(config).indexed == 6
    before = keys_of(config)
    disk.unmount(keep_mount_point=keep_mount_point)
    report = build(config)
    on_disk = 6 if kind in ("list", "coco") else 5
    assert (report.indexed, report.removed, report.unavailable) == (6, 0, on_disk)
    assert report.notes[0].startswith(f"{on_disk} indexed images cannot be read now and stay")
    assert report.notes[0].endswith(f"({on_disk}).")
    assert "--allow-shrink" in report.notes[1]
    assert keys_of(config) == before
    disk.mount()
    mounted = build(config)
    assert (mounted.encoded, mounted.indexed, mounted.unavailable) == (0, 6, 0)


def keys_of(config: Config) -> list[str]:
    """The keys that a search finds."""
    hits = Searcher.open(config).search_id(1, k=6).hits
    return sorted(hit.image.key for hit in hits)


def test_one_of_several_folders_is_empty(disk: Disk, tmp_path: Path, copy: Copy) -> None:
    copy(disk.mount_point, NAMES[:4])
    copy(tmp_path / "local", NAMES[4:])
    for roots in ([disk.mount_point, tmp_path / "local"], [tmp_path / "local", disk.mount_point]):
        dataset = {"root": [str(root) for root in roots]}
        config = small_config(tmp_path, tmp_path / f"index of {roots[0].name}", dataset=dataset)
        build(config)
        disk.unmount()
        (disk.mount_point / ".hidden").touch()
        with pytest.raises(DatasetError, match="is empty"):
            build(config)
        assert len(keys_of(config)) == 6
        (disk.mount_point / ".hidden").unlink()
        disk.mount()


@pytest.mark.parametrize(
    ("name", "size", "is_note"),
    [
        ("NOT_MOUNTED", 0, True),
        ("README.txt", 1000, True),
        ("README.txt", 1001, False),
        ("other.jpg", 0, False),
        ("notes.pdf", 9, False),
    ],
)
def test_a_note_in_a_mount_point_does_not_say_that_the_disk_is_there(
    disk: Disk, tmp_path: Path, copy: Copy, name: str, size: int, is_note: bool
) -> None:
    root = tmp_path / "images"
    copy(root, NAMES[:5])
    disk.mount_point.rmdir()
    disk.mount_point = root / "nas"
    copy(root / "nas", NAMES[5:])
    config = small_config(root, tmp_path / "s")
    build(config)
    disk.unmount()
    (root / "nas" / name).write_bytes(bytes(size))
    report = build(config)
    assert (report.indexed, report.unavailable) == ((6, 1) if is_note else (5, 0))


def test_a_file_without_permission_stays(
    config: Config, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the error is injected."""
    build(config)
    locked = next(images.rglob("*.jpg"))
    real = os.stat

    def refuse(path: object, *arguments: object, **options: object) -> os.stat_result:
        if os.fspath(path) == str(locked):  # type: ignore[call-overload]
            raise PermissionError(13, "Permission denied", str(locked))
        return real(path, *arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("indexer.datasets.files.os.stat", refuse)
    report = build(config)
    assert (report.indexed, report.skipped, report.unavailable) == (6, 0, 1)
    assert report.notes[0].endswith("stay in the index: Permission denied (1).")


@pytest.mark.parametrize("kind", ["list", "coco"])
def test_a_file_deleted_among_others_leaves_the_index(
    kind: str, disk: Disk, tmp_path: Path, copy: Copy
) -> None:
    config = small_config(tmp_path, tmp_path / "s", dataset=settings_of(kind, disk, tmp_path, copy))
    build(config)
    next(disk.mount_point.rglob("3.jpg")).unlink()
    report = build(config)
    assert (report.indexed, report.reasons, report.unavailable) == (5, {"unreadable": 1}, 0)


def test_a_deleted_folder_leaves_the_index_and_an_emptied_one_does_on_request(
    tmp_path: Path, copy: Copy
) -> None:
    root = tmp_path / "images"
    copy(root, NAMES[:4])
    copy(root / "sub", NAMES[4:])
    config = small_config(root, tmp_path / "s")
    build(config)
    for name in NAMES[4:]:
        (root / "sub" / name).unlink()
    assert build(config).unavailable == 2
    report = build(config, allow_shrink=True)
    assert (report.indexed, report.removed, report.unavailable) == (4, 2, 0)
    copy(root / "sub", NAMES[4:])
    assert build(config).indexed == 6
    shutil.rmtree(root / "sub")
    assert (build(config).indexed, build(config).unavailable) == (4, 0)


@pytest.fixture
def shrinking(tmp_path: Path, copy: Copy) -> Iterator[tuple[Config, Path]]:
    """An index of six images in one folder."""
    copy(tmp_path / "images", NAMES)
    config = small_config(tmp_path / "images", tmp_path / "s")
    build(config)
    return config, tmp_path / "images"  # type: ignore[return-value]


@pytest.mark.parametrize(("deleted", "is_refused"), [(2, False), (3, True)])
def test_more_than_a_third_is_removed_on_request_only(
    shrinking: tuple[Config, Path], deleted: int, is_refused: bool
) -> None:
    config, root = shrinking
    version = Searcher.published_identity(config)
    for name in NAMES[:deleted]:
        (root / name).unlink()
    if not is_refused:
        assert build(config).indexed == 4
        return
    with pytest.raises(IndexWouldShrink, match="3 of 6 indexed images") as caught:
        build(config)
    assert "0.jpg, 1.jpg, 2.jpg." in caught.value.message
    assert "--allow-shrink" in caught.value.hint
    assert Searcher.published_identity(config) == version
    assert len(keys_of(config)) == 6
    assert build(config, allow_shrink=True).indexed == 3


@pytest.mark.parametrize(("damaged", "is_refused"), [(2, False), (3, True)])
def test_images_replaced_by_something_else_count_as_lost(
    shrinking: tuple[Config, Path], damaged: int, is_refused: bool
) -> None:
    """As a disk that fails, or one that another program has encrypted, would replace them."""
    config, root = shrinking
    for name in NAMES[:damaged]:
        (root / name).write_bytes(b"no image")
    if not is_refused:
        report = build(config)
        assert (report.indexed, report.reasons) == (4, {"unsupported_image": 2})
        return
    with pytest.raises(IndexWouldShrink, match=r"3 of 6 .* damaged: 0.jpg, 1.jpg"):
        build(config)
    assert len(keys_of(config)) == 6
    report = build(config, allow_shrink=True)
    assert (report.indexed, report.reasons) == (3, {"unsupported_image": 3})


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "I/O")])
def test_touched_images_that_cannot_be_read_stay(
    shrinking: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """Times change by an hour on FAT disks. The files can be listed, but not opened."""
    config, root = shrinking
    before = keys_of(config)
    for name in NAMES:
        os.utime(root / name, ns=(10**18, 10**18))

    real = Path.open

    def refuse(path: Path, *arguments: object, **options: object) -> object:
        if path.suffix == ".jpg":
            raise error
        return real(path, *arguments, **options)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        report = build(config)
    assert (report.indexed, report.skipped, report.unavailable) == (6, 0, 6)
    assert report.notes[0].startswith("6 indexed images cannot be read now and stay in the index")
    assert keys_of(config) == before
    assert (build(config).recognised, build(config).unavailable) == (6, 0)


@pytest.mark.parametrize(
    "pointer",
    [
        "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214\nsize 12345\n",
        "/annex/objects/SHA256E-s12345--4d7a214.jpg\n",
    ],
)
def test_images_whose_content_was_dropped_stay(
    shrinking: tuple[Config, Path], pointer: str
) -> None:
    """Git LFS and git-annex leave a pointer in the place of a file whose content is elsewhere."""
    config, root = shrinking
    contents = {name: (root / name).read_bytes() for name in NAMES}
    for name in NAMES:
        (root / name).write_text(pointer)
    (root / "new.jpg").write_text(pointer)
    report = build(config)
    assert (report.indexed, report.unavailable, report.reasons) == (6, 6, {"unreadable": 1})
    assert "its content is not on this disk" in report.notes[0]
    for name, content in contents.items():
        (root / name).write_bytes(content)
    report = build(config)
    assert (report.recognised, report.encoded, report.unavailable) == (6, 0, 0)


def test_a_disk_that_goes_away_during_the_build_loses_nothing(
    shrinking: tuple[Config, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, root = shrinking
    for name in NAMES:
        os.utime(root / name, ns=(10**18, 10**18))
    real = Folder.scan

    def scan_then_unmount(dataset: Folder) -> Listing:
        listing = real(dataset)
        root.rename(root.with_name("away"))
        return listing

    with monkeypatch.context() as patched:
        patched.setattr(Folder, "scan", scan_then_unmount)
        report = build(config)
    assert (report.indexed, report.skipped, report.unavailable) == (6, 0, 6)
    root.with_name("away").rename(root)
    assert (build(config).recognised, build(config).unavailable) == (6, 0)


def test_new_images_do_not_hide_lost_ones(
    shrinking: tuple[Config, Path], photos: list[Path]
) -> None:
    """The new ones are committed before the old ones are found to be lost; nothing is removed."""
    config, root = shrinking
    for number, name in enumerate(NAMES[:4]):
        (root / name).unlink()
        shutil.copy(photos[number + 1], root / f"new{number}.jpg")
    with pytest.raises(IndexWouldShrink, match="4 of 6 indexed images"):
        build(config)
    assert len(keys_of(config)) == 6
    report = build(config, allow_shrink=True)
    assert (report.encoded, report.indexed) == (0, 6)


def test_moved_images_are_not_lost(shrinking: tuple[Config, Path]) -> None:
    config, root = shrinking
    (root / "moved").mkdir()
    for name in NAMES[:5]:
        (root / name).rename(root / "moved" / name)
    report = build(config)
    assert (report.indexed, report.recognised, report.removed) == (6, 5, 0)


def test_images_moved_out_of_a_folder_that_is_empty_now_have_moved(
    tmp_path: Path, copy: Copy
) -> None:
    root = tmp_path / "images"
    copy(root, NAMES[:1])
    copy(root / "old", NAMES[1:])
    config = small_config(root, tmp_path / "s")
    build(config)
    (root / "new").mkdir()
    for name in NAMES[1:]:
        (root / "old" / name).rename(root / "new" / name)
    report = build(config)
    assert (report.recognised, report.indexed, report.unavailable) == (5, 6, 0)
    assert keys_of(config) == ["0.jpg", *(f"new/{name}" for name in NAMES[1:])]


def test_the_command_line_asks_and_obeys(
    shrinking: tuple[Config, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, root = shrinking
    for name in NAMES[:3]:
        (root / name).unlink()
    arguments = [
        "index",
        str(root),
        "--store",
        str(config.store),
        "--encoder",
        "efficientnet_lite0",
    ]
    assert main(arguments) == 1
    assert "--allow-shrink" in capsys.readouterr().err
    assert main([*arguments, "--allow-shrink", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["indexed"], report["unavailable"]) == (3, 0)
