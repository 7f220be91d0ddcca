"""The outcome of a real build for every kind of file that people have."""

import csv
import os
import shutil
import tempfile
import zlib
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import indexer.build.pipeline
from indexer.build import build
from indexer.build.extract import Preparation, Skipped
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import Folder, Listing
from indexer.maintenance import verify
from indexer.search import Searcher
from indexer.store import Store
from tests.conftest import small_config

LIMIT = 1_000_000
"""The pixel limit of these tests; the photographs are below it."""

INDEXED = {  # key: format, width, height
    "photo.jpg": ("JPEG", 256, 144),
    "png_by_another_name.jpg": ("PNG", 8, 6),
    "no_ending": ("PNG", 8, 6),
    "cmyk.jpg": ("JPEG", 8, 6),
    "sixteen_bit_grey.png": ("PNG", 8, 6),
    "sixteen_bit_grey.tif": ("TIFF", 8, 6),
    "sixteen_bit_colour.png": ("PNG", 8, 6),
    "palette_with_transparency.png": ("PNG", 8, 6),
    "animated.gif": ("GIF", 8, 6),
    "animated.webp": ("WEBP", 8, 6),
    "rotated.jpg": ("JPEG", 6, 8),
    "one_pixel.png": ("PNG", 1, 1),
    "tall.png": ("PNG", 1, 20_000),
    "wide.png": ("PNG", 20_000, 1),
    "at_the_limit.png": ("PNG", 1000, 1000),
    "changed.jpg": ("PNG", 8, 6),
    "folder/link_to_photo.jpg": ("JPEG", 256, 144),
}
SKIPPED = {  # key: stage, reason
    "over_the_limit.png": ("decode", "image_too_large"),
    "bomb.png": ("decode", "image_too_large"),
    "empty.jpg": ("decode", "unsupported_image"),
    "text.jpg": ("decode", "unsupported_image"),
    "phone.heic": ("decode", "unsupported_image"),
    "floating_point.tif": ("decode", "invalid_image"),
    "truncated.jpg": ("decode", "invalid_image"),
    "truncated.png": ("decode", "invalid_image"),
    "vanished.jpg": ("read", "image_gone"),
    "became_a_folder.jpg": ("read", "unreadable"),
    "input_output_error.jpg": ("read", "unreadable"),
    "dangling_link.jpg": ("scan", "unreadable"),
    "link_to_itself.jpg": ("scan", "unreadable"),
    "pipe.jpg": ("scan", "unreadable"),
    "not_utf8_caf\\xe9.jpg": ("scan", "unreadable"),
    'with "quotes", commas\nand lines.jpg': ("decode", "unsupported_image"),
}
IGNORED = {".txt": 1, "hidden": 1, "links to a folder that they lie in, not followed": 1}


def write_corpus(folder: Path, photo: Path) -> None:
    """Write a file of each kind, made by the system itself where that is possible."""
    small = Image.effect_noise((8, 6), 90).convert("RGB")
    (folder / "folder").mkdir(parents=True)
    for name in ("photo.jpg", "vanished.jpg", "changed.jpg", "became_a_folder.jpg"):
        shutil.copy(photo, folder / name)
    (folder / "folder" / "link_to_photo.jpg").symlink_to(folder / "photo.jpg")
    (folder / "folder" / "loop").symlink_to(folder)
    small.save(folder / "png_by_another_name.jpg", "PNG")
    small.save(folder / "no_ending", "PNG")
    small.convert("CMYK").save(folder / "cmyk.jpg")
    grey = Image.fromarray(np.full((6, 8), 30_000, np.uint16))
    grey.save(folder / "sixteen_bit_grey.png")
    grey.save(folder / "sixteen_bit_grey.tif")
    (folder / "sixteen_bit_colour.png").write_bytes(png(8, 6, depth=16, colour=2))
    palette = small.quantize(16)
    palette.save(folder / "palette_with_transparency.png", transparency=0)
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    for name in ("animated.gif", "animated.webp"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    exif = Image.Exif()
    exif[0x0112] = 6
    small.save(folder / "rotated.jpg", exif=exif)
    for name, size in {
        "one_pixel.png": (1, 1), "tall.png": (1, 20_000), "wide.png": (20_000, 1),
        "at_the_limit.png": (1000, 1000), "over_the_limit.png": (1001, 1000),
    }.items():  # fmt: skip
        Image.new("RGB", size).save(folder / name)
    (folder / "bomb.png").write_bytes(png(60_000, 60_000, data=b""))
    (folder / "empty.jpg").touch()
    (folder / "text.jpg").write_text("a letter")
    (folder / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic")
    Image.new("F", (8, 6)).save(folder / "floating_point.tif")
    (folder / "truncated.jpg").write_bytes(photo.read_bytes()[:5000])
    Image.effect_noise((90, 90), 90).save(folder / "truncated.png")
    os.truncate(folder / "truncated.png", 3000)
    (folder / "input_output_error.jpg").symlink_to("/proc/self/mem")  # reading it fails
    (folder / "dangling_link.jpg").symlink_to(folder / "nothing.jpg")
    (folder / "link_to_itself.jpg").symlink_to(folder / "link_to_itself.jpg")
    os.mkfifo(folder / "pipe.jpg")
    (folder / os.fsdecode(b"not_utf8_caf\xe9.jpg")).write_bytes(b"x")
    (folder / 'with "quotes", commas\nand lines.jpg').write_text("text")
    (folder / "notes.txt").touch()
    (folder / ".hidden.jpg").touch()


def png(
    width: int, height: int, *, depth: int = 8, colour: int = 0, data: bytes | None = None
) -> bytes:
    """Write a PNG by hand: Pillow writes none with 16-bit colour or a false header."""
    channels = {0: 1, 2: 3}[colour]
    if data is None:
        row = b"\0" + bytes(range(width * channels * depth // 8))
        data = zlib.compress(row * height)

    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(name + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + name + content + checksum

    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, colour, 0, 0, 0])
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", data), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


class Restless(Folder):
    """A folder whose files change between the scan and the reading."""

    def scan(self) -> Listing:
        listing = super().scan()
        (root,) = self._roots
        (root / "vanished.jpg").unlink()
        (root / "became_a_folder.jpg").unlink()
        (root / "became_a_folder.jpg").mkdir()
        shutil.copy(root / "no_ending", root / "changed.jpg")
        return listing


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Config:
    """The index of the corpus, whose files changed during the build."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder / "images", photos[0])
    dataset = {"root": str(folder / "images"), "max_pixels": LIMIT}
    config = small_config(folder / "images", folder / "store", dataset=dataset)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexer.build.pipeline, "open_dataset", lambda _: Restless(folder / "images"))
        report = build(config)
    assert (report.found, report.ignored) == (len(INDEXED) + len(SKIPPED), IGNORED)
    assert (report.indexed, report.skipped) == (len(INDEXED), len(SKIPPED))
    return config


def test_every_file_has_the_outcome_it_should_have(built: Config) -> None:
    catalogue = Store(built.store).open_published().catalogue
    indexed = {row.key: (row.format, row.width, row.height) for row in catalogue.rows("indexed")}
    assert indexed == INDEXED
    assert {row.key: (row.stage, row.reason) for row in catalogue.rows("skipped")} == SKIPPED
    assert all(row.message for row in catalogue.rows("skipped"))
    assert verify(built).problems == []


def test_every_skipped_file_is_a_row_of_the_csv(
    built: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--csv", f"--store={built.store}"]) == 0
    header, *rows = csv.reader(StringIO(capsys.readouterr().out))
    assert header == ["key", "stage", "reason", "message"]
    assert {key: (stage, reason) for key, stage, reason, _ in rows} == SKIPPED
    assert all(message for *_, message in rows)


def test_names_that_are_formulas_are_text_in_the_csv(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    name = "+cmd|' C calc'!A0.jpg"
    (tmp_path / "images" / name).write_bytes(b"no image")
    config = small_config(tmp_path / "images", tmp_path / "store")
    build(config)
    assert main(["status", "--csv", f"--store={config.store}"]) == 0
    _, row = csv.reader(StringIO(capsys.readouterr().out))
    assert row[0] == f"'{name}"


def test_every_indexed_file_can_be_shown(built: Config) -> None:
    searcher = Searcher.open(built)
    for row in searcher.collection.sample(len(INDEXED)):
        assert searcher.collection.image_file(row.id).data
        assert searcher.collection.thumbnail(row.id, 64).startswith(b"\xff\xd8")


def test_a_file_that_changes_during_the_build_is_read_again_by_the_next(
    built: Config, tmp_path: Path
) -> None:
    """The size is that of the encoded bytes, the time that of the scan."""
    shutil.copytree(built.store, tmp_path / "store")
    built = built.model_copy(update={"store": tmp_path / "store"})
    path = built.dataset.roots[0] / "changed.jpg"
    catalogue = Store(built.store).open_published().catalogue
    (row,) = (row for row in catalogue.rows("indexed") if row.key == "changed.jpg")
    assert row.size == path.stat().st_size
    assert row.mtime_ns is not None
    assert row.mtime_ns < path.stat().st_mtime_ns
    report = build(built)
    assert report.removed == 2  # vanished.jpg and became_a_folder.jpg
    assert report.found == len(INDEXED) + len(SKIPPED) - 2
    catalogue = Store(built.store).open_published().catalogue
    (row,) = (row for row in catalogue.rows("indexed") if row.key == "changed.jpg")
    assert row.mtime_ns == path.stat().st_mtime_ns
    assert verify(built).problems == []


def test_a_file_without_permission_to_read_is_unreadable() -> None:
    nobody, user = 65534, os.geteuid()
    with tempfile.TemporaryDirectory() as name:  # only the owner can enter tmp_path
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "secret.jpg").write_bytes(b"x")
        (folder / "secret.jpg").chmod(0)
        (item,) = Folder(folder).scan().items
        if user == 0:  # root can read everything
            os.seteuid(nobody)
        try:
            (outcome,) = Preparation(Folder(folder), LIMIT)([item])
        finally:
            os.seteuid(user)
    assert isinstance(outcome, Skipped)
    assert (outcome.stage, outcome.reason) == ("read", "unreadable")
    assert outcome.message.endswith("cannot be read: Permission denied.")
