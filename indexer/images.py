"""Decoding untrusted image files, and making model inputs and thumbnails of them.

Indexing and queries use the same decoder, Pillow, since decoders differ in the last bits, and the
same file must always give the same vector.
"""

import math
import time
import warnings
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from indexer.errors import ImageTooLarge, InvalidImage, InvalidQuery, UnsupportedImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
"""Pillow's names of the formats that are read; all others are refused."""

SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif")
)
"""File name endings of those formats."""

INPUT_SIDE = 224
"""Side of the square input of every encoder, in pixels."""

MAX_DECODING_S = 10.0
"""CPU seconds that decoding one image may take. 100 megapixels of JPEG or PNG take 1 to 2."""

READ_BYTES = 4096
"""Bytes that a decoder reads at once, so that the time is checked often enough."""

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

# Pillow's own limit only warns and applies to the whole process; decode() checks the caller's
# limit before it decodes a pixel.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata on stderr, up to 65,535 times for one crafted file.
warnings.filterwarnings("ignore", module=r"PIL\.")


class Box(NamedTuple):
    """A region of an upright image; all four are fractions of its width and height, 0 to 1."""

    x: float
    y: float
    width: float
    height: float


class _TimedFile(BytesIO):
    """A file in memory that can be read until the thread has used its CPU time for it.

    The number of pixels alone does not bound the work: a progressive JPEG of 20 MB can contain a
    hundred thousand passes over 100 megapixels. CPU time does not depend on the machine's load.
    """

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self._until = time.thread_time() + MAX_DECODING_S

    def read(self, size: int | None = -1) -> bytes:
        """Read from the file. Raises :class:`InvalidImage` when the time is up."""
        if time.thread_time() > self._until:
            raise InvalidImage(
                f"Decoding the image takes more than {MAX_DECODING_S:g} seconds.",
                "Open it in an image editor and save it again.",
            )
        return super().read(size)


def read_file(path: Path) -> bytes:
    """Return the bytes of an image file. Raises :class:`InvalidImage` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidImage(f"{path} cannot be read: {error.strerror}.") from None


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode the first frame of an image file: upright, RGB, transparency on white.

    EXIF orientation is applied, transparent pixels are composited on white and 16-bit samples
    scaled to 8 bits, all before any resizing. ``image.format`` keeps the file's format.

    Raises :class:`UnsupportedImage` if the bytes are no image in one of :data:`FORMATS`,
    :class:`ImageTooLarge` beyond ``max_pixels`` and :class:`InvalidImage` if decoding fails or
    takes longer than :data:`MAX_DECODING_S`.
    """
    if not data:
        raise UnsupportedImage("The file is empty.", "Choose an image file.")
    try:
        with Image.open(_TimedFile(data), formats=FORMATS) as image:
            _check_pixels(image, max_pixels)
            image.decodermaxblock = READ_BYTES
            rgb = _to_rgb(_apply_orientation(image))
            # The first picture of an MPO file, which many cameras write, is a JPEG.
            rgb.format = "JPEG" if image.format == "MPO" else image.format
            return rgb
    except UnidentifiedImageError:
        raise UnsupportedImage(
            "The file is not an image in a format that can be read.",
            f"Use one of {', '.join(FORMATS)}.",
        ) from None
    except (InvalidImage, MemoryError):
        raise
    except Exception as error:
        raise InvalidImage(
            f"The image is damaged: {error or type(error).__name__}.",
            "Open it in an image editor and save it again.",
        ) from error


def pixels(data: bytes) -> int:
    """Return the number of pixels from an image file's header; 0 if it cannot be read."""
    try:
        with Image.open(_TimedFile(data), formats=FORMATS) as image:
            return image.width * image.height
    except Exception:  # noqa: BLE001 -- decode() reports what is wrong
        return 0


def crop(image: Image.Image, box: Box) -> Image.Image:
    """Cut a region out of an upright image, to the nearest whole pixels, at least one.

    Raises :class:`InvalidQuery` for a region that is empty or reaches beyond the image.
    """
    slack = 1e-6  # for rounded fractions
    inside = box.x >= 0 and box.y >= 0 and box.width > 0 and box.height > 0
    inside &= box.x + box.width <= 1 + slack and box.y + box.height <= 1 + slack
    if not inside or not all(map(math.isfinite, box)):
        raise InvalidQuery(
            "The crop box does not lie inside the image.",
            "x, y, width and height are fractions of the image: 0 <= x and x + width <= 1.",
        )
    width, height = image.size
    left, top = min(round(box.x * width), width - 1), min(round(box.y * height), height - 1)
    right = min(max(round((box.x + box.width) * width), left + 1), width)
    bottom = min(max(round((box.y + box.height) * height), top + 1), height)
    return image.crop((left, top, right, bottom))


def model_input(image: Image.Image) -> NDArray[np.uint8]:
    """Resize an RGB image to an encoder's input, uint8 (224, 224, 3), as the original does.

    Pillow's bicubic filter; the aspect ratio is not kept.
    """
    side = (INPUT_SIDE, INPUT_SIDE)
    return np.asarray(image.resize(side, Image.Resampling.BICUBIC), dtype=np.uint8)


def thumbnail(image: Image.Image, *, side: int) -> bytes:
    """Encode an RGB image as a JPEG that fits into ``side`` x ``side`` pixels, never enlarged."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()


def media_type(image_format: str) -> str:
    """Return the media type of one of :data:`FORMATS`, for instance ``image/jpeg``."""
    Image.init()
    return Image.MIME.get(image_format, "application/octet-stream")


def _check_pixels(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise ImageTooLarge(
            f"The image has {width} x {height} = {width * height:,} pixels; "
            f"the limit is {max_pixels:,}.",
            "Make it smaller, or raise max_pixels.",
            width,
            height,
        )


def _apply_orientation(image: Image.Image) -> Image.Image:
    """Apply the EXIF orientation, or none if the EXIF data is malformed."""
    try:
        turn = _TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # noqa: BLE001 -- Pillow raises many types for malformed EXIF
        turn = None
    return image if turn is None else image.transpose(turn)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "I;16", "I;16L", "I;16B", "I;16N"):
        # Pillow would clip 16-bit grey at 255; 65535 / 255 = 257 maps white to white.
        grey = np.clip(np.asarray(image), 0, 65535) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        raise InvalidImage(
            "Images with floating-point samples have no defined range of brightness.",
            "Convert it to 8 or 16 bits.",
        )
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        white = Image.new("RGB", rgba.size, "white")
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    return image.convert("RGB")
