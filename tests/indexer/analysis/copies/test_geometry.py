"""Whether two files show the same picture: real photographs, changed in known ways."""

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from indexer.analysis.copies.changes import changes
from indexer.analysis.copies.geometry import SIDE, Fit, Picture, fit
from indexer.images import grey_picture
from indexer.store import ImageRow

Change = Callable[[Image.Image], Image.Image]


def saved(image: Image.Image, quality: int = 85) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer)


def fitted(first: Image.Image, second: Image.Image) -> Fit | None:
    return fit(*(Picture.of(grey_picture(one, side=SIDE)) for one in (first, second)))


def words(first: Image.Image, second: Image.Image) -> list[str] | None:
    """Say how the second differs from the first; None if they are not the same picture."""
    found = fitted(first, second)
    rows = [
        ImageRow("a.jpg", size=size, width=one.width, height=one.height, format="JPEG")
        for one, size in ((first, 2), (second, 1))
    ]
    return found and changes(*rows, found)


def halved(image: Image.Image) -> Image.Image:
    return image.resize((image.width // 2, image.height // 2))


def cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 10, height // 20, width, height * 19 // 20))


def bordered(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, 20, "white")


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.3)


def turned(image: Image.Image) -> Image.Image:
    whole = image.rotate(5, Image.Resampling.BICUBIC)
    return whole.crop((20, 20, image.width - 20, image.height - 20))


CHANGES: dict[str, tuple[Change, list[str]]] = {
    "again": (lambda image: image, ["recompressed"]),
    "half": (halved, ["half the width"]),
    "larger": (lambda image: ImageOps.scale(image, 1.4), ["scaled to 140 %"]),
    "cropped": (cropped, ["cropped"]),
    "mirrored": (ImageOps.mirror, ["mirrored"]),
    "both": (lambda image: ImageOps.mirror(cropped(image)), ["mirrored", "cropped"]),
    "brighter": (brighter, ["brighter"]),
    "border": (bordered, ["with a border"]),
    "turned": (turned, ["turned by 5°", "cropped"]),
    "upside down": (lambda image: image.rotate(180), ["turned by 180°"]),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_copy_is_the_same_picture_and_it_is_said_how_it_was_changed(
    name: str, photos: list[Path]
) -> None:
    change, expected = CHANGES[name]
    for photo in photos[10::50]:
        with Image.open(photo) as image:
            assert words(image, saved(change(image), 60)) == expected


def test_the_copy_may_come_first(photos: list[Path]) -> None:
    with Image.open(photos[30]) as image:
        assert words(saved(bordered(image)), image) == ["without the border"]
        found = words(saved(halved(cropped(image))), image) or []
        assert found[0] in ("scaled to 199 %", "scaled to 200 %", "scaled to 201 %")
        assert found[1:] == ["shows more"]


def test_other_photographs_are_not_the_same(photos: list[Path]) -> None:
    images = [Image.open(photo) for photo in photos[::30]]
    assert [fitted(images[0], image) is None for image in images] == [False, *[True] * 6]


def moved(image: Image.Image) -> Image.Image:
    """Move what is in the middle, as the second picture of a series does."""
    width, height = image.size
    box = (width // 4, height // 4, width * 3 // 4, height * 3 // 4)
    other = image.copy()
    other.paste(image.crop(box), (width // 4 + 12, height // 4 - 9))
    return other


def test_a_picture_of_a_series_in_which_something_moved_is_not_the_same(photos: list[Path]) -> None:
    for photo in photos[10::50]:
        with Image.open(photo) as image:
            assert fitted(image, moved(image)) is None


def test_a_logo_or_a_border_in_common_is_not_enough(photos: list[Path]) -> None:
    with (
        Image.open(photos[0]) as logo,
        Image.open(photos[60]) as one,
        Image.open(photos[90]) as two,
    ):
        logo, size = logo.resize((90, 90)), (256, 170)
        pictures = [bordered(image.resize(size)) for image in (one, two)]
        for picture in pictures:
            picture.paste(logo, (25, 60))
    assert fitted(*pictures) is None
    assert fitted(pictures[0], saved(halved(pictures[0]))) is not None


def test_faint_pictures_with_the_same_border_are_not_the_same() -> None:
    random = np.random.default_rng(1)
    pictures = []
    for _ in range(2):
        picture = Image.new("RGB", (384, 256), (120, 120, 120))
        for x, y in random.integers((40, 40), (344, 216), (8, 2)).tolist():
            ImageDraw.Draw(picture).ellipse((x, y, x + 8, y + 8), fill=(150, 150, 150))
        pictures.append(ImageOps.expand(picture, 24, "black"))
    assert fitted(*pictures) is None
    assert fitted(pictures[0], saved(pictures[0], 95)) is not None


def test_a_part_of_a_picture_is_the_same_only_if_it_is_most_of_it(photos: list[Path]) -> None:
    with Image.open(photos[30]) as image:
        width, height = image.size
        assert fitted(image, image.crop((0, 0, width * 3 // 4, height * 4 // 5))) is not None
        assert fitted(image, image.crop((0, 0, width * 3 // 5, height * 4 // 5))) is None


def test_pictures_that_show_nothing_are_never_confirmed() -> None:
    white = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(white).line((10, 10, 40, 10), fill="black")
    assert fitted(white, white) is None
    for size in ((1, 1), (300, 1), (8, 8)):
        assert fitted(white.resize(size), white) is None


def test_a_texture_is_not_the_same_as_another_part_of_it() -> None:
    noise = np.random.default_rng(1).integers(0, 255, (75, 140), np.uint8)
    tile = Image.fromarray(np.tile(noise, (5, 5))).resize((700, 375))
    first, second = tile.crop((0, 0, 300, 200)), tile.crop((75, 30, 375, 230))
    assert fitted(first, second) is None
    assert fitted(first, first) is not None


def test_it_is_the_same_each_time(photos: list[Path]) -> None:
    with Image.open(photos[40]) as image:
        copy = saved(cropped(image), 50)
        assert fitted(image, copy) == fitted(image, copy)
