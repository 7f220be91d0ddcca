"""From the bytes of a file to an upright RGB image."""

import ctypes
import logging
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

import pi_heif
from PIL import Image, UnidentifiedImageError, _imaging
from PIL.ImageFile import ImageFile

from indexer.errors import (
    ImageTooLarge,
    InvalidImage,
    LookalikeError,
    OutOfMemory,
    UnsupportedImage,
)
from indexer.images import budget, jpeg, png, raw, tiff
from indexer.images.colours import to_rgb
from indexer.images.exif import ExifFields, exif_fields
from indexer.images.formats import FORMATS
from indexer.images.timed_file import Clock, TimedFile, block_size

MAX_SIDE = 65_500
"""The longest side in pixels, that of a JPEG in libjpeg. Memory grows with the rows, too."""

ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

NOTE, EXIF, TURN = "note", "exif_fields", "turn"  # Pillow has an "exif" of its own
"""What is kept of a file in ``Image.info``: what is wrong with it, what the camera noted, and how
it was turned."""


def _silence_decoders() -> None:
    """Keep Pillow and libtiff from writing to stderr what they think of a file.

    One crafted file can make 65,535 warnings. libtiff writes them itself, in any thread; without a
    handler it does not. Where Pillow contains libtiff instead of linking to it, it keeps its own.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with suppress(AttributeError, OSError):
        pillow = ctypes.CDLL(_imaging.__file__)  # finds functions of the libraries it links to
        pillow.TIFFSetWarningHandler(None)
        pillow.TIFFSetErrorHandler(None)


_silence_decoders()
# One thread, as files are decoded side by side; and only the picture itself.
pi_heif.register_heif_opener(
    decode_threads=1, thumbnails=False, depth_images=False, aux_images=False
)
# Pillow's own limit only warns and applies to the whole process; decode() checks the caller's
# limit before it decodes a pixel.
Image.MAX_IMAGE_PIXELS = None


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file. Raises :class:`InvalidImage` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{path} cannot be read: {error.strerror}.") from None


@contextmanager
def decoded(
    data: bytes, *, max_pixels: int, waiting: AbstractContextManager[object] | None = None
) -> Iterator[Image.Image]:
    """Decode the first frame of an image file: upright, RGB, transparency on white.

    EXIF orientation is applied, transparent pixels are composited on white and deep samples scaled
    to 8 bits, all before any resizing. ``image.format`` keeps the file's format; :func:`exif_of`
    returns what the camera noted in it. A file that is damaged but has its whole picture is
    decoded; :func:`note` then says what is wrong with it.

    The image counts against :data:`~indexer.images.budget.DECODING` until the block ends: keep what
    was made of it, not the image. ``waiting`` is entered while the budget is used up.

    Of a RAW file, the picture is the preview in it. Raises :class:`UnsupportedImage` if the bytes
    are no image in one of :data:`~indexer.images.formats.FORMATS`,
    :class:`ImageTooLarge` beyond ``max_pixels`` or :data:`MAX_SIDE`, :class:`InvalidImage` if
    decoding fails, if the file ends before its picture does, or if it takes longer than
    :data:`~indexer.images.timed_file.MAX_DECODING_S`, and :class:`OutOfMemory` if decoding, or the
    block, needs more memory than there is.
    """
    with ExitStack() as share:
        try:
            image = _decode(data, max_pixels, waiting, share)
        except LookalikeError:
            raise
        except Exception as error:  # Pillow raises nearly anything
            raise _domain_error(error) from error
        try:
            yield image
        except MemoryError:
            raise _out_of_memory() from None


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an image file as :func:`decoded` does, for callers that keep the image."""
    with decoded(data, max_pixels=max_pixels) as image:
        return image


def note(image: Image.Image) -> str:
    """Return what is wrong with the file of a decoded image; empty if nothing is."""
    return str(image.info.get(NOTE, ""))


def exif_of(image: Image.Image) -> ExifFields:
    """Return what the EXIF data of a decoded image's file says: :func:`exif_fields`."""
    return dict(image.info.get(EXIF, {}))


def read_exif(data: bytes) -> ExifFields:
    """Return the same of a file that is not decoded; nothing if it cannot be read."""
    try:
        picture = _picture_in(data)
        with Image.open(_readable(picture, Clock())[0], formats=FORMATS) as image:
            return _noted(image, picture, data)
    except Exception:  # noqa: BLE001 -- decode() reports what is wrong
        return {}


def pixels(data: bytes) -> int:
    """Return how many pixels decoding a file takes, from its header; 0 if it cannot be read."""
    try:
        with Image.open(_readable(_picture_in(data), Clock())[0], formats=FORMATS) as image:
            return _most_pixels(image)
    except Exception:  # noqa: BLE001 -- decode() reports what is wrong
        return 0


def media_type(image_format: str) -> str:
    """Return the media type of one of :data:`FORMATS`, for instance ``image/jpeg``."""
    Image.init()
    return Image.MIME.get(image_format, "application/octet-stream")


def _decode(
    data: bytes,
    max_pixels: int,
    waiting: AbstractContextManager[object] | None,
    share: ExitStack,
) -> Image.Image:
    """Decode a file once there is room in the budget, which ``share`` then holds."""
    picture = _picture_in(data)
    file, found = _readable(picture, clock := Clock())
    with Image.open(file, formats=FORMATS) as opened:
        _check_size(opened, max_pixels)
        share.enter_context(budget.DECODING.hold(_most_pixels(opened), waiting))
        image = _first_frame(opened, file)
        noted = _noted(opened, picture, data)
    if file.is_exhausted and image.format in ("JPEG", "PNG"):
        if image.format == "JPEG":
            _check_complete(image, picture, clock)
        found = f"{found} The file ends without an end marker.".strip()
    image.info |= {NOTE: found, EXIF: noted}
    if picture is not data:
        image.format = raw.FORMAT
    return image


def _picture_in(data: bytes) -> bytes:
    """Return the preview in a RAW file, or the file itself if it is no RAW file."""
    return raw.preview(data) if raw.is_raw(data) else data


def _noted(image: Image.Image, picture: bytes, data: bytes) -> ExifFields:
    """Return what the camera noted in an opened picture, and in the RAW file that it lies in."""
    noted = exif_fields(image)
    return noted if picture is data else noted | raw.exif_fields(data)


def _domain_error(error: Exception) -> LookalikeError:
    """Return what an error of Pillow means."""
    if isinstance(error, UnidentifiedImageError):
        return UnsupportedImage(
            "The file is not an image in a format that can be read.",
            f"Use one of {', '.join(FORMATS)}.",
        )
    if isinstance(error, MemoryError):
        return _out_of_memory()
    return InvalidImage(
        f"The image is damaged: {' '.join(str(error).split()) or type(error).__name__}.",
        "Open it in an image editor and save it again.",
    )


def _readable(data: bytes, clock: Clock) -> tuple[TimedFile, str]:
    """Return a file for Pillow to open, and a note on what was left out because it is damaged."""
    if not data:
        raise UnsupportedImage("The file is empty.", "Choose an image file.")
    file = TimedFile(data, clock)
    if not data.startswith(png.SIGNATURE):
        return file, ""
    data, found = png.needed_chunks(file)
    return TimedFile(data, clock), found


def _first_frame(image: ImageFile, file: TimedFile) -> Image.Image:
    """Decode an opened file. A JPEG that ends early gets the file's padding, or an end marker."""
    # The first picture of an MPO file, which many cameras write, is a JPEG.
    image_format = "JPEG" if image.format == "MPO" else image.format
    if image_format == "JPEG":
        file.padding = file.padding or jpeg.END_OF_IMAGE
    # Pillow takes the orientation from XMP where there is no EXIF; viewers do not.
    image.info.pop("xmp", None)
    image.decodermaxblock = block_size(_most_pixels(image))
    frame = image.tile[0].extents if image_format == "GIF" and image.tile else None
    turn_of_tiff = _turn(image) if image_format == "TIFF" else None
    image.load()  # turns a TIFF, and forgets its orientation
    turn = _turn(image)
    rgb = to_rgb(image)
    if frame and frame != (0, 0, *rgb.size):
        rgb = _on_white_canvas(rgb, frame)
    rgb = rgb if turn is None else rgb.transpose(turn)
    rgb.format = image_format
    rgb.info = {TURN: turn_of_tiff if turn is None else turn}
    return rgb


def _on_white_canvas(rgb: Image.Image, frame: tuple[int, int, int, int]) -> Image.Image:
    """Return a GIF's picture, white around its first frame, where Pillow has the first colour."""
    canvas = Image.new("RGB", rgb.size, "white")
    canvas.paste(rgb.crop(frame), frame)
    return canvas


def _check_complete(rgb: Image.Image, data: bytes, clock: Clock) -> None:
    """Raise InvalidImage if a JPEG without end marker ends before its picture does.

    It is decoded again with other bytes at its end: they change the picture if it needs some.
    """
    is_complete = jpeg.has_all_scans(data)
    for filling in jpeg.fillings(data) if is_complete else ():
        file = TimedFile(data, clock, filling)
        try:
            with Image.open(file, formats=FORMATS) as opened:
                is_complete &= _first_frame(opened, file).tobytes() == rgb.tobytes()
        except OSError:
            is_complete = False
    if not is_complete:
        raise InvalidImage(
            "The image is incomplete: the file ends before its picture does.",
            "Copy it again from where it came from.",
        )


def _check_size(image: Image.Image, max_pixels: int) -> None:
    """Raise ImageTooLarge for too many pixels, of the image or of a tile, or too long a side."""
    for width, height in _sizes(image):
        what = "image" if (width, height) == image.size else "image's tile"
        if width * height > max_pixels:
            raise ImageTooLarge(
                f"The {what} has {width} x {height} = {width * height:,} pixels; "
                f"the limit is {max_pixels:,}.",
                "Make it smaller, or raise max_pixels.",
                *((width, height) if what == "image" else ()),
            )
        if max(width, height) > MAX_SIDE:
            raise ImageTooLarge(
                f"The {what} has {width} x {height} pixels; no side may have more than "
                f"{MAX_SIDE:,}.",
                "Cut it into pieces, or make it smaller.",
            )


def _most_pixels(image: Image.Image) -> int:
    return max(width * height for width, height in _sizes(image))


def _sizes(image: Image.Image) -> Iterator[tuple[int, int]]:
    """Yield the size of an image, and that of a TIFF's tiles, which are decoded as a whole."""
    yield image.size
    if tile := tiff.tile_size(image):
        yield tile


def _turn(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn an image by its EXIF orientation; None also if that is malformed."""
    try:
        return _TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 -- Pillow raises many types for malformed EXIF
        return None


def _out_of_memory() -> OutOfMemory:
    return OutOfMemory(
        "There is not enough memory to decode the image.",
        "Try again later, or make it smaller.",
    )
