"""PNG files: every colour type and depth, with and without transparency, and odd chunks."""

import struct
import zlib
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
from tests.indexer.images.matrix.writers import chunk, png

GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6


def pngs() -> Iterator[File]:
    """All PNG files."""
    for kind, is_interlaced in (("plain", False), ("interlaced", True)):
        yield from depths(kind, is_interlaced=is_interlaced)
        yield from palettes(kind, is_interlaced=is_interlaced)
    yield from transparent_colours()
    yield from large_chunks()
    yield from wrong_checksums()
    yield from animations()


def depths(kind: str, *, is_interlaced: bool) -> Iterator[File]:
    """Grey and colours of every depth, with and without alpha."""
    for bits in (1, 2, 4, 8, 16):
        data = png(grey(bits), bits, GREY, interlaced=is_interlaced)
        yield File(f"png-grey{bits}-{kind}.png", data, shown(grey(bits), bits))
    for bits, scale in ((8, 1), (16, 257)):
        rgb, alpha = scene().astype(np.uint32) * scale, grey(8) * scale
        data = png(rgb, bits, RGB, interlaced=is_interlaced)
        yield File(f"png-rgb{bits}-{kind}.png", data, scene())
        data = png(np.dstack([rgb, alpha]), bits, RGBA, interlaced=is_interlaced)
        yield File(f"png-rgba{bits}-{kind}.png", data, on_white(scene(), grey(8)), 1)
        data = png(np.dstack([grey(bits), alpha[::-1]]), bits, GREY_ALPHA, interlaced=is_interlaced)
        mixed = on_white(shown(grey(bits), bits), grey(8)[::-1])
        yield File(f"png-greyalpha{bits}-{kind}.png", data, mixed, 2)
    noise = np.random.default_rng(3).integers(0, 2**16, (HEIGHT, WIDTH, 3))
    data = png(noise, 16, RGB, interlaced=is_interlaced)
    yield File(f"png-noise16-{kind}.png", data, shown(noise, 16), 1)  # Pillow drops the low bits


def palettes(kind: str, *, is_interlaced: bool) -> Iterator[File]:
    """Palettes of every depth, opaque and with an alpha for each colour."""
    for bits in (1, 2, 4, 8):
        count = 2**bits
        indices = grey(8) % count
        palette = np.random.default_rng(2).integers(0, 256, (count, 3), np.uint8)
        chunks = [chunk(b"PLTE", palette.tobytes())]
        colours = palette[indices[..., 0]]
        data = png(indices, bits, PALETTE, *chunks, interlaced=is_interlaced)
        yield File(f"png-palette{bits}-{kind}.png", data, colours)
        alpha = np.linspace(0, 255, count).astype(np.uint8)
        chunks.append(chunk(b"tRNS", alpha.tobytes()))
        data = png(indices, bits, PALETTE, *chunks, interlaced=is_interlaced)
        mixed = on_white(colours, alpha[indices])
        yield File(f"png-palette{bits}-alpha-{kind}.png", data, mixed, 1)


def transparent_colours() -> Iterator[File]:
    """One transparent shade of grey, or one transparent colour."""
    for bits in (1, 2, 4, 8, 16):
        clear = int(grey(bits)[7, 11, 0])
        data = png(grey(bits), bits, GREY, chunk(b"tRNS", struct.pack(">H", clear)))
        pixels = shown(grey(bits), bits)
        pixels[grey(bits)[..., 0] == clear] = 255
        yield File(f"png-grey{bits}-clear.png", data, pixels)
    for bits, scale in ((8, 1), (16, 257)):
        rgb = scene().astype(np.uint32) * scale
        clear = chunk(b"tRNS", struct.pack(">3H", *rgb[0, 0].tolist()))
        pixels = scene()
        pixels[(pixels == pixels[0, 0]).all(axis=2)] = 255
        yield File(f"png-rgb{bits}-clear.png", png(rgb, bits, RGB, clear), pixels)


def large_chunks() -> Iterator[File]:
    """Megabytes of text and profiles, and chunks that are not what they should be."""
    text = bytes(range(32, 127)) * 60_000
    chunks = {
        "xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(text)),
        "plain-xmp": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + text),
        "text": chunk(b"tEXt", b"Comment\0" + text),
        "compressed-text": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(text)),
        "profile": chunk(b"iCCP", b"icc\0\0" + zlib.compress(text)),
        "many-texts": chunk(b"zTXt", b"a\0\0" + zlib.compress(text[:900_000])) * 100,
        "short-phys": chunk(b"pHYs", b"\0"),
        "odd-text": chunk(b"zTXt", b"a\0\7x"),
        "gamma": chunk(b"gAMA", struct.pack(">I", 100_000)),
    }
    for name, data in chunks.items():
        yield File(f"png-{name}.png", png(scene(), 8, RGB, data), scene())


def wrong_checksums() -> Iterator[File]:
    """Wrong checksums of chunks that do not matter, of one that does, and of critical ones."""
    phys = chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
    yield File("png-wrong-pHYs.png", png(scene(), 8, RGB, wrong(phys)), scene())
    clear = chunk(b"tRNS", struct.pack(">3H", *scene()[0, 0].tolist()))
    yield File("png-wrong-tRNS.png", png(scene(), 8, RGB, wrong(clear)), scene(), has_note=True)
    whole = png(grey(8) % 4, 8, PALETTE, chunk(b"PLTE", bytes(range(12))))
    for kind in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
        start = whole.index(kind)
        end = start + 8 + int.from_bytes(whole[start - 4 : start], "big")
        data = whole[:start] + wrong(whole[start:end]) + whole[end:]
        yield File(f"png-wrong-{kind.decode()}.png", data, is_read=False)


def wrong(data: bytes) -> bytes:
    """Return a chunk with another checksum."""
    return data[:-1] + bytes([data[-1] ^ 1])


def animations() -> Iterator[File]:
    """The picture of an animation is the one that programs show that cannot play it."""
    first = Image.fromarray(scene())
    others = {"save_all": True, "append_images": [first.rotate(180)]}
    yield File("png-animated.png", saved(first, "PNG", **others), scene())
    data = saved(first, "PNG", **others, default_image=True)
    yield File("png-animated-default.png", data, scene())
