"""What is made of decoded images: regions, model inputs, thumbnails."""

import math
from io import BytesIO
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.errors import InvalidQuery
from indexer.images.decoding import TURN

INPUT_SIDE = 224
"""Side of the square input of every encoder, in pixels."""


BOX_DIGITS = 7
"""Decimal places of a region: a hundredth of a pixel of the largest picture."""


class Box(NamedTuple):
    """A region of an upright image; all four are fractions of its width and height, 0 to 1."""

    x: float
    y: float
    width: float
    height: float


def upright(image: Image.Image, box: Box) -> Box:
    """Return a region of the stored picture, as one of the upright image decoded from it.

    EXIF may say that the picture is turned or mirrored. Annotations refer to what is stored.
    """
    x, y, width, height = box
    right, bottom = _rounded(1 - x - width), _rounded(1 - y - height)
    match image.info.get(TURN):
        case Image.Transpose.FLIP_LEFT_RIGHT:
            return Box(right, y, width, height)
        case Image.Transpose.ROTATE_180:
            return Box(right, bottom, width, height)
        case Image.Transpose.FLIP_TOP_BOTTOM:
            return Box(x, bottom, width, height)
        case Image.Transpose.TRANSPOSE:
            return Box(y, x, height, width)
        case Image.Transpose.ROTATE_270:
            return Box(bottom, x, height, width)
        case Image.Transpose.TRANSVERSE:
            return Box(bottom, right, height, width)
        case Image.Transpose.ROTATE_90:
            return Box(y, right, height, width)
    return box


def _rounded(fraction: float) -> float:
    """Return a fraction without the noise of arithmetic, to a hundredth of the smallest pixel."""
    return max(0.0, round(fraction, BOX_DIGITS))


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


def grey_picture(image: Image.Image, *, side: int) -> NDArray[np.uint8]:
    """Return the grey levels, uint8 (height, width), fitted into ``side`` pixels, never enlarged.

    The image is at least one pixel wide and high, however long it is.
    """
    small = image.convert("L")
    small.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(small, dtype=np.uint8)


def thumbnail(image: Image.Image, *, side: int) -> bytes:
    """Encode an RGB image as a JPEG that fits into ``side`` x ``side`` pixels, never enlarged."""
    scale = min(1.0, side / max(image.size))
    width, height = (max(1, round(length * scale)) for length in image.size)
    small = image.resize((width, height), Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = BytesIO()
    small.save(buffer, "JPEG", quality=85, optimize=True)
    return buffer.getvalue()
