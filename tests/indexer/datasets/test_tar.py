"""Tar shards: members, sidecars, and damaged archives."""

import json
import os
import tarfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from indexer.build import build
from indexer.datasets import TarShards
from indexer.datasets.files import MAX_FILE_BYTES
from indexer.datasets.tar import MAX_SIDECAR_BYTES
from indexer.errors import DatasetError, ImageGone, ImageTooLarge, ImageUnreadable
from tests.conftest import small_config


def shard(path: Path, members: Mapping[str, bytes], format: int = tarfile.PAX_FORMAT) -> Path:  # noqa: A002
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=format) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, BytesIO(data))
    return path


def metadata(path: Path) -> dict[str, object]:
    return {item.key: dict(item.metadata) for item in TarShards(path).scan().items}


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_dialect_of_tar_is_read_also_with_long_names(tmp_path: Path, format: int) -> None:  # noqa: A002
    long = f"{'d' * 90}/{'n' * 90}.jpg"
    path = shard(tmp_path / "0.tar", {"./a.jpg": b"1", long: b"2", "é.jpg": b"3"}, format)
    dataset = TarShards(path)
    found = [item.key for item in dataset.scan().items]
    assert found == ["0.tar/a.jpg", f"0.tar/{long}", "0.tar/é.jpg"]
    assert [dataset.read(key) for key in found] == [b"1", b"2", b"3"]


def test_shards_are_found_in_folders_and_named_one_by_one(tmp_path: Path) -> None:
    shard(tmp_path / "train" / "a" / "0.tar", {"i.jpg": b"1"})
    shard(tmp_path / "train" / "1.TAR", {"i.jpg": b"2"})
    extra = shard(tmp_path / "extra.tar", {"i.jpg": b"3"})
    (tmp_path / "train" / "notes.txt").touch()
    (tmp_path / "train" / "photo.jpg").touch()
    (tmp_path / "train" / "x.tar.gz").touch()
    listing = TarShards(tmp_path / "train", extra).scan()
    found = [item.key for item in listing.items]
    assert found == ["1.TAR/i.jpg", "a/0.tar/i.jpg", "extra.tar/i.jpg"]
    assert listing.ignored == {".txt": 1, ".gz": 1, "no archive": 1}


def test_two_shards_of_one_name_are_refused(tmp_path: Path) -> None:
    one = shard(tmp_path / "one" / "0.tar", {"i.jpg": b"1"})
    two = shard(tmp_path / "two" / "0.tar", {"i.jpg": b"2"})
    with pytest.raises(DatasetError, match=r"called 0\.tar"):
        TarShards(one, two).scan()


def test_a_folder_without_archives_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no \.tar files"):
        TarShards(tmp_path).scan()


def test_sidecars_become_the_metadata_of_the_image_of_their_name(tmp_path: Path) -> None:
    path = shard(
        tmp_path / "0.tar",
        {
            "a/1.txt": b" A windmill.\n",
            "a/1.jpg": b"x",
            "a/1.json": json.dumps({"author": "N. N.", "tags": ["mill"]}).encode(),
            "a/1.cls": b"3",
            "a/2.png": b"x",
            "a/2.cls": b"mill",
            "b/1.jpg": b"x",
        },
    )
    assert metadata(path) == {
        "0.tar/a/1.jpg": {"author": "N. N.", "tags": ["mill"], "text": "A windmill.", "class": 3},
        "0.tar/a/2.png": {"class": "mill"},
        "0.tar/b/1.jpg": {},
    }


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.json", b"{", ".json (damaged)"),
        ("a.json", b'{"a": "\\ud800"}', ".json (damaged)"),
        ("a.json", b"[" * 50_000, ".json (damaged)"),
        ("a.json", b'{"a": [1e999]}', ".json (damaged)"),
        ("a.json", b"[1]", ".json (no object)"),
        ("a.txt", b"\xff", ".txt (damaged)"),
        ("a.txt", b"x" * (MAX_SIDECAR_BYTES + 1), ".txt (too large)"),
    ],
)
def test_an_unusable_sidecar_is_ignored_alone(
    tmp_path: Path, name: str, data: bytes, why: str
) -> None:
    listing = TarShards(shard(tmp_path / "0.tar", {"a.jpg": b"x", name: data})).scan()
    assert [(item.key, dict(item.metadata)) for item in listing.items] == [("0.tar/a.jpg", {})]
    assert listing.ignored == {why: 1}


def test_a_sidecar_may_be_as_large_as_the_limit_and_hold_nan(tmp_path: Path) -> None:
    members = {"a.jpg": b"", "a.txt": b"x" * MAX_SIDECAR_BYTES, "a.json": b'{"score": NaN}'}
    found = metadata(shard(tmp_path / "0.tar", members))
    assert found == {"0.tar/a.jpg": {"score": None, "text": "x" * MAX_SIDECAR_BYTES}}


def test_other_members_are_counted_as_ignored(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("a.jpg", tarfile.REGTYPE), ("folder", tarfile.DIRTYPE), ("l.jpg", tarfile.SYMTYPE),
            ("h.jpg", tarfile.LNKTYPE), ("p.jpg", tarfile.FIFOTYPE), ("._a.jpg", tarfile.REGTYPE),
            ("a.mov", tarfile.REGTYPE), ("alone.json", tarfile.REGTYPE), ("a.jpg", tarfile.REGTYPE),
        ):  # fmt: skip
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    listing = TarShards(path).scan()
    assert [item.key for item in listing.items] == ["0.tar/a.jpg"]
    assert listing.ignored == {
        "special": 3, "hidden": 1, ".mov": 1, ".json": 1, "listed twice": 1,
    }  # fmt: skip


def test_a_member_whose_name_leads_elsewhere_is_only_a_name(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "in").mkdir()
    members = {"../secret.jpg": b"member", str(tmp_path / "secret.jpg"): b"member"}
    dataset = TarShards(shard(tmp_path / "in" / "0.tar", members))
    assert [dataset.read(item.key) for item in dataset.scan().items] == [b"member"] * 2


def test_a_member_whose_name_is_not_utf8_is_accounted_for(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", {"cafe.jpg": b"x"}, tarfile.USTAR_FORMAT)
    data = bytearray(path.read_bytes())
    data[3] = 0xE9
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    path.write_bytes(data)
    listing = TarShards(path).scan()
    assert (listing.items, list(listing.unreadable)) == ([], ["0.tar/caf\\xe9.jpg"])


FIVE = {f"{number}.jpg": bytes([number]) * 700 for number in range(5)}  # 512 + 1024 bytes each


@pytest.mark.parametrize(
    ("keep", "listed"),
    [(5 * 1536, 5), (4 * 1536 + 1000, 5), (4 * 1536 + 512, 5), (4 * 1536 + 100, 4), (1536, 1)],
)
def test_a_truncated_archive_keeps_its_complete_members_and_is_accounted_for(
    tmp_path: Path, keep: int, listed: int
) -> None:
    path = shard(tmp_path / "0.tar", FIVE)
    os.truncate(path, keep)
    dataset = TarShards(path)
    listing = dataset.scan()
    assert len(listing.items) == listed
    assert list(listing.unreadable) == ["0.tar/"]
    whole = [item.key for item in listing.items][: keep // 1536]
    assert [dataset.read(key) for key in whole] == list(FIVE.values())[: keep // 1536]
    for item in listing.items[keep // 1536 :]:
        with pytest.raises(ImageUnreadable, match="ends within"):
            dataset.read(item.key)


@pytest.mark.parametrize("header", range(5))
def test_an_archive_with_a_damaged_header_is_accounted_for(tmp_path: Path, header: int) -> None:
    path = shard(tmp_path / "0.tar", FIVE)
    data = bytearray(path.read_bytes())
    data[header * 1536 + 10] ^= 0xFF
    path.write_bytes(data)
    listing = TarShards(path).scan()
    assert len(listing.items) == header
    assert list(listing.unreadable) == ["0.tar/"]


@pytest.mark.parametrize("data", [b"", b"no archive", b"\x1f\x8b" * 600, b"\xff" * 2000])
def test_a_file_that_is_no_archive_is_accounted_for(tmp_path: Path, data: bytes) -> None:
    shard(tmp_path / "good.tar", {"a.jpg": b"x"})
    (tmp_path / "bad.tar").write_bytes(data)
    listing = TarShards(tmp_path).scan()
    assert [item.key for item in listing.items] == ["good.tar/a.jpg"]
    assert list(listing.unreadable) == ["bad.tar/"]


def test_images_behind_damage_stay_in_the_index(tmp_path: Path, photos: list[Path]) -> None:
    members = {photo.name: photo.read_bytes() for photo in photos[:3]}
    path = shard(tmp_path / "shards" / "0.tar", members)
    settings = {"kind": "tar", "root": str(path)}
    config = small_config(tmp_path, tmp_path / "store", dataset=settings)
    assert build(config).indexed == 3
    before = path.stat()
    os.truncate(path, len(members[photos[0].name]) // 2 + 512)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    report = build(config)
    assert (report.removed, report.found, report.indexed, report.skipped) == (0, 4, 3, 1)


def test_a_member_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    member = tarfile.TarInfo("a.jpg")
    member.size = MAX_FILE_BYTES + 1
    with path.open("wb") as file:
        file.write(member.tobuf())
        file.truncate(512 + member.size)  # a sparse file: nothing is written
    dataset = TarShards(path)
    assert [item.size for item in dataset.scan().items] == [MAX_FILE_BYTES + 1]
    with pytest.raises(ImageTooLarge, match="larger than 500 MB"):
        dataset.read("0.tar/a.jpg")


def test_a_shard_that_vanished_is_gone(tmp_path: Path) -> None:
    path = shard(tmp_path / "0.tar", {"a.jpg": b"x"})
    dataset = TarShards(tmp_path)
    dataset.scan()
    path.unlink()
    with pytest.raises(ImageGone, match="does not exist"):
        dataset.read("0.tar/a.jpg")
