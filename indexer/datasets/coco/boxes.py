"""Boxes of annotations as items, each with its category."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from indexer.datasets.base import Listing
from indexer.datasets.boxes import key_of_box, revision_of_box
from indexer.datasets.coco.fields import (
    NO_SUPERCATEGORY,
    AnnotatedBox,
    Category,
    Fields,
    plain_id,
    share_of,
)
from indexer.datasets.coco.formats import Segment
from indexer.datasets.files import add_file
from indexer.images import BOX_DIGITS, Box

SMALLEST = 10**-BOX_DIGITS
"""The smallest side of a region, as a share of the picture's."""

OF_THE_IMAGE = ("coco_id", "split", "licence")
"""The metadata that boxes have from their image."""


@dataclass(frozen=True, slots=True)
class Boxes:
    """Which boxes become items, and how much around them counts.

    ``margin`` is the share of a box's width and height that is added on each side, as far as the
    picture goes. Boxes with a side of less than ``min_side`` pixels within it are passed over.
    """

    margin: float = 0.0
    min_side: int = 1

    def add(self, listing: Listing, path: str, key: str, fields: Fields, repairs: set[str]) -> None:
        """Add the boxes of an image file to the listing, or count why there is none.

        Of a file that cannot be read, all boxes are unreadable.
        """
        file, others = Listing(), listing.spellings.pop(key, ())
        add_file(file, path, key)
        if file.deleted or file.doubtful:
            listing.pass_over("images that are not on disk", key)
        regions = self._regions(listing, key, fields)
        if not fields.boxes:
            listing.pass_over("images without boxes", key)
        of_the_image = fields.some(OF_THE_IMAGE, repairs)
        for name, region in regions.items():
            box_key = key_of_box(key, name)
            for item in file.items:
                metadata = of_the_image | _metadata(name, fields.boxes[name], fields)
                revision = revision_of_box(item.revision, region)
                listing.items.append(
                    replace(item, key=box_key, metadata=metadata, revision=revision, box=region)
                )
            for reason in file.unreadable.values():
                listing.unreadable[box_key] = reason
            for reason in file.doubtful.values():
                listing.doubtful[box_key] = reason
            if file.deleted:
                listing.deleted.add(box_key)
            if others:
                listing.spellings[box_key] = [key_of_box(other, name) for other in others]

    def _regions(self, listing: Listing, key: str, fields: Fields) -> dict[int | str, Box]:
        """Return the boxes that become items as fractions of the picture, by id."""
        size = fields.size
        if size is None:
            if fields.boxes:
                listing.pass_over("images with boxes, but without width and height", key)
            return {}
        found: dict[int | str, Box] = {}
        for name, box in fields.boxes.items():
            inside, box_key = _within(box.bbox, size), key_of_box(key, name)
            if inside is None:
                listing.pass_over("boxes that are empty or outside of their picture", box_key)
            elif min(inside[2:]) < self.min_side:
                listing.pass_over(f"boxes smaller than {self.min_side} pixels", box_key)
            else:
                found[name] = self._region(inside, size)
        return found

    def _region(self, box: Sequence[float], size: tuple[int, int]) -> Box:
        """Return a box with its margin, as fractions of the picture."""
        x, y, width, height = box
        beside, above = self.margin * width, self.margin * height
        wider = _within((x - beside, y - above, width + 2 * beside, height + 2 * above), size)
        assert wider is not None
        parts = zip(wider, 2 * size, strict=True)
        left, top, wide, high = (round(part / side, BOX_DIGITS) for part, side in parts)
        return Box(left, top, max(wide, SMALLEST), max(high, SMALLEST))


def usable_box(thing: Segment, category: Category | None) -> AnnotatedBox | None:
    """Return the box of an annotation, or None if it has none of four numbers."""
    if thing.bbox is None or len(thing.bbox) != 4:
        return None
    iscrowd = None if thing.iscrowd is None else bool(thing.iscrowd)
    return AnnotatedBox(tuple(thing.bbox), category, thing.area, iscrowd)


def _within(bbox: Sequence[float], size: tuple[int, int]) -> tuple[float, ...] | None:
    """Return the part of a box that is inside of the picture, or None if none is."""
    x, y, width, height = bbox
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + width, size[0]), min(y + height, size[1])
    if left >= right or top >= bottom:
        return None
    return left, top, right - left, bottom - top


def _metadata(name: int | str, box: AnnotatedBox, fields: Fields) -> dict[str, Any]:
    """Return what its annotation says of a box."""
    values: dict[str, Any] = {"annotation_id": plain_id(name)}
    if box.category:
        values["category"] = box.category.name
        if box.category.above not in NO_SUPERCATEGORY:
            values["supercategory"] = box.category.above
    if (area := share_of(box.area, fields.size)) is not None:
        values["area"] = area
    if box.iscrowd is not None:
        values["iscrowd"] = box.iscrowd
    return values
