"""What the files of the matrix show, and what is to become of each."""

from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 45, 30

TURNED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: a[::-1].swapaxes(0, 1),
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: a[:, ::-1].swapaxes(0, 1),
}
"""What a viewer shows of stored pixels, by EXIF orientation."""


@dataclass(frozen=True)
class File:
    """An image file, its name, and what is to become of it."""

    name: str
    data: bytes
    pixels: Pixels | None = None
    """What it shows, uint8 (height, width, 3), if that is known."""
    tolerance: int = 0
    """How far a sample may be from ``pixels`` and from another decoder's: lossy formats, alpha."""
    is_read: bool = True
    """False if it is to be skipped."""
    has_note: bool = False
    """True if it is damaged but has its whole picture."""


def scene() -> Pixels:
    """Return a picture with four different corners, and some noise: uint8 (30, 45, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    smooth = np.dstack([x * 255 // WIDTH, y * 255 // HEIGHT, (x + y) * 3 % 256]).astype(np.uint8)
    smooth[:8, :12] = (250, 10, 10)
    smooth[22:, 30:] = (10, 200, 250)
    noise = np.random.default_rng(1).integers(0, 256, (6, 9, 3), np.uint8)
    smooth[12:18, 18:27] = noise
    return smooth


def gentle() -> Pixels:
    """Return a picture without edges, which lossy formats hardly change: uint8 (60, 90, 3)."""
    y, x = np.mgrid[0:60, 0:90]
    return np.dstack([x * 2 + 30, y * 3 + 20, (x + y) + 50]).astype(np.uint8)


def grey(bits: int) -> NDArray[Any]:
    """Return grey samples that use all of ``bits``: (30, 45, 1)."""
    ramp = np.linspace(0, 2**bits - 1, WIDTH * HEIGHT).round().astype(np.uint32)
    return ramp.reshape(HEIGHT, WIDTH, 1)


def to_8(samples: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    """Scale samples to 8 bits, to the nearest."""
    white = 2**bits - 1
    return ((samples.astype(np.uint64) * 255 + white // 2) // white).astype(np.uint8)


def shown(samples: NDArray[Any], bits: int = 8) -> Pixels:
    """Return grey samples (h, w, 1) or colours (h, w, 3) as RGB."""
    return np.broadcast_to(to_8(samples, bits), (*samples.shape[:2], 3)).copy()


def on_white(colour: Pixels, alpha: NDArray[Any]) -> Pixels:
    """Return colours (h, w, 3) with an alpha (h, w, 1) of 0 to 255 on white."""
    mixed = colour * (alpha / 255) + 255 * (1 - alpha / 255)
    return np.rint(mixed).astype(np.uint8)


def saved(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the file that Pillow writes."""
    buffer = BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def heif(image: Image.Image, **options: Any) -> bytes:
    """Return a HEIC file as phones write it: HEVC, and an orientation beside the picture."""
    buffer = BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=95, **options)
    return buffer.getvalue()


def oriented(turn: int) -> Image.Exif:
    """Return EXIF data with an orientation."""
    exif = Image.Exif()
    exif[0x0112] = turn
    return exif
