"""One annotation file: the images it lists, and what its annotations say of them."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from msgspec import Raw

from indexer.datasets.base import Listing
from indexer.datasets.coco.boxes import usable_box
from indexer.datasets.coco.dialects import (
    USUAL_HINT,
    folders_of,
    in_words,
    refusal,
    split_of_file,
)
from indexer.datasets.coco.fields import Category, Fields, iso_date
from indexer.datasets.coco.formats import (
    NULL,
    Annotation,
    Id,
    Image,
    Named,
    R,
    Segment,
    comparable,
    records,
    split_file,
    split_list,
)
from indexer.errors import DatasetError
from indexer.text import as_utf8, storable

KeyOf = Callable[[Image, list[str], str], str | None]
"""Returns the key of an image, or None if it has none, given the folders that may hold it and its
place in the file."""
ANOTHER_BOX = "boxes with the id of another one in the picture"
Key = int | str | None
"""A comparable id; None is that of nothing."""


class AnnotationFile:
    """A COCO file. ``label`` names it in messages. What it says in vain goes to the listing.

    With ``boxes`` those of its annotations are kept, too.
    """

    def __init__(self, path: Path, label: str, listing: Listing, *, boxes: bool = False) -> None:
        self._path = path
        self._label = label
        self._listing = listing
        self._boxes = boxes
        self._split = split_of_file(path)
        self._images: dict[Key, list[Fields]] = {}
        self._lists: dict[str, list[Raw]] = {}

    def read(self, key_of: KeyOf) -> dict[str, Fields]:
        """Return what the file says of each image, by key.

        Raises :class:`DatasetError` if it is no COCO file.
        """
        self._load()
        categories = self._categories()
        found = self._read_images(key_of)
        if self._lists["images"] and not found:
            self._refuse("none of its images has a file_name that can be used")
        seen = set[int]()
        for place, record in self._records("annotations", Annotation):
            if _is_repeated(record, seen):
                self._listing.pass_over("annotations listed twice", place)
            else:
                self._annotate(record, categories, place)
        self._lists.clear()
        return found

    def _load(self) -> None:
        """Split the file into its lists; only that of the images has to be there."""
        try:
            fields = split_file(as_utf8(self._path.read_bytes()), self._label, self._listing)
        except OSError as error:
            self._refuse(str(error.strerror))
        except ValueError as error:
            self._refuse(*refusal(self._path) or (str(error),))
        if fields.get("images", NULL) == NULL:
            self._refuse(f"it has no list of images, but {in_words(fields)}")
        for name in ("images", "annotations", "categories"):
            values = split_list(fields.get(name, NULL))
            if values is None:
                self._refuse(f"it has no list of {name}")
            self._lists[name] = values
        self._lists["licenses"] = split_list(fields.get("licenses", NULL)) or []

    def _records(self, name: str, kind: type[R]) -> Iterator[tuple[str, R]]:
        return records(f"{self._label}: {name}", self._lists[name], kind, self._listing)

    def _read_images(self, key_of: KeyOf) -> dict[str, Fields]:
        licences = {
            comparable(record.id): record.name for _, record in self._records("licenses", Named)
        }
        found: dict[str, Fields] = {}
        for place, image in self._records("images", Image):
            folders = folders_of(image, self._split)
            key = key_of(image, folders, place)
            if key is None:
                continue
            if key in found:
                self._listing.pass_over("listed twice", f"{key} ({place})")
            else:
                found[key] = Fields(
                    image,
                    split=image.split or next(iter(folders), None),
                    captured=self._captured(image, place),
                    licence=licences.get(comparable(image.license)),
                )
            for sentence in image.sentences or ():
                found[key].add_caption(sentence.raw or "")
            self._name(image.id, found[key], place)
        return found

    def _captured(self, image: Image, place: str) -> str | None:
        try:
            return iso_date(image.date_captured)
        except ValueError:
            self._listing.pass_over("dates that are not in ISO 8601", place)
            return None

    def _name(self, image_id: Id, fields: Fields, place: str) -> None:
        """Let annotations find an image by its id."""
        name = comparable(image_id)
        if name is None:
            return
        known = self._images.setdefault(name, [])
        if any(other is fields for other in known):
            return
        if known:
            self._listing.pass_over("images with the id of another one", place)
        known.append(fields)

    def _categories(self) -> dict[Key, Category]:
        """Return the categories by id."""
        found: dict[Key, Category] = {}
        for place, record in self._records("categories", Named):
            category_id, repairs = comparable(record.id), set[str]()
            category = Category(*storable([record.name, record.supercategory], repairs))
            for repair in repairs:
                self._listing.pass_over(f"categories with {repair}", place)
            if category_id is None or not category.name:
                self._listing.pass_over("categories without id and name", place)
            elif found.setdefault(category_id, category).name != category.name:
                self._listing.pass_over("categories with the id of another one", place)
        return found

    def _annotate(self, record: Annotation, categories: dict[Key, Category], place: str) -> None:
        """Add what an annotation says, or pass over what it says of nothing that is listed."""
        images = self._images.get(comparable(record.image_id))
        if images is None:
            self._listing.pass_over("annotations of no image in the list", place)
            return
        if record.caption is not None:
            for fields in images:
                fields.add_caption(record.caption)
        for thing in record.segments_info or (record,):
            category = categories.get(comparable(thing.category_id))
            if category is None and thing.category_id is not None:
                self._listing.pass_over("annotations of no category in the list", place)
                continue
            for fields in images:
                if category is not None:
                    fields.add_thing(thing, category)
                if self._boxes:
                    self._add_box(thing, category, fields, place)

    def _add_box(
        self, thing: Segment, category: Category | None, fields: Fields, place: str
    ) -> None:
        box = usable_box(thing, category)
        if box is None:
            if thing.bbox is not None:
                self._listing.pass_over("boxes that are not four numbers", place)
        elif not fields.add_box(comparable(thing.id), box):
            self._listing.pass_over(ANOTHER_BOX, place)

    def _refuse(self, problem: str, hint: str = USUAL_HINT) -> NoReturn:
        raise DatasetError(
            f"The annotation file {self._path} cannot be used: {problem}.", hint
        ) from None


def _is_repeated(record: Annotation, seen: set[int]) -> bool:
    """Tell whether the same annotation came before. ``seen`` holds hashes, which are small."""
    if record.id is None:
        return False
    what = hash((record.id, record.image_id, record.category_id, record.caption))
    if what in seen:
        return True
    seen.add(what)
    return False
