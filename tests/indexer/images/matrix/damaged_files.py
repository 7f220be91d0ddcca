"""Files that are turned, truncated, wrongly named, or of no size."""

import zlib
from collections.abc import Iterator, Mapping

import numpy as np
from PIL import Image

from tests.indexer.images.matrix.scene import (
    TURNED,
    File,
    Pixels,
    gentle,
    grey,
    heif,
    oriented,
    saved,
    scene,
    shown,
)
from tests.indexer.images.matrix.writers import bmp, chunk, png, tiff

ORIENTATION = 274
XMP = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
CUT = (
    "png-rgb8-plain.png", "png-rgb8-interlaced.png", "raw.tif", "tiff_lzw.tif", "bmp-rgb-40.bmp",
    "gif.gif", "jpeg-plain.jpg", "jpeg-progressive.jpg", "webp-lossless.webp", "webp-lossy.webp",
    "avif.avif", "heic.heic",
)  # fmt: skip
WITHOUT_END = ("jpeg-plain", "jpeg-progressive", "jpeg-restarts", "jpeg-grey", "jpeg-cmyk-adobe")
TRAILED = (
    "png-rgb8-plain.png", "raw.tif", "bmp-rgb-40.bmp", "gif.gif", "jpeg-plain.jpg",
    "webp-lossless.webp", "heic.heic",
)  # fmt: skip


def orientations() -> Iterator[File]:
    """Every orientation in every format that has one."""
    picture = Image.fromarray(scene())
    for turn in TURNED:
        exif = oriented(turn)
        text = f"\nexif\n{len(exif.tobytes()):8}\n{exif.tobytes().hex()}\n".encode()
        old = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(text))
        for name, data in {
            ".png": saved(picture, "PNG", exif=exif),
            "-text.png": png(scene(), 8, 2, old),
            ".webp": saved(picture, "WEBP", lossless=True, exif=exif),
            ".tif": saved(picture, "TIFF", tiffinfo={ORIENTATION: turn}),
            "-lzw.tif": saved(
                picture, "TIFF", tiffinfo={ORIENTATION: turn}, compression="tiff_lzw"
            ),
            "-tiles.tif": tiff(scene(), 8, 2, tile=16, tags={ORIENTATION: turn}),
        }.items():
            yield File(f"turn{turn}{name}", data, _turned(scene(), turn))
        data = tiff(grey(16), 16, 0, tags={ORIENTATION: turn})
        negative = shown(65535 - grey(16), 16)
        yield File(f"turn{turn}-grey16.tif", data, _turned(negative, turn))
        for suffix, image_format in (("jpg", "JPEG"), ("mpo.jpg", "MPO"), ("avif", "AVIF")):
            exif = oriented(turn)  # Pillow takes the orientation out when it writes an AVIF
            data = saved(Image.fromarray(gentle()), image_format, exif=exif, quality=95)
            yield File(f"turn{turn}.{suffix}", data, _turned(gentle(), turn), 6)
        data = heif(Image.fromarray(gentle()), exif=oriented(turn).tobytes())
        yield File(f"turn{turn}.heic", data, _turned(gentle(), turn), 6)
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    yield File("turn-xmp.png", png(scene(), 8, 2, text), scene())
    yield File("turn-xmp.webp", saved(picture, "WEBP", lossless=True, xmp=XMP), scene())
    yield File("turn-xmp.tif", saved(picture, "TIFF", tiffinfo={700: XMP}), scene())


def _turned(pixels: Pixels, turn: int) -> Pixels:
    return np.ascontiguousarray(TURNED[turn](pixels))


def damaged(whole: Mapping[str, File]) -> Iterator[File]:
    """Truncated files, garbage at the end, wrong names, sizes of zero."""
    for name in CUT:
        data = whole[name].data
        for percent in (10, 50, 90, 99):
            yield File(f"cut{percent}-{name}", data[: len(data) * percent // 100], is_read=False)
    for name in WITHOUT_END:
        data = whole[f"{name}.jpg"].data
        assert data.endswith(b"\xff\xd9")
        yield File(f"no-end-{name}.jpg", data[:-2], None, 3, has_note=True)
        yield File(f"half-end-{name}.jpg", data[:-1], None, 3, has_note=True)
        yield File(f"cut40-bytes-{name}.jpg", data[:-40], is_read=False)
    for name in TRAILED:
        file = whole[name]
        data = file.data + b"garbage" * 99
        yield File(f"trailed-{name}", data, file.pixels, file.tolerance)
    plain = whole["png-rgb8-plain.png"]
    yield File("no-end.png", plain.data[:-12], plain.pixels, has_note=True)
    yield File("really-a-png.jpg", plain.data, plain.pixels)
    yield File("really-a-tiff.png", whole["raw.tif"].data, plain.pixels)
    yield File("really-text.jpg", b"no image", is_read=False)
    yield File("empty.png", b"", is_read=False)
    header = b"\0\0\0\0" + plain.data[20:29]
    no_width = plain.data[:8] + chunk(b"IHDR", header) + plain.data[33:]
    yield File("no-width.png", no_width, is_read=False)
    yield File("no-height.tif", tiff(scene(), 8, 2, tags={257: 0}), is_read=False)
    yield File("no-width.bmp", bmp(b"", (0, 8), 24), is_read=False)
