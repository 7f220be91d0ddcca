"""TIFF files: every order of bytes, depth, layout, compression and kind of alpha."""

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.indexer.images.matrix.scene import (
    HEIGHT,
    WIDTH,
    File,
    grey,
    on_white,
    saved,
    scene,
    shown,
)
from tests.indexer.images.matrix.writers import tiff

ORDERS = (("<", "ii"), (">", "mm"))
COMPRESSIONS = ("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "zstd", "lzma")


def tiffs() -> Iterator[File]:
    """All TIFF files."""
    for order, name in ORDERS:
        yield from greys(order, name)
        yield from colours(order, name)
        yield from layouts(order, name)
        yield from alphas(order, name)
        yield from without_range(order, name)
    yield from compressions()
    yield from strips()
    yield from noisy()


def greys(order: str, name: str) -> Iterator[File]:
    """Grey of 1 to 32 bits; black is zero, or white is."""
    for bits in (1, 2, 4, 8, 12, 16):
        for photometric, zero in ((0, "white"), (1, "black")):
            samples = grey(bits)
            pixels = shown(samples if photometric else 2**bits - 1 - samples, bits)
            for deflate in (False, True):
                data = tiff(samples, bits, photometric, order=order, deflate=deflate)
                kind = "deflate" if deflate else "raw"
                yield File(f"tiff-grey{bits}-{zero}0-{kind}-{name}.tif", data, pixels)
    data = tiff(grey(32), 32, 1, order=order)
    is_read = order == "<"  # Pillow reads no other
    yield File(f"tiff-grey32-{name}.tif", data, shown(grey(32), 32), 1, is_read)


def colours(order: str, name: str) -> Iterator[File]:
    """Palettes, RGB, CMYK and LAB."""
    rgb = scene()
    palette = np.random.default_rng(2).integers(0, 256, (256, 3), np.uint8)
    tags = {320: (palette.T.astype(np.uint32) * 257).ravel().tolist()}
    data = tiff(grey(8), 8, 3, order=order, tags=tags)
    yield File(f"tiff-palette-{name}.tif", data, palette[grey(8)[..., 0]], 1)
    for deflate in (False, True):
        data = tiff(rgb.astype(np.uint32) * 257, 16, 2, order=order, deflate=deflate)
        yield File(f"tiff-rgb16-{'deflate' if deflate else 'raw'}-{name}.tif", data, rgb)
    black = grey(8) // 4
    inks = np.dstack([255 - rgb, black])
    pixels = np.rint(rgb * ((255 - black) / 255)).astype(np.uint8)
    yield File(f"tiff-cmyk-{name}.tif", tiff(inks, 8, 5, order=order), pixels, 1)
    data = tiff(inks.astype(np.uint32) * 257, 16, 5, order=order)
    yield File(f"tiff-cmyk16-{name}.tif", data, pixels, 1)
    ycbcr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    for kind, deflate in (("raw", False), ("deflate", True)):
        data = tiff(ycbcr, 8, 6, order=order, tags={530: (1, 1)}, deflate=deflate)
        yield File(f"tiff-ycbcr-{kind}-{name}.tif", data, rgb, 3)
    lab = np.dstack([grey(8), 0 * grey(8), 0 * grey(8)])
    yield File(f"tiff-lab-{name}.tif", tiff(lab, 8, 8, order=order), None, 2)
    signed = (grey(8).astype(int) // 4 - 32) % 256
    lab = np.dstack([grey(8) // 2 + 60, signed[::-1], signed])
    # White of D50 here, of D65 elsewhere.
    yield File(f"tiff-lab-colours-{name}.tif", tiff(lab, 8, 8, order=order), None, 10)


def layouts(order: str, name: str) -> Iterator[File]:
    """Strips and tiles, samples side by side or in planes, and 64-bit offsets."""
    rgb = scene()
    for planes, is_planar in (("chunky", False), ("planes", True)):
        for tile in (0, 16, 64):
            for kind, deflate in (("raw", False), ("deflate", True)):
                data = tiff(
                    rgb, 8, 2, order=order, is_planar=is_planar, tile=tile, deflate=deflate,
                    rows_per_strip=7,
                )  # fmt: skip
                yield File(f"tiff-rgb-{planes}-{kind}-tile{tile}-{name}.tif", data, rgb)
    data = tiff(rgb, 8, 2, order=order, is_big=True)
    is_read = order == "<"  # Pillow reads no other
    yield File(f"tiff-big-{name}.tif", data, rgb, is_read=is_read)


def alphas(order: str, name: str) -> Iterator[File]:
    """An alpha beside the colours, multiplied into them, not specified, not set."""
    alpha = grey(8)
    for mode, photometric, samples in (("rgb", 2, scene()), ("grey", 1, scene()[..., :1])):
        colour = shown(samples)
        whole, mixed = np.dstack([samples, alpha]), on_white(colour, alpha)
        data = tiff(whole, 8, photometric, order=order, tags={338: 2})
        yield File(f"tiff-{mode}a-straight-{name}.tif", data, mixed, 1)
        data = tiff(whole, 8, photometric, order=order, tags={338: 0})
        yield File(f"tiff-{mode}a-unspecified-{name}.tif", data, colour)
        multiplied = np.rint(samples * (alpha / 255)).astype(np.uint8)
        data = tiff(np.dstack([multiplied, alpha]), 8, photometric, order=order, tags={338: 1})
        yield File(f"tiff-{mode}a-multiplied-{name}.tif", data, mixed, 2)
    data = tiff(np.dstack([scene(), 0 * alpha]), 8, 2, order=order)
    yield File(f"tiff-rgba-unset-{name}.tif", data, scene())
    deep = np.dstack([scene(), alpha]).astype(np.uint32) * 257
    for kind, deflate in (("raw", False), ("deflate", True)):
        data = tiff(deep, 16, 2, order=order, tags={338: 2}, deflate=deflate)
        yield File(f"tiff-rgba16-{kind}-{name}.tif", data, on_white(scene(), alpha), 1)


def without_range(order: str, name: str) -> Iterator[File]:
    """Samples whose black and white nobody knows."""
    data = tiff(grey(8) * 257, 16, 1, order=order, tags={339: 2})
    yield File(f"tiff-signed16-{name}.tif", data, is_read=False)
    floats = np.linspace(0, 1, WIDTH * HEIGHT, dtype=np.float32).reshape(HEIGHT, WIDTH, 1)
    data = tiff(floats.view(np.uint32), 32, 1, order=order, tags={339: 3})
    yield File(f"tiff-float-{name}.tif", data, is_read=False)


def compressions() -> Iterator[File]:
    """Every compression that Pillow writes, and a second page."""
    picture = Image.fromarray(scene())
    for compression in COMPRESSIONS:
        yield File(f"{compression}.tif", saved(picture, "TIFF", compression=compression), scene())
    data = saved(picture, "TIFF", compression="jpeg", quality=95)
    yield File("tiff-jpeg.tif", data, None, 3)
    data = saved(picture.convert("L"), "TIFF", compression="jpeg")
    yield File("tiff-jpeg-grey.tif", data, None, 3)
    bilevel = Image.fromarray(grey(1)[..., 0].astype(bool))
    for compression in ("tiff_ccitt", "group3", "group4"):
        data = saved(bilevel, "TIFF", compression=compression)
        yield File(f"{compression}.tif", data, shown(grey(1), 1))
    pages = [picture, picture.rotate(180)]
    data = saved(pages[0], "TIFF", save_all=True, append_images=pages[1:])
    yield File("tiff-two-pages.tif", data, scene())


def strips() -> Iterator[File]:
    """Strips that claim far more rows than the image has, which the specification allows."""
    tag = "<HHII"
    for rows in (2**31 - 2, 2**32 - 1):
        for kind, deflate in (("raw", False), ("deflate", True)):
            data = tiff(scene(), 8, 2, deflate=deflate)
            own, huge = (struct.pack(tag, 278, 4, 1, count) for count in (HEIGHT, rows))
            assert own in data
            yield File(f"tiff-rows{rows}-{kind}.tif", data.replace(own, huge), scene())


def noisy() -> Iterator[File]:
    """Files of which libtiff complains on stderr if it may."""
    data = bytearray(tiff(scene(), 8, 2, deflate=True))
    data[200:260] = bytes(60)
    yield File("tiff-damaged-deflate.tif", bytes(data), is_read=False)
    data = bytearray(saved(Image.fromarray(scene()), "TIFF", compression="tiff_lzw"))
    data[100:400] = bytes(300)
    yield File("tiff-damaged-lzw.tif", bytes(data), is_read=False)
    data = tiff(scene(), 8, 2, deflate=True, tags={284: 9})
    yield File("tiff-odd-planes.tif", data, is_read=False)
