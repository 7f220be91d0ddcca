"""Writers of image files that Pillow does not write: every depth, order of bytes and layout.

Samples are unsigned integers (height, width, channels); what each writer returns is a whole file.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[Any]

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""The number of samples of a pixel, by the colour type of a PNG."""
ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
"""x, y, and the steps in x and y of the passes of an interlaced PNG."""


def packed(samples: Samples, bits: int, order: str = ">") -> bytes:
    """Return samples as rows of ``bits`` each, every row padded to whole bytes."""
    height = len(samples)
    flat = samples.reshape(height, -1)
    if bits in (8, 16, 32):
        return flat.astype(f"{order}u{bits // 8}").tobytes()
    digits = flat[..., None].astype(np.uint32) >> np.arange(bits - 1, -1, -1, dtype=np.uint32) & 1
    return np.packbits(digits.reshape(height, -1).astype(np.uint8), axis=1).tobytes()


def chunk(kind: bytes, data: bytes) -> bytes:
    """Return a chunk of a PNG."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(samples: Samples, bits: int, colour: int, *extra: bytes, interlaced: bool = False) -> bytes:
    """Write a PNG; ``extra`` chunks stand before the image data."""
    height, width = samples.shape[:2]
    passes = ADAM7 if interlaced else ((0, 0, 1, 1),)
    rows = b""
    for x, y, step_x, step_y in passes:
        part = samples[y::step_y, x::step_x]
        if part.size:
            data = packed(part, bits)
            stride = len(data) // len(part)
            lines = (data[i : i + stride] for i in range(0, len(data), stride))
            rows += b"".join(b"\0" + line for line in lines)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    body = [
        chunk(b"IHDR", header),
        *extra,
        chunk(b"IDAT", zlib.compress(rows)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(
    samples: Samples,
    bits: int,
    photometric: int,
    *,
    order: str = "<",
    is_big: bool = False,
    tile: int = 0,
    rows_per_strip: int = 0,
    is_planar: bool = False,
    deflate: bool = False,
    tags: Mapping[int, int | Sequence[int]] = {},
) -> bytes:
    """Write a TIFF, in strips or in square tiles; ``tags`` are added or replaced, as shorts."""
    height, width = samples.shape[:2]
    samples = samples.reshape(height, width, -1)
    count = samples.shape[2]
    planes = np.split(samples, count, axis=2) if is_planar else [samples]
    rows_per_strip = rows_per_strip or height
    blocks = []
    for plane in planes:
        if tile:
            pad = ((0, -height % tile), (0, -width % tile), (0, 0))
            whole = np.pad(plane, pad)
            corners = [(y, x) for y in range(0, height, tile) for x in range(0, width, tile)]
            blocks += [whole[y : y + tile, x : x + tile] for y, x in corners]
        else:
            blocks += [plane[y : y + rows_per_strip] for y in range(0, height, rows_per_strip)]
    data = [packed(block, bits, order) for block in blocks]
    data = [zlib.compress(part) for part in data] if deflate else data
    entries: dict[int, tuple[str, Sequence[int]]] = {
        256: ("H", [width]),
        257: ("H", [height]),
        258: ("H", [bits] * count),
        259: ("H", [8 if deflate else 1]),
        262: ("H", [photometric]),
        277: ("H", [count]),
        284: ("H", [2 if is_planar else 1]),
    }
    if tile:
        entries |= {322: ("H", [tile]), 323: ("H", [tile])}
    else:
        entries[278] = ("I", [rows_per_strip])
    header = 16 if is_big else 8
    offsets = [header + sum(map(len, data[:i])) for i in range(len(data))]
    entries[324 if tile else 273] = ("I", offsets)
    entries[325 if tile else 279] = ("I", [len(part) for part in data])
    for tag, value in tags.items():
        entries[tag] = ("H", [value] if isinstance(value, int) else value)
    return _with_directory(b"".join(data), entries, order, is_big=is_big)


def _with_directory(
    data: bytes, entries: Mapping[int, tuple[str, Sequence[int]]], order: str, *, is_big: bool
) -> bytes:
    """Return a TIFF of image data, which follows the header, and a directory of tags."""
    word, header = ("Q", 16) if is_big else ("I", 8)
    inline = struct.calcsize(order + word)
    data += b"\0" * (len(data) % 2)
    directory = struct.pack(order + ("Q" if is_big else "H"), len(entries))
    size = len(directory) + len(entries) * (20 if is_big else 12) + inline
    beyond, at = b"", header + len(data) + size
    for tag, (kind, values) in sorted(entries.items()):
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        directory += struct.pack(f"{order}HH{word}", tag, {"H": 3, "I": 4}[kind], len(values))
        if len(value) <= inline:
            directory += value.ljust(inline, b"\0")
        else:
            directory += struct.pack(order + word, at + len(beyond))
            beyond += value + b"\0" * (len(value) % 2)
    magic = {"<": b"II", ">": b"MM"}[order]
    first = header + len(data)
    if is_big:
        magic += struct.pack(f"{order}HHHQ", 43, 8, 0, first)
    else:
        magic += struct.pack(f"{order}HI", 42, first)
    return magic + data + directory + bytes(inline) + beyond


def bmp(
    rows: bytes,
    size: tuple[int, int],
    bits: int,
    *,
    palette: Sequence[tuple[int, int, int]] = (),
    compression: int = 0,
    masks: Sequence[int] = (),
    header: int = 40,
) -> bytes:
    """Write a BMP of ready rows, the lowest first; a negative height means the highest first."""
    width, height = size
    colours = b"".join(bytes((b, g, r)) + bytes(header > 12) for r, g, b in palette)
    if header == 12:
        info = struct.pack("<IHHHH", 12, width, height, 1, bits)
    else:
        info = struct.pack(
            "<IiiHHIIiiII", header, width, height, 1, bits, compression, len(rows), 0, 0,
            len(palette), 0,
        )  # fmt: skip
        after = struct.pack(f"<{len(masks)}I", *masks)
        info += after.ljust(max(header - 40, len(after)), b"\0")
    start = 14 + len(info) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + info + colours + rows


def bmp_rows(samples: Samples, bits: int) -> bytes:
    """Return the rows of a BMP, each padded to four bytes, the lowest first."""
    height = len(samples)
    data = packed(samples[::-1], bits, "<")
    stride = len(data) // height
    return b"".join(data[i : i + stride] + bytes(-stride % 4) for i in range(0, len(data), stride))
