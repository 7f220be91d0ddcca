"""What a decoder needs of a PNG file. The rest may be large, or damaged.

Text, profiles and animations do not change the picture, but Pillow reads them all, and refuses a
picture for the checksum of its resolution, or for a megabyte of text. Checksums and the order of
chunks are those of the PNG specification, https://www.w3.org/TR/png-3/.
"""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from indexer.errors import InvalidImage

SIGNATURE = b"\x89PNG\r\n\x1a\n"

CRITICAL = frozenset((b"IHDR", b"PLTE", b"IDAT", b"IEND"))
"""Chunks without which there is no picture: a wrong checksum is an error."""

ANCILLARY = frozenset((b"tRNS", b"eXIf"))
"""Chunks that change the picture: left out if their checksum is wrong."""

TEXTS = (b"tEXt", b"zTXt")
EXIF_TEXT = b"Raw profile type exif\0"
"""Keyword of a text in which programs stored EXIF data before there was a chunk for it."""

MAX_EXIF_TEXT = 200_000
"""Bytes of such a text: the 64 kB that EXIF data can have in a JPEG, in hexadecimal digits."""

CHECKSUM_BYTES = 4

GREY, RGB = 0, 2
"""Colour types, of which one colour can be transparent."""


class Chunk(NamedTuple):
    """A chunk; the last one of a truncated file has less data or checksum than it should."""

    kind: bytes
    length: int
    data: bytes
    checksum: bytes

    @property
    def is_cut(self) -> bool:
        """True if the file ends in the chunk."""
        return len(self.checksum) < CHECKSUM_BYTES

    @property
    def is_sound(self) -> bool:
        """True if the checksum is right."""
        return self.checksum == zlib.crc32(self.kind + self.data).to_bytes(CHECKSUM_BYTES, "big")

    def with_data(self, data: bytes) -> "Chunk":
        """Return the chunk with other data."""
        checksum = zlib.crc32(self.kind + data).to_bytes(CHECKSUM_BYTES, "big")
        return Chunk(self.kind, len(data), data, checksum)

    def to_bytes(self) -> bytes:
        """Return the chunk as it is in the file."""
        return struct.pack(">I4s", self.length, self.kind) + self.data + self.checksum


def needed_chunks(file: BytesIO) -> tuple[bytes, str]:
    """Return a PNG file with the chunks that its picture is made of, EXIF data first, and a note.

    The note names what was left out because it is damaged; it is empty if there is nothing. Raises
    :class:`InvalidImage` if the checksum of a critical chunk is wrong.
    """
    parts, ignored, header = [file.read(len(SIGNATURE))], set(), b""
    for chunk in _chunks_that_matter(file):
        if chunk.kind in CRITICAL:
            _check(chunk)
        elif not chunk.is_sound:
            ignored.add(chunk.kind.decode())
            continue
        if chunk.kind == b"IHDR":
            header = chunk.data
        elif chunk.kind == b"tRNS":
            chunk = chunk.with_data(_scaled_to_8_bits(chunk.data, header))
        # EXIF data may come after the pixels; before them it can be read without decoding these.
        place = 2 if chunk.kind in (b"eXIf", *TEXTS) else len(parts)
        parts.insert(place, chunk.to_bytes())
    note = f"Ignored for a wrong checksum: {', '.join(sorted(ignored))}." if ignored else ""
    return b"".join(parts), note


def _chunks_that_matter(file: BytesIO) -> Iterator[Chunk]:
    """Yield the chunks up to the end of the image, without those that do not change it."""
    while len(header := file.read(8)) == 8:
        length, kind = struct.unpack(">I4s", header)
        may_be_exif = kind in TEXTS and length <= MAX_EXIF_TEXT
        if kind not in CRITICAL | ANCILLARY and not may_be_exif:
            file.seek(length + CHECKSUM_BYTES, 1)
            continue
        chunk = Chunk(kind, length, file.read(length), file.read(CHECKSUM_BYTES))
        if not may_be_exif or chunk.data.startswith(EXIF_TEXT):
            yield chunk
        if kind == b"IEND":
            return


def _check(chunk: Chunk) -> None:
    """Raise InvalidImage if a critical chunk is damaged; one that is cut is left to the decoder."""
    if not chunk.is_cut and not chunk.is_sound:
        raise InvalidImage(
            f"The image is damaged: the checksum of its {chunk.kind.decode()} chunk is wrong.",
            "Copy it again from where it came from.",
        )


def _scaled_to_8_bits(colour: bytes, header: bytes) -> bytes:
    """Scale a transparent colour as Pillow scales the samples, which it does not do itself.

    Grey of 16 bits keeps its bits. ``header`` is the data of IHDR.
    """
    depth, kind = (header[8], header[9]) if len(header) > 9 else (0, None)
    if kind == GREY and depth in (2, 4) and len(colour) == 2:
        grey = int.from_bytes(colour, "big") & 2**depth - 1
        return struct.pack(">H", grey * 255 // (2**depth - 1))
    if kind == RGB and depth == 16 and len(colour) == 6:
        return struct.pack(">3H", *(sample >> 8 for sample in struct.unpack(">3H", colour)))
    return colour
