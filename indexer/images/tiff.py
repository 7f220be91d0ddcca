"""What Lookalike looks up in the tags of TIFF files, and layouts that Pillow does not know.

The numbers are those of TIFF 6.0, https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf.
"""

from typing import Any

from PIL import Image, TiffImagePlugin

BITS_PER_SAMPLE, PHOTOMETRIC, EXTRA_SAMPLES, SAMPLE_FORMAT = 258, 262, 338, 339
TILE_WIDTH, TILE_LENGTH = 322, 323

WHITE_IS_ZERO = 0
UNSIGNED = 1

# Without this, libtiff reads compressed files only. Pillow itself makes an object of every strip of
# the others before anything can be checked: a gigabyte of memory for a file of 16 MB.
TiffImagePlugin.READ_LIBTIFF = True
# Pillow reads 16-bit WhiteIsZero in little-endian files only, and 12 bits only where black is zero.
# The keys are the order of bytes, photometric interpretation, sample format, fill order, bits of
# each sample and extra samples; the values are Pillow's mode and raw mode. Nothing is inverted.
TiffImagePlugin.OPEN_INFO |= {
    (b"MM", WHITE_IS_ZERO, (UNSIGNED,), 1, (16,), ()): ("I;16B", "I;16B"),
    (b"II", WHITE_IS_ZERO, (UNSIGNED,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", WHITE_IS_ZERO, (UNSIGNED,), 1, (12,), ()): ("I;16", "I;12"),
    (b"MM", 1, (UNSIGNED,), 1, (12,), ()): ("I;16", "I;12"),
}


def tag(image: Image.Image, number: int) -> int | None:
    """Return the value of a tag, or its first value; None without it and for other formats."""
    tags: dict[int, Any] = getattr(image, "tag_v2", {})
    value = tags.get(number)
    if isinstance(value, tuple):
        value = value[0] if value else None
    return value if isinstance(value, int) else None


def tile_size(image: Image.Image) -> tuple[int, int] | None:
    """Return width and height of a TIFF's tiles, which can be larger than the image."""
    width, height = tag(image, TILE_WIDTH), tag(image, TILE_LENGTH)
    return None if width is None or height is None else (width, height)
