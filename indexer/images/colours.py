"""The pixels of every mode as RGB: deep grey scaled, transparency on white.

Colour profiles (ICC) are ignored, as in the original: the samples are taken as they are.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.errors import InvalidImage
from indexer.images import tiff


def to_rgb(image: Image.Image) -> Image.Image:
    """Return a loaded image as RGB.

    Raises :class:`InvalidImage` for samples without a defined range of brightness.
    """
    if image.mode == "F" or (tiff.tag(image, tiff.SAMPLE_FORMAT) or tiff.UNSIGNED) != tiff.UNSIGNED:
        raise InvalidImage(
            "Floating-point and signed samples have no defined range of brightness.",
            "Convert it to 8 or 16 bits without a sign.",
        )
    if image.mode.startswith("I"):
        return _deep_grey(image)
    if not image.has_transparency_data:
        return image.convert("RGB")
    rgba = _rgba(image)
    alpha = rgba.getchannel("A")
    if _may_lack_alpha(image) and alpha.getextrema() == (0, 0):
        return rgba.convert("RGB")
    white = Image.new("RGB", rgba.size, "white")
    white.paste(rgba, mask=alpha)
    return white


def _deep_grey(image: Image.Image) -> Image.Image:
    """Scale grey of 12, 16 or 32 bits to 8, to the nearest; Pillow would clip it at 255."""
    samples: NDArray[Any] = np.asarray(image)
    bits = tiff.tag(image, tiff.BITS_PER_SAMPLE) or 16
    if samples.dtype == np.int32:  # the mode I, unsigned here
        samples, bits = samples.view(np.uint32) >> 16, 16
    white = 2**bits - 1
    table = ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)
    if tiff.tag(image, tiff.PHOTOMETRIC) == tiff.WHITE_IS_ZERO:
        table = table[::-1]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and transparent <= white:
        table[transparent] = 255
    grey = np.empty(samples.shape, np.uint8)
    for row, scaled in zip(samples, grey, strict=True):  # indices take 8 bytes for each pixel
        np.take(table, row, out=scaled, mode="clip")
    return Image.fromarray(grey).convert("RGB")


def _rgba(image: Image.Image) -> Image.Image:
    if image.mode == "La":  # grey multiplied with its alpha: Pillow converts it to LA only
        image = image.convert("LA")
    return image if image.mode == "RGBA" else image.convert("RGBA")


def _may_lack_alpha(image: Image.Image) -> bool:
    """Tell whether the format often has a fourth sample that nobody has set.

    Screenshots and clipboards write BMP files of 32 bits whose alpha is 0 throughout; viewers show
    them opaque. Some TIFF files do not say what their fourth sample is.
    """
    if image.format == "TIFF":
        return tiff.tag(image, tiff.EXTRA_SAMPLES) is None
    return image.format == "BMP"
