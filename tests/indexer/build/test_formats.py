"""A folder of ten formats, as people have them: every file that can be read is in the index."""

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pi_heif
import pillow_heif
import pytest
from PIL import Image
from PIL.ExifTags import IFD, Base

from indexer.build import build
from indexer.images import decode
from indexer.search import Searcher
from indexer.store import Store
from tests.conftest import small_config
from tests.raw_files import dng

SIZE = (640, 480)
TILE = 128
ORIENTATION = 6  # the phone was held upright
IN_PILLOW = ["a.jpg", "b.png", "c.webp", "d.gif", "e.bmp", "f.tif", "g.avif"]


def as_iphones_write_it(picture: Image.Image) -> bytes:
    """Return a HEIC of tiles in a grid that is turned by irot, with EXIF and a thumbnail."""
    exif = Image.Exif()
    exif[Base.Orientation] = ORIENTATION
    exif[Base.Make], exif[Base.Model] = "Apple", "iPhone 15 Pro"
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = "2024:05:06 07:08:09"
    turned = picture.transpose(Image.Transpose.ROTATE_90)  # as the sensor has it
    heif, file = pillow_heif.from_pillow(turned), BytesIO()
    heif.info["thumbnails"] = [160]
    heif.save(file, quality=90, exif=exif.tobytes(), tile_size=TILE)
    return file.getvalue()


def deep(picture: Image.Image) -> bytes:
    """Return a HEIF of more than 8 bits."""
    samples, file = np.asarray(picture).astype(np.uint16) * 257, BytesIO()
    pillow_heif.encode("RGB;16", picture.size, samples.tobytes(), file, quality=90)
    return file.getvalue()


@pytest.fixture
def picture(photos: list[Path]) -> Image.Image:
    """A photograph that is larger than a tile."""
    with Image.open(photos[40]) as photo:
        return photo.convert("RGB").resize(SIZE)


def test_none_of_ten_formats_is_skipped(
    tmp_path: Path, picture: Image.Image, photos: list[Path]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name in IN_PILLOW:
        picture.save(folder / name)
    (folder / "h.heic").write_bytes(as_iphones_write_it(picture))
    (folder / "i.heif").write_bytes(deep(picture))
    (folder / "j.dng").write_bytes(dng((folder / "a.jpg").read_bytes(), *SIZE))
    (folder / "k.svg").write_text("<svg/>")
    shutil.copy(photos[100], folder / "other.jpg")
    config = small_config(folder, tmp_path / "store")
    report = build(config)
    assert (report.found, report.indexed, report.skipped) == (12, 11, 1)
    assert report.reasons == {"unsupported_image": 1}
    rows = {row.key: row for row in Store(config.store).open_published().catalogue.rows("indexed")}
    assert {row.format for row in rows.values()} == {
        "JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF", "RAW",
    }  # fmt: skip
    assert rows["h.heic"].metadata == {
        "camera": "Apple iPhone 15 Pro",
        "captured": "2024-05-06T07:08:09",
    }
    assert {(row.width, row.height) for key, row in rows.items() if key != "other.jpg"} == {SIZE}
    hits = Searcher.open(config).search_image((folder / "h.heic").read_bytes(), k=11).hits
    assert (hits[0].image.key, hits[0].distance) == ("h.heic", 0)
    assert hits[-1].image.key == "other.jpg"


def test_the_heic_is_one_of_tiles_that_is_turned(picture: Image.Image) -> None:
    """So that the other test shows what it says."""
    data = as_iphones_write_it(picture)
    assert all(box in data for box in (b"grid", b"irot", b"thmb"))
    heif, exif = pi_heif.open_heif(data), Image.Exif()
    exif.load(heif.info["exif"])
    assert exif[Base.Orientation] == ORIENTATION  # as well, and it is to be applied once
    assert heif.size == SIZE
    image = decode(data, max_pixels=10**8)
    difference = np.abs(np.asarray(image, int) - np.asarray(picture, int)).mean()
    assert difference < 5
