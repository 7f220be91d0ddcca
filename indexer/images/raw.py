"""RAW files of cameras: the preview in them, as the camera made it.

They are recognised by their content. Most are TIFF files, with tags of TIFF/EP and DNG:
https://helpx.adobe.com/camera-raw/digital-negative.html. LibRaw finds the preview in them, through
rawpy, which is the extra ``raw``.
"""

from contextlib import suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import PurePath
from typing import Any

from PIL import Image, TiffImagePlugin

from indexer.errors import DecoderMissing, InvalidImage
from indexer.images.exif import ExifFields, fields_of

FORMAT = "RAW"

SUFFIXES = frozenset(
    (
        ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".sr2", ".srf", ".raf", ".orf",
        ".rw2", ".rwl", ".pef", ".srw", ".3fr", ".fff", ".iiq", ".x3f", ".mrw", ".mos", ".mef",
        ".erf", ".kdc", ".dcr", ".gpr",
    )
)  # fmt: skip
"""Endings of such files."""

SIGNATURES = (
    (0, b"FUJIFILMCCD-RAW"),
    (0, b"IIU\0"),  # Panasonic and Leica
    (0, b"IIRO"),  # Olympus, these three
    (0, b"IIRS"),
    (0, b"MMOR"),
    (0, b"FOVb"),  # Sigma
    (0, b"\0MRM"),  # Minolta
    (4, b"ftypcrx "),  # Canon: CR3, CRW, CR2
    (6, b"HEAPCCDR"),
    (8, b"CR\2\0"),
)
"""How they begin, those that are TIFF files only to a part: the position and the bytes."""

TIFF = (b"II*\0", b"MM\0*")
PHASE_ONE = 8, b"IIII"
"""Where a TIFF file of another kind may have pixels."""

PHOTOMETRIC, SUB_IFDS, ORIENTATION, DNG_VERSION = 262, 330, 274, 50706
STRIPS, TILES = 273, 324
OF_SENSORS = {32803, 34892}
"""Photometric interpretations of what a sensor has measured: a filter array, linear RAW."""

TURNS = {3: 3, 5: 8, 6: 6}
"""EXIF orientations by LibRaw's flips."""

EXTRA_HINT = "Install it: pip install 'lookalike[raw]'."


def is_readable() -> bool:
    """Tell whether the library that reads them is installed."""
    return find_spec("rawpy") is not None


def require_reader(name: str) -> None:
    """Raise :class:`DecoderMissing` if a file's name is that of a RAW file, and nothing reads it.

    The file itself, which is large, need not be read for that.
    """
    if PurePath(name).suffix.lower() in SUFFIXES:
        _require_rawpy()


def _require_rawpy() -> None:
    if not is_readable():
        raise DecoderMissing("RAW files are read by rawpy, which is not installed.", EXTRA_HINT)


def is_raw(data: bytes) -> bool:
    """Tell from a file's content whether it is a RAW file."""
    if any(data.startswith(signature, place) for place, signature in SIGNATURES):
        return True
    try:
        return data.startswith(TIFF) and _is_of_a_sensor(data)
    except Exception:  # noqa: BLE001 -- Pillow raises many types for a malformed TIFF
        return False


def preview(data: bytes) -> bytes:
    """Return the largest preview in a RAW file: an image file, whose EXIF says how to turn it.

    Raises :class:`DecoderMissing`, and :class:`InvalidImage` if there is none that can be read.
    """
    _require_rawpy()
    import rawpy

    try:
        with rawpy.imread(BytesIO(data)) as raw:
            found, flip = raw.extract_thumb(), raw.sizes.flip
    except (rawpy.LibRawError, rawpy.NotSupportedError) as error:
        raise InvalidImage(
            f"The RAW file has no preview that can be read: {_reason_of(error)}.",
            "Develop it, and save it as a JPEG.",
        ) from None
    return found.data if isinstance(found.data, bytes) else _as_file(found.data, flip)


def exif_fields(data: bytes) -> ExifFields:
    """Return what the camera noted in the RAW file itself; previews often say less."""
    exif = Image.Exif()
    with suppress(Exception):  # Pillow raises many types for malformed EXIF
        exif.load(data if data.startswith(TIFF) else b"")
    return fields_of(exif)


def _is_of_a_sensor(data: bytes) -> bool:
    file, first = BytesIO(data), TiffImagePlugin.ImageFileDirectory_v2(data[:8])
    file.seek(first.next)
    first.load(file)
    if DNG_VERSION in first or first.get(PHOTOMETRIC) in OF_SENSORS:
        return True
    place, signature = PHASE_ONE
    pixels = (*first.get(STRIPS, ()), *first.get(TILES, ()))
    if data.startswith(signature, place) and place not in pixels:
        return True
    others = first.get(SUB_IFDS, ())
    for position in others if isinstance(others, tuple) else (others,):
        below = TiffImagePlugin.ImageFileDirectory_v2(data[:8])
        file.seek(position)
        below.load(file)
        if below.get(PHOTOMETRIC) in OF_SENSORS:
            return True
    return False


def _as_file(pixels: Any, flip: int) -> bytes:
    """Return a preview that is not compressed, uint8 (height, width, 3), as a file."""
    file, exif = BytesIO(), Image.Exif()
    exif[ORIENTATION] = TURNS.get(flip, 1)
    Image.fromarray(pixels).save(file, "PNG", exif=exif, compress_level=1)
    return file.getvalue()


def _reason_of(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)
