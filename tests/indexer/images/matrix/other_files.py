"""BMP, GIF, JPEG, WebP, AVIF and HEIC files."""

import struct
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pillow_heif
from PIL import Image

from tests.indexer.images.matrix.scene import (
    HEIGHT,
    WIDTH,
    File,
    gentle,
    grey,
    heif,
    on_white,
    saved,
    scene,
    shown,
    to_8,
)
from tests.indexer.images.matrix.writers import bmp, bmp_rows

SIZE = WIDTH, HEIGHT
BITFIELDS = 3
BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)


def bmps() -> Iterator[File]:
    """Every depth and header of BMP."""
    rgb, bgr = scene(), scene()[..., ::-1]
    for header in (12, 40, 108, 124):
        for bits in (1, 4, 8):
            palette = np.random.default_rng(2).integers(0, 256, (2**bits, 3), np.uint8)
            indices = grey(8) % 2**bits
            rows = bmp_rows(indices, bits)
            data = bmp(rows, SIZE, bits, palette=palette.tolist(), header=header)
            yield File(f"bmp-palette{bits}-{header}.bmp", data, palette[indices[..., 0]])
        yield File(f"bmp-rgb-{header}.bmp", bmp(bmp_rows(bgr, 8), SIZE, 24, header=header), rgb)
    yield File("bmp-top.bmp", bmp(bmp_rows(bgr[::-1], 8), (WIDTH, -HEIGHT), 24), rgb)
    yield from bmps_with_alpha()
    yield from bmps_of_16_bits()
    yield from bmps_of_runs()


def bmps_with_alpha() -> Iterator[File]:
    """32 bits: with an alpha, one that is 0 throughout, and with none but bytes in its place."""
    rgb, bgr = scene(), scene()[..., ::-1]
    for name, alpha in (
        ("0", 0 * grey(8)),
        ("128", 0 * grey(8) + 128),
        ("255", 0 * grey(8) + 255),
        ("ramp", grey(8)),
    ):
        rows = bmp_rows(np.dstack([bgr, alpha]), 8)
        pixels = on_white(rgb, alpha) if alpha.any() else rgb
        for header in (108, 124):
            data = bmp(rows, SIZE, 32, compression=BITFIELDS, masks=BGRA, header=header)
            yield File(f"bmp-bgra-{name}-{header}.bmp", data, pixels, 1)
        yield File(f"bmp-bgrx-{name}.bmp", bmp(rows, SIZE, 32), rgb)


def bmps_of_16_bits() -> Iterator[File]:
    """5 bits for each colour, or 6 for green."""
    for name, masks, depths in (
        ("555", (0x7C00, 0x3E0, 0x1F), (5, 5, 5)),
        ("565", (0xF800, 0x7E0, 0x1F), (5, 6, 5)),
    ):
        parts = [scene()[..., i].astype(int) >> (8 - depth) for i, depth in enumerate(depths)]
        red, green, blue = parts
        words = ((red << depths[1] | green) << depths[2] | blue)[..., np.newaxis]
        pixels = np.dstack([to_8(part, depth) for part, depth in zip(parts, depths, strict=True)])
        data = bmp(bmp_rows(words, 16), SIZE, 16, compression=BITFIELDS, masks=masks)
        yield File(f"bmp-{name}.bmp", data, pixels, 1)
        if name == "555":
            yield File("bmp-16.bmp", bmp(bmp_rows(words, 16), SIZE, 16), pixels, 1)


def bmps_of_runs() -> Iterator[File]:
    """Run lengths of 8 and 4 bits: every row is one run."""
    palette = np.random.default_rng(2).integers(0, 256, (16, 3), np.uint8)
    indices = np.arange(HEIGHT) % 16
    pixels = np.repeat(palette[indices][:, np.newaxis], WIDTH, axis=1)
    for bits, compression, factor in ((8, 1, 1), (4, 2, 17)):
        rows = b"".join(bytes((WIDTH, int(i) * factor, 0, 0)) for i in indices[::-1]) + b"\0\1"
        data = bmp(rows, SIZE, bits, palette=palette.tolist(), compression=compression)
        yield File(f"bmp-runs{bits}.bmp", data, pixels)


def gifs() -> Iterator[File]:
    """Palettes with and without transparency, animations, and a frame smaller than the canvas."""
    picture = Image.fromarray(scene()).quantize(64)
    pixels, indices = np.asarray(picture.convert("RGB")), np.asarray(picture)
    yield File("gif.gif", saved(picture, "GIF"), pixels)
    yield File("gif-interlaced.gif", saved(picture, "GIF", interlace=1), pixels)
    luma = Image.fromarray(grey(8)[..., 0].astype(np.uint8))
    yield File("gif-grey.gif", saved(luma, "GIF"), shown(grey(8)))
    clear = int(indices[0, 0])
    mixed = pixels.copy()
    mixed[indices == clear] = 255
    yield File("gif-clear.gif", saved(picture, "GIF", transparency=clear), mixed)
    data = saved(picture, "GIF", save_all=True, append_images=[picture.rotate(180)])
    yield File("gif-animated.gif", data, pixels)
    for name, options, visible in (("", {}, pixels), ("-clear", {"transparency": clear}, mixed)):
        data = bytearray(saved(picture, "GIF", **options))
        data[6:10] = struct.pack("<HH", WIDTH + 20, HEIGHT + 10)  # the size of the canvas
        canvas = np.full((HEIGHT + 10, WIDTH + 20, 3), 255, np.uint8)
        canvas[:HEIGHT, :WIDTH] = visible
        yield File(f"gif-small-frame{name}.gif", bytes(data), canvas)


def jpegs() -> Iterator[File]:
    """Every colour space and kind of coding that Pillow writes."""
    picture = Image.fromarray(scene()).resize((90, 60), Image.Resampling.BICUBIC)
    for name, options in {
        "plain": {},
        "444": {"subsampling": 0},
        "422": {"subsampling": 1},
        "progressive": {"progressive": True},
        "restarts": {"restart_marker_blocks": 2},
        "optimized": {"optimize": True},
        "rgb": {"keep_rgb": True},
    }.items():
        yield File(f"jpeg-{name}.jpg", saved(picture, "JPEG", quality=90, **options), None, 3)
    yield File("jpeg-grey.jpg", saved(picture.convert("L"), "JPEG", quality=90), None, 3)
    cmyk = saved(picture.convert("CMYK"), "JPEG", quality=95)
    yield File("jpeg-cmyk-adobe.jpg", cmyk, None, 3)
    adobe = cmyk.index(b"Adobe")  # the segment has 16 bytes, the last of which names the colours
    yield File("jpeg-ycck.jpg", cmyk[: adobe + 11] + b"\2" + cmyk[adobe + 12 :], None, 3)
    yield File("jpeg-cmyk.jpg", cmyk[: adobe - 4] + cmyk[adobe + 12 :], None, 3)
    data = saved(picture, "MPO", save_all=True, append_images=[picture.rotate(180)])
    yield File("mpo.jpg", data, None, 3)
    deep = bytearray(saved(picture, "JPEG"))
    deep[deep.index(b"\xff\xc0") + 4] = 12
    yield File("jpeg-12-bit.jpg", bytes(deep), is_read=False)


def webps_and_avifs() -> Iterator[File]:
    """Lossy and lossless, with and without alpha, still and animated."""
    picture, alpha = Image.fromarray(scene()), grey(8)
    clear = Image.fromarray(np.dstack([scene(), alpha.astype(np.uint8)]))
    animated = {"save_all": True, "append_images": [picture.rotate(180)]}
    yield File("webp-lossless.webp", saved(picture, "WEBP", lossless=True), scene())
    data = saved(clear, "WEBP", lossless=True, exact=True)
    yield File("webp-lossless-alpha.webp", data, on_white(scene(), alpha), 1)
    data = saved(picture, "WEBP", lossless=True, **animated)
    yield File("webp-animated.webp", data, scene())
    yield File("webp-lossy.webp", saved(picture, "WEBP", quality=90), None, 4)
    yield File("webp-lossy-alpha.webp", saved(clear, "WEBP", quality=90), None, 4)
    picture = Image.fromarray(gentle())
    clear = picture.copy()
    clear.putalpha(128)
    animated["append_images"] = [picture.rotate(180)]
    yield File("avif.avif", saved(picture, "AVIF", quality=95), gentle(), 6)
    data = saved(picture, "AVIF", quality=95, subsampling="4:4:4")
    yield File("avif-444.avif", data, gentle(), 6)
    data = saved(picture, "AVIF", quality=95, range="limited")
    yield File("avif-limited.avif", data, gentle(), 6)
    yield File("avif-grey.avif", saved(picture.convert("L"), "AVIF", quality=95), None, 6)
    yield File("avif-animated.avif", saved(picture, "AVIF", quality=95, **animated), gentle(), 6)
    opaque = np.full((*gentle().shape[:2], 1), 128)
    yield File("avif-alpha.avif", saved(clear, "AVIF", quality=95), on_white(gentle(), opaque), 6)


def heifs() -> Iterator[File]:
    """8 and 10 bits, colours and grey, with and without alpha; several pictures in one file."""
    picture, opaque = Image.fromarray(gentle()), np.full((*gentle().shape[:2], 1), 128)
    clear = picture.copy()
    clear.putalpha(128)
    yield File("heic.heic", heif(picture), gentle(), 6)
    yield File("heic-444.heif", heif(picture, chroma=444), gentle(), 6)
    yield File("heic-grey.heic", heif(picture.convert("L")), None, 6)
    yield File("heic-alpha.heic", heif(clear), on_white(gentle(), opaque), 6)
    buffer = BytesIO()
    deep = gentle().astype(np.uint16) * 257
    pillow_heif.encode("RGB;16", picture.size, deep.tobytes(), buffer, quality=95)
    yield File("heic-10-bit.hif", buffer.getvalue(), gentle(), 6)
    burst, buffer = pillow_heif.from_pillow(picture), BytesIO()
    burst.add_from_pillow(picture.rotate(180))
    burst.save(buffer, quality=95)
    yield File("heic-burst.heic", buffer.getvalue(), gentle(), 6)
