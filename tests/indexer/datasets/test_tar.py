"""Tar shards: members, sidecars, and damaged archives."""

import json
import os
import shutil
import subprocess
import tarfile
import unicodedata
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from indexer.build import build
from indexer.config import EXCLUDED, DatasetConfig
from indexer.datasets import TarShards, open_dataset
from indexer.datasets.files import MAX_FILE_BYTES
from indexer.datasets.sidecars import MAX_SIDECAR_BYTES
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
    assert listing.ignored == {".txt": 1, ".gz": 1, "no .tar file": 1}


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
        ("a.json", '{"a": 1}'.encode("utf-16-le"), ".json (damaged)"),
        ("a.json", b"[" * 50_000, ".json (damaged)"),
        ("a.json", b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", ".json (damaged)"),
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
    (line,) = listing.report()
    assert line.startswith(f"1 {why}: 0.tar/{name}")
    assert ("without a byte order mark" in line) == (data[1:2] == b"\0")


def test_a_value_that_cannot_be_stored_costs_that_value(tmp_path: Path) -> None:
    members = {"a.jpg": b"x", "a.json": b'{"a": "\\ud800", "b": [1e999], "c": 1}', "a.txt": b"x\0y"}
    listing = TarShards(shard(tmp_path / "0.tar", members)).scan()
    assert listing.items[0].metadata == {
        "a": "\ufffd", "b": [None], "c": 1, "text": "x\ufffdy"
    }  # fmt: skip
    assert listing.ignored == {
        ".json with NaN or infinity, which became null": 1,
        ".json with half a character or a zero byte, which became U+FFFD": 1,
        ".txt with half a character or a zero byte, which became U+FFFD": 1,
    }


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_sidecars_of_windows_are_read(tmp_path: Path, encoding: str) -> None:
    members = {
        "a.jpg": b"x",
        "a.json": '{"b": "é"}'.encode(encoding),
        "a.txt": "é\r\n".encode(encoding),
        "a.cls": "3\r\n".encode(encoding),
    }
    path = shard(tmp_path / "0.tar", members)
    assert metadata(path) == {"0.tar/a.jpg": {"b": "é", "text": "é", "class": 3}}


@pytest.mark.parametrize(
    ("text", "value"),
    [("7", 7), ("9" * 18, int("9" * 18)), ("9" * 30, "9" * 30), ("9" * 5000, "9" * 5000)],
)
def test_a_class_of_many_digits_is_text(tmp_path: Path, text: str, value: object) -> None:
    path = shard(tmp_path / "0.tar", {"a.jpg": b"x", "a.cls": text.encode()})
    assert metadata(path) == {"0.tar/a.jpg": {"class": value}}


def test_a_sample_ends_at_the_first_dot(tmp_path: Path) -> None:
    """WebDataset's rule; the sidecar of one image's whole name is about this image alone."""
    members = {
        "v1.0/1.left.jpg": b"x",
        "v1.0/1.right.JPG": b"x",
        "v1.0/1.json": b'{"scene": "kitchen", "side": "?"}',
        "v1.0/1.left.JSON": b'{"side": "left"}',
        "v1.0/1.TXT": b"a kitchen",
        "v1.0/10.jpg": b"x",
        "v1.json": b"{}",
    }
    listing = TarShards(shard(tmp_path / "0.tar", members)).scan()
    assert {item.key: dict(item.metadata) for item in listing.items} == {
        "0.tar/v1.0/1.left.jpg": {"scene": "kitchen", "side": "left", "text": "a kitchen"},
        "0.tar/v1.0/1.right.JPG": {"scene": "kitchen", "side": "?", "text": "a kitchen"},
        "0.tar/v1.0/10.jpg": {},
    }
    assert listing.ignored == {".json": 1}


def test_a_sidecar_of_many_images_is_read_and_counted_once(tmp_path: Path) -> None:
    members = {f"a.{number}.jpg": b"x" for number in range(5)} | {"a.json": b"{"}
    assert TarShards(shard(tmp_path / "0.tar", members)).scan().ignored == {".json (damaged)": 1}


def test_composed_and_decomposed_names_are_the_same_sample(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    path = shard(tmp_path / "0.tar", {f"{nfd}.jpg": b"x", f"{nfc}.txt": b"text"})
    assert metadata(path) == {f"0.tar/{nfd}.jpg": {"text": "text"}}


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
        "special": 1, "hidden": 1, ".mov": 1, ".json": 1, "listed twice": 1,
    }  # fmt: skip
    assert listing.unreadable == {
        f"0.tar/{name}": "the link leads to /etc/passwd, which is not in the archive"
        for name in ("l.jpg", "h.jpg")
    }


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


def test_hidden_and_excluded_members_are_passed_over_as_in_folders(tmp_path: Path) -> None:
    names = [
        "a.jpg", "__MACOSX/._a.jpg", "__MACOSX/a.jpg", "__MACOSX/b/c.jpg", ".thumbnails/a.jpg",
        "x/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "x/raw/a.jpg", "x/raw/a.json", "../up.jpg",
    ]  # fmt: skip
    shard(tmp_path / "0.tar", dict.fromkeys(names, b"x"))
    shard(tmp_path / "#recycle" / "1.tar", {"a.jpg": b"x"})
    config = {"kind": "tar", "root": str(tmp_path), "exclude": [*EXCLUDED, "x/raw"]}
    listing = open_dataset(DatasetConfig.model_validate(config)).scan()
    assert [item.key for item in listing.items] == ["0.tar/../up.jpg", "0.tar/a.jpg"]
    assert listing.ignored == {"hidden": 2, "excluded": 4}
    assert listing.report() == ["4 excluded: #recycle, 0.tar/__MACOSX, 0.tar/x/@eaDir, ..."]


@pytest.mark.parametrize("between", [b"", bytes(512), bytes(1024), bytes(9_000 // 512 * 512)])
@pytest.mark.parametrize("count", [2, 3])
def test_archives_that_were_joined_are_read_to_the_end(
    tmp_path: Path, between: bytes, count: int
) -> None:
    """Their own end markers may be missing, as after ``tar --concatenate``, or be there."""
    parts = []
    for number in range(count):
        data = shard(tmp_path / "part", {f"{number}.jpg": bytes([number]) * 700}).read_bytes()
        parts.append(data[: 512 + 1024])
    path = tmp_path / "0.tar"
    path.write_bytes(between.join(parts) + bytes(10_240))
    dataset = TarShards(path)
    listing = dataset.scan()
    assert (listing.unreadable, listing.ignored) == ({}, {})
    assert [dataset.read(item.key) for item in listing.items] == [
        bytes([number]) * 700 for number in range(count)
    ]


@pytest.mark.parametrize("size", [1, 511, 512, 5_000])
def test_what_follows_the_last_archive_is_reported(tmp_path: Path, size: int) -> None:
    path = shard(tmp_path / "0.tar", {"a.jpg": b"x"})
    with path.open("ab") as file:
        file.write(b"rubbish " * 1000 if size > 512 else b"x" * size)
    listing = TarShards(path).scan()
    assert [item.key for item in listing.items] == ["0.tar/a.jpg"]
    assert "damaged or cut short after" in listing.unreadable["0.tar/"]


def test_links_name_files_of_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind, target in (
            ("early.jpg", tarfile.SYMTYPE, "b/target"),
            ("a.jpg", tarfile.REGTYPE, ""),
            ("hard.jpg", tarfile.LNKTYPE, "./a.jpg"),
            ("b/target", tarfile.REGTYPE, ""),
            ("b/up.jpg", tarfile.SYMTYPE, "../hard.jpg"),
            ("b/over.jpg", tarfile.SYMTYPE, "./up.jpg"),
            ("loop.jpg", tarfile.SYMTYPE, "pool.jpg"),
            ("pool.jpg", tarfile.SYMTYPE, "loop.jpg"),
            ("self.jpg", tarfile.SYMTYPE, "self.jpg"),
            ("out.jpg", tarfile.SYMTYPE, "../../a.jpg"),
            ("folder", tarfile.SYMTYPE, "b"),
            ("a.jpg", tarfile.LNKTYPE, "a.jpg"),
            ("replaced.jpg", tarfile.SYMTYPE, "nothing"),
            ("replaced.jpg", tarfile.REGTYPE, ""),
            ("a.txt", tarfile.LNKTYPE, "nothing"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            member.size = len(name) if kind == tarfile.REGTYPE else 0
            archive.addfile(member, BytesIO(name.encode()))
    dataset = TarShards(path)
    listing = dataset.scan()
    assert {i.key.removeprefix("0.tar/"): dataset.read(i.key).decode() for i in listing.items} == {
        "a.jpg": "a.jpg",
        "b/target": "b/target",
        "b/over.jpg": "a.jpg",
        "b/up.jpg": "a.jpg",
        "early.jpg": "b/target",
        "hard.jpg": "a.jpg",
        "replaced.jpg": "replaced.jpg",
    }
    assert sorted(listing.unreadable) == [
        f"0.tar/{name}.jpg" for name in ("loop", "out", "pool", "self")
    ]
    assert listing.ignored == {"special": 1, ".txt": 1}


@pytest.mark.parametrize("options", [["--format=gnu"], *(
    ["--format=posix", f"--sparse-version={version}"] for version in ("0.0", "0.1", "1.0")
)])  # fmt: skip
def test_sparse_members_are_read_with_their_holes(tmp_path: Path, options: list[str]) -> None:
    content = {}
    for name, pieces in {"end.jpg": 1, "many.jpg": 40}.items():
        with (tmp_path / name).open("wb") as file:
            for number in range(pieces):
                file.seek(number * 200_000 + 100_000)
                file.write(b"%d" % number * 5000)
            file.truncate(pieces * 200_000 + 300_000)
        content[name] = (tmp_path / name).read_bytes()
    content["plain.jpg"] = b"x" * 700
    (tmp_path / "plain.jpg").write_bytes(content["plain.jpg"])
    tar = shutil.which("gtar") or shutil.which("tar") or "tar"
    if "GNU tar" not in subprocess.run([tar, "--version"], capture_output=True, text=True).stdout:
        pytest.skip("GNU tar is not installed; it makes sparse members.")
    command = [tar, "--sparse", *options, "-cf", "0.tar", *content]
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "0.tar").stat().st_size < 1_000_000
    dataset = TarShards(tmp_path / "0.tar")
    listing = dataset.scan()
    assert {item.key: item.size for item in listing.items} == {
        f"0.tar/{name}": len(data) for name, data in content.items()
    }
    for name, data in content.items():
        assert dataset.read(f"0.tar/{name}") == data


def header(name: str, size: bytes, kind: bytes = b"0") -> bytes:
    """Return a header whose size field is written as it is."""
    data = bytearray(tarfile.TarInfo(name).tobuf(tarfile.GNU_FORMAT))
    data[124:136] = size
    data[156:157] = kind
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + 8 * 32 + sum(data[156:512]))
    return bytes(data)


def base_256(number: int) -> bytes:
    return number.to_bytes(12, "big", signed=True) if number < 0 else (
        (0x80 << 88) + number
    ).to_bytes(12, "big")  # fmt: skip


@pytest.mark.parametrize("size", [2**63, 2**80, 2**63 - 1, 10**15, -1, -512, -(2**70)])
@pytest.mark.parametrize("kind", [b"0", b"L", b"x", b"g", b"S", b"1"])
def test_an_impossible_size_is_damage_behind_which_nothing_is_read(
    tmp_path: Path, photos: list[Path], size: int, kind: bytes
) -> None:
    """A number beyond the catalogue's would end the build; a negative one leads backwards."""
    path = shard(tmp_path / "0.tar", {"a.jpg": photos[0].read_bytes()})
    good = path.read_bytes().rstrip(b"\0")
    good += bytes(-len(good) % 512)
    path.write_bytes(good + header("b.jpg", base_256(size), kind) + bytes(10_240))
    config = small_config(tmp_path, tmp_path / "store", dataset={"kind": "tar", "root": str(path)})
    report = build(config)
    assert (report.indexed, report.found) in ((1, 1 + report.skipped), (1, 1))
    assert report.skipped or kind == b"1"


@pytest.mark.parametrize("time", [2**40, 2**80, -(2**40), -1])
def test_times_of_members_do_not_matter(tmp_path: Path, photos: list[Path], time: int) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:
        member = tarfile.TarInfo("a.jpg")
        member.size, member.mtime = photos[0].stat().st_size, time
        archive.addfile(member, BytesIO(photos[0].read_bytes()))
    (item,) = TarShards(path).scan().items
    assert item.mtime_ns == path.stat().st_mtime_ns


def test_a_damaged_map_of_holes_costs_that_member(tmp_path: Path) -> None:
    path = tmp_path / "0.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for name, holes in (("a.jpg", "900,5"), ("b.jpg", "0,5"), ("c.jpg", "5,-3")):
            member = tarfile.TarInfo(name)
            member.size = 5
            member.pax_headers = {"GNU.sparse.map": holes, "GNU.sparse.size": "700"}
            archive.addfile(member, BytesIO(b"12345"))
    dataset = TarShards(path)
    assert len(dataset.scan().items) == 3
    assert dataset.read("0.tar/b.jpg") == b"12345" + bytes(695)
    for name in ("a.jpg", "c.jpg"):
        with pytest.raises(ImageUnreadable, match="map of holes"):
            dataset.read(f"0.tar/{name}")
