"""RAW files for the tests: DNG, written by hand after the DNG specification 1.4.

The tags are those of TIFF 6.0, TIFF/EP and DNG. A file has a preview and the data of a sensor.
"""

import struct
from collections.abc import Mapping

BYTE, ASCII, SHORT, LONG = 1, 2, 3, 4
SIZES = {BYTE: 1, ASCII: 1, SHORT: 2, LONG: 4}
CODES = {BYTE: "B", SHORT: "H", LONG: "I"}
SENSOR_SIDE = 64
DAY = b"2024:05:06 07:08:09\0"

Tags = Mapping[int, tuple[int, tuple[int, ...] | bytes]]


def dng(preview: bytes | None, width: int, height: int, orientation: int = 1) -> bytes:
    """Return a DNG file with a preview of this size, a JPEG or RGB samples; None: without one."""
    is_jpeg = preview is not None and preview.startswith(b"\xff\xd8")
    sensor = struct.pack(f"<{SENSOR_SIDE**2}H", *range(SENSOR_SIDE**2))
    jpeg = preview or b""
    raw_at, jpeg_at = 8, 8 + len(sensor)
    exif_at = jpeg_at + len(jpeg) + len(jpeg) % 2
    exif = directory({36867: (ASCII, DAY)}, exif_at)
    raw_ifd_at = exif_at + len(exif)
    raw: dict[int, tuple[int, tuple[int, ...] | bytes]] = {
        254: (LONG, (0,)),
        256: (LONG, (SENSOR_SIDE,)),
        257: (LONG, (SENSOR_SIDE,)),
        258: (SHORT, (16,)),
        259: (SHORT, (1,)),
        262: (SHORT, (32803,)),  # a colour filter array
        273: (LONG, (raw_at,)),
        277: (SHORT, (1,)),
        278: (LONG, (SENSOR_SIDE,)),
        279: (LONG, (len(sensor),)),
        33421: (SHORT, (2, 2)),
        33422: (BYTE, (0, 1, 1, 2)),
    }
    raw_ifd = directory(raw, raw_ifd_at)
    first: dict[int, tuple[int, tuple[int, ...] | bytes]] = {
        271: (ASCII, b"Maker\0"),
        272: (ASCII, b"Maker 5\0"),
        274: (SHORT, (orientation,)),
        330: (LONG, (raw_ifd_at,)),
        34665: (LONG, (exif_at,)),
        50706: (BYTE, (1, 4, 0, 0)),  # the DNG version
        50708: (ASCII, b"Maker 5\0"),
    }
    if preview is not None:
        first |= {
            254: (LONG, (1,)),
            256: (LONG, (width,)),
            257: (LONG, (height,)),
            258: (SHORT, (8, 8, 8)),
            259: (SHORT, (7 if is_jpeg else 1,)),
            262: (SHORT, (6 if is_jpeg else 2,)),
            273: (LONG, (jpeg_at,)),
            277: (SHORT, (3,)),
            278: (LONG, (height,)),
            279: (LONG, (len(jpeg),)),
        }
    else:
        first |= raw | first
    first_at = raw_ifd_at + len(raw_ifd)
    return b"".join(
        (
            struct.pack("<2sHI", b"II", 42, first_at),
            sensor,
            jpeg,
            b"\0" * (len(jpeg) % 2),
            exif,
            raw_ifd,
            directory(first, first_at),
        )
    )


def directory(tags: Tags, position: int) -> bytes:
    """Return an image file directory that lies at a position, and the values beyond its entries."""
    entries, values = [], b""
    beyond = position + 2 + 12 * len(tags) + 4
    for number, (kind, content) in sorted(tags.items()):
        data = content if isinstance(content, bytes) else _packed(kind, content)
        count = len(data) // SIZES[kind]
        if len(data) > 4:
            data += b"\0" * (len(data) % 2)
            place = struct.pack("<I", beyond + len(values))
            values += data
        else:
            place = data.ljust(4, b"\0")
        entries.append(struct.pack("<HHI", number, kind, count) + place)
    return struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4) + values


def _packed(kind: int, numbers: tuple[int, ...]) -> bytes:
    return struct.pack(f"<{len(numbers)}{CODES[kind]}", *numbers)
