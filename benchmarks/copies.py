"""Photographs, scenes that are made up, and copies of both that are known.

Where there are fewer photographs than wanted, scenes are made up: dead leaves, the model of natural
images of Lee, Mumford and Huang (2001), here of shapes, each with a texture whose spectrum falls as
that of photographs does (1/f). Each scene has random numbers of its own: colours, sizes, shapes and
textures. None contains a part of another one or of a photograph.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

SEED = 11
SCENE = (384, 256)
NOISES = 4
QUALITY = 90
"""That of JPEGs, but for those that are saved worse on purpose."""

SUFFIXES = (".jpg", ".jpeg", ".png")

Change = Callable[[Image.Image], Image.Image]


def _cropped(image: Image.Image) -> Image.Image:
    width, height = image.size
    return image.crop((width // 20, height // 20, width - width // 20, height - height // 20))


def _halved(image: Image.Image) -> Image.Image:
    return image.resize((max(1, image.width // 2), max(1, image.height // 2)))


def _bordered(image: Image.Image) -> Image.Image:
    return ImageOps.expand(image, max(image.size) // 16, "black")


CHANGES: dict[str, Change] = {
    "half the width": _halved,
    "JPEG of quality 40": lambda image: image,
    "cropped by 5 % on every side": _cropped,
    "mirrored": ImageOps.mirror,
    "30 % brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "black border": _bordered,
}
"""What is done to copies. Each is saved as a JPEG again."""


class Planted(NamedTuple):
    """What was planted. The name of a copy is that of its original up to the first dot."""

    kinds: dict[str, str]
    """What was done to each copy, by its name."""
    sources: dict[str, str]
    """Where each photograph comes from, by its name up to the first dot."""

    @property
    def photographs(self) -> int:
        """How many of the originals are photographs."""
        return len(self.sources)


def plant(folders: Sequence[Path], count: int, copies: int, target: Path) -> Planted:
    """Fill ``target/images`` with ``count`` photographs and scenes, and with copies of some.

    At most one copy is made of each, chosen at random; each kind of change has an equal share.
    """
    chance = random.Random(SEED)  # noqa: S311 -- always the same
    found = [file for folder in folders for file in sorted(folder.rglob("*"))]
    photographs = [file for file in found if file.suffix.lower() in SUFFIXES]
    chance.shuffle(photographs)
    (target / "images").mkdir(parents=True)
    originals, sources = [], {}
    for number in range(count):
        path = target / "images" / f"{number:06}.jpg"
        if number < len(photographs):
            sources[path.stem] = str(photographs[number])
            with Image.open(photographs[number]) as image:
                image.convert("RGB").save(path, quality=QUALITY)
        else:
            scene(number).save(path, quality=QUALITY)
        originals.append(path)
    kinds = {}
    for number, path in enumerate(chance.sample(originals, min(copies, count))):
        kind = list(CHANGES)[number % len(CHANGES)]
        copy = path.with_suffix(".copy.jpg")
        copy.write_bytes(changed(path, kind))
        kinds[copy.name] = kind
    return Planted(kinds, sources)


def changed(path: Path, kind: str) -> bytes:
    """Return an image file that was changed and saved again."""
    buffer = BytesIO()
    with Image.open(path) as image:
        copy = CHANGES[kind](image.convert("RGB"))
    copy.save(buffer, "JPEG", quality=40 if kind == "JPEG of quality 40" else QUALITY)
    return buffer.getvalue()


def scene(seed: int) -> Image.Image:
    """Make up a scene; a seed always gives the same."""
    chance = np.random.default_rng((SEED, seed))
    noises = [_noise(chance) for _ in range(NOISES)]
    picture = _texture(chance, noises)
    shapes, largest = int(chance.integers(4, 60)), chance.uniform(30, 160)
    for _ in range(shapes):
        mask = Image.new("L", SCENE)
        draw = ImageDraw.Draw(mask)
        for outline in _outlines(chance, largest):
            draw.polygon(outline, fill=255)
        picture.paste(_texture(chance, noises), mask=mask)
    return picture


def _outlines(chance: np.random.Generator, largest: float) -> Iterator[list[tuple[float, float]]]:
    """Yield one shape, or a row of the same: an ellipse, a polygon or a star."""
    x, y = chance.uniform(0, SCENE[0]), chance.uniform(0, SCENE[1])
    radius, flat = largest * chance.uniform(0.1, 1) ** 2 + 3, chance.uniform(0.3, 1)
    corners = int(chance.choice([3, 4, 5, 6, 10, 40]))
    angles = np.sort(chance.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, corners + 1)[:-1])
    radii = radius * (1 if corners == 40 else chance.uniform(0.4, 1, corners))
    points = radii * np.cos(angles), radii * np.sin(angles) * flat
    turn, step = chance.uniform(0, np.pi), chance.uniform(1.2, 3) * radius
    for number in range(int(chance.choice([1, 1, 1, 5]))):
        u = points[0] * np.cos(turn) - points[1] * np.sin(turn) + x + number * step
        v = points[0] * np.sin(turn) + points[1] * np.cos(turn) + y
        yield list(zip(u.tolist(), v.tolist(), strict=True))


def _noise(chance: np.random.Generator) -> NDArray[np.uint8]:
    """Return grey noise with a spectrum between 1/f and 1/f^2; its edges continue each other."""
    width, height = SCENE
    stretch = chance.uniform(0.5, 2)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None] * stretch, np.fft.rfftfreq(width))
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(chance.standard_normal((height, width)))
    noise = np.fft.irfft2(spectrum / frequency ** chance.uniform(1, 2), s=(height, width))
    grey: NDArray[np.uint8] = np.clip(128 + noise / noise.std() * 50, 0, 255).astype(np.uint8)
    return grey


def _texture(chance: np.random.Generator, noises: Sequence[NDArray[np.uint8]]) -> Image.Image:
    """Return some noise, moved and turned, from one random colour to another."""
    grey = noises[int(chance.integers(len(noises)))]
    grey = np.roll(grey, chance.integers(0, 256, 2), axis=(0, 1))
    grey = grey[:: chance.choice([1, -1]), :: chance.choice([1, -1])]
    first = chance.uniform(0, 255, 3)
    second = first + (chance.uniform(0, 255, 3) - first) * chance.uniform(0.1, 1)
    colours = [tuple(map(int, colour)) for colour in (first, second)]
    return ImageOps.colorize(Image.fromarray(np.ascontiguousarray(grey)), *colours)
