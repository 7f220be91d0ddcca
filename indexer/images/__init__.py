"""Decoding untrusted image files, and making model inputs and thumbnails of them.

Indexing and queries use the same decoder, Pillow, since decoders differ in the last bits, and the
same file must always give the same vector.
"""

from indexer.images.decoding import (
    FORMATS,
    MAX_SIDE,
    SUFFIXES,
    decode,
    decoded,
    exif_of,
    media_type,
    note,
    pixels,
    read_exif,
    read_file,
)
from indexer.images.exif import POSITION, ExifFields
from indexer.images.resizing import (
    BOX_DIGITS,
    INPUT_SIDE,
    Box,
    crop,
    model_input,
    thumbnail,
    upright,
)

__all__ = [
    "BOX_DIGITS",
    "FORMATS",
    "INPUT_SIDE",
    "MAX_SIDE",
    "POSITION",
    "SUFFIXES",
    "Box",
    "ExifFields",
    "crop",
    "decode",
    "decoded",
    "exif_of",
    "media_type",
    "model_input",
    "note",
    "pixels",
    "read_exif",
    "read_file",
    "thumbnail",
    "upright",
]
