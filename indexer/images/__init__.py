"""Decoding untrusted image files, and making model inputs and thumbnails of them.

Indexing and queries use the same decoder, Pillow, since decoders differ in the last bits, and the
same file must always give the same vector.
"""

from indexer.images.decoding import (
    MAX_SIDE,
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
from indexer.images.formats import FORMATS, NOT_READ, SUFFIXES, advice
from indexer.images.raw import is_readable as can_read_raw
from indexer.images.raw import require_reader
from indexer.images.resizing import (
    BOX_DIGITS,
    INPUT_SIDE,
    Box,
    crop,
    grey_picture,
    model_input,
    thumbnail,
    upright,
)

__all__ = [
    "BOX_DIGITS",
    "FORMATS",
    "INPUT_SIDE",
    "MAX_SIDE",
    "NOT_READ",
    "POSITION",
    "SUFFIXES",
    "Box",
    "ExifFields",
    "advice",
    "can_read_raw",
    "crop",
    "decode",
    "decoded",
    "exif_of",
    "grey_picture",
    "media_type",
    "model_input",
    "note",
    "pixels",
    "read_exif",
    "read_file",
    "require_reader",
    "thumbnail",
    "upright",
]
