"""The metadata of an image: what annotation files say of it."""

import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple, Self

from indexer.datasets.coco.formats import Id, Image, Segment, comparable
from indexer.text import storable

NO_SUPERCATEGORY = (None, "", "none")
"""What Roboflow and others write where there is no category above."""

AREA_DIGITS = 6
"""Decimal places of a share of the picture: a pixel of a megapixel is more than nothing."""


class Category(NamedTuple):
    """A category of things, and the one above it."""

    name: str
    above: str | None


class AnnotatedBox(NamedTuple):
    """A box of an annotation: ``bbox`` is x, y, width and height in pixels."""

    bbox: tuple[float, ...]
    category: Category | None
    area: float | None
    iscrowd: bool | None


class Fields:
    """What annotation files say of one image.

    Categories count by their name, as ids may differ between files.
    """

    __slots__ = ("_above", "_areas", "_captions", "_counts", "_crowd", "_image", "boxes", "size")

    def __init__(
        self, image: Image, *, split: str | None, captured: str | None, licence: str | None
    ) -> None:
        values: dict[str, Any] = {
            "coco_id": plain_id(image.cocoid if image.id is None else image.id),
            "split": split,
            "width": image.width,
            "height": image.height,
            "licence": _number(image.license),
            "licence_name": licence,
            "captured": captured,
            "coco_url": image.coco_url,
            "flickr_url": image.flickr_url,
        }
        self._image = {name: value for name, value in values.items() if value not in (None, "")}
        self.size: tuple[int, int] | None = None
        """Width and height in pixels, if the record has both."""
        if image.width and image.height:
            self.size = image.width, image.height
        self.boxes: dict[int | str, AnnotatedBox] = {}
        """The boxes in the picture by the ids of their annotations, if they are wanted."""
        self._counts: dict[str, int] = {}
        self._areas: dict[str, float] = {}
        self._above: tuple[str | None, ...] = ()
        self._captions: list[str] = []
        self._crowd: bool | None = None

    @property
    def is_annotated(self) -> bool:
        """Whether an annotation says something of the image."""
        return bool(self._counts or self._captions)

    def add_caption(self, caption: str) -> None:
        """Add a caption."""
        if caption := caption.strip():
            self._captions.append(caption)

    def add_thing(self, thing: Segment, category: Category) -> None:
        """Count a thing of a category that is in the picture, and keep the largest area."""
        name, above = category
        self._counts[name] = self._counts.get(name, 0) + 1
        if above not in self._above and above not in NO_SUPERCATEGORY:
            self._above += (above,)
        if thing.area is not None and self.size:
            share = thing.area / (self.size[0] * self.size[1])
            self._areas[name] = max(self._areas.get(name, 0), share)
        if thing.iscrowd is not None:
            self._crowd = bool(self._crowd or thing.iscrowd)

    def add_box(self, name: int | str | None, box: AnnotatedBox) -> bool:
        """Add a box by its id, and return whether none with the id is another one.

        Without an id it gets its number among the boxes of the picture.
        """
        if name is None:
            name = f"n{len(self.boxes) + 1}"
        return self.boxes.setdefault(name, box)[:2] == box[:2]

    def merge(self, other: Self) -> list[int | str]:
        """Add what another file says of the same image.

        Files describe the same things: ``instances`` and ``person_keypoints`` have the same
        persons. So the larger count holds, and a caption is added unless it is known. Return the
        ids of boxes that were not added, as another one has the id.
        """
        self.size = self.size or other.size
        for field, value in other._image.items():
            self._image.setdefault(field, value)
        for name, count in other._counts.items():
            self._counts[name] = max(self._counts.get(name, 0), count)
        for name, area in other._areas.items():
            self._areas[name] = max(self._areas.get(name, 0), area)
        self._above = tuple(dict.fromkeys(self._above + other._above))
        known = set(self._captions)
        self._captions += [caption for caption in other._captions if caption not in known]
        if other._crowd is not None:
            self._crowd = bool(self._crowd or other._crowd)
        return [name for name, box in other.boxes.items() if not self.add_box(name, box)]

    def some(self, names: Iterable[str], repairs: set[str]) -> dict[str, Any]:
        """Return some of the fields of the image itself; see :meth:`metadata`."""
        values = {name: self._image[name] for name in names if name in self._image}
        fields: dict[str, Any] = storable(values, repairs)
        return fields

    def metadata(self, repairs: set[str]) -> dict[str, Any]:
        """Return the fields by name; those with several values are lists.

        What was replaced to make texts storable is added to ``repairs``.
        """
        fields: dict[str, Any] = storable(self._image, repairs)
        if self._counts:
            fields["category"] = list(self._counts)
        if self._above:
            fields["supercategory"] = list(self._above)
        fields |= self._by_category()
        if self._crowd is not None:
            fields["iscrowd"] = self._crowd
        if self._captions:
            fields["caption"] = storable(self._captions, repairs)
        return fields

    def _by_category(self) -> Iterator[tuple[str, float]]:
        """Yield the fields of each category. All images share their names."""
        for name, count in self._counts.items():
            yield sys.intern(f"count.{name}"), count
        for name, area in self._areas.items():
            yield sys.intern(f"area.{name}"), round(area, AREA_DIGITS)


def share_of(area: float | None, size: tuple[int, int] | None) -> float | None:
    """Return an area in pixels as a share of the picture, or None if one of them is unknown."""
    return None if area is None or not size else round(area / (size[0] * size[1]), AREA_DIGITS)


def iso_date(text: Id) -> str | None:
    """Return a date and time in ISO 8601, with ``T``, or None for none.

    Raises :class:`ValueError` for a text that is neither.
    """
    if not isinstance(text, str) or not text.strip():
        return None
    return datetime.fromisoformat(text.strip().replace("/", "-")).isoformat()


def plain_id(value: Id) -> int | str | None:
    """Return an id as it is written; a number that a catalogue cannot hold becomes text."""
    number = value if isinstance(value, str) else comparable(value)
    return str(number) if isinstance(number, int) and not _fits(number) else number


def _number(value: Id) -> int | None:
    """Return a whole number, which some tools write as text."""
    number = comparable(value)
    return number if isinstance(number, int) and _fits(number) else None


def _fits(number: int) -> bool:
    """Tell whether a catalogue can hold a number."""
    return -(2**63) <= number < 2**63
