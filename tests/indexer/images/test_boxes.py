"""Regions of stored pictures that EXIF turns or mirrors."""

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from indexer.images import Box, crop, decode, upright
from indexer.images.decoding import TURN

BOX = Box(0.125, 0.5, 0.25, 0.375)
"""Of a picture of 16 x 8 pixels: 2 to 6 and 4 to 7."""


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_stays_on_the_pixels_that_it_was_drawn_around(
    orientation: int, image_format: str
) -> None:
    """Pillow turns a TIFF by itself when it decodes it."""
    image = Image.new("RGB", (16, 8), "white")
    image.paste("red", (2, 4, 6, 7))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    image.save(file, image_format, exif=exif)
    decoded = decode(file.getvalue(), max_pixels=128)
    assert decoded.size == ((16, 8) if orientation < 5 else (8, 16))
    box = upright(decoded, BOX)
    inside, red = crop(decoded, box), np.array((255, 0, 0))
    assert np.all(np.asarray(inside) == red)
    assert np.all(np.asarray(decoded) == red, axis=2).sum() == inside.width * inside.height


def test_the_noise_of_arithmetic_does_not_lead_out_of_the_picture() -> None:
    for turn in Image.Transpose:
        image = Image.new("RGB", (3, 3))
        image.info[TURN] = turn
        assert crop(image, upright(image, Box(0.1, 0.7, 0.9, 0.3))).width > 0
