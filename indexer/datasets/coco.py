"""COCO: images described by an annotation file in JSON."""

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote, urlsplit

from indexer.datasets.base import Listing
from indexer.datasets.files import add_file, is_below, name_on_disk, read_file, require_folder
from indexer.errors import DatasetError, ImageGone
from indexer.text import escaped, parse_json, spellings, storable

LISTS = ("images", "annotations", "categories")
FIELDS = frozenset(
    (*LISTS, "id", "file_name", "coco_url", "image_id", "category_id", "caption", "name")
)
"""The fields of the format that are used; all others are dropped while the file is parsed."""

Record = dict[str, Any]


class Coco:
    """The images that a COCO annotation file names, in their folder.

    A key is ``file_name``, the path below the folder, as it is spelt on disk. Files of LVIS have
    ``coco_url`` instead: its path, or the last name of that, is then the key. Metadata is
    ``coco_id`` and, where the file has them, ``captions`` and ``categories`` (names, each once). A
    record that cannot be used costs that record. Format: https://cocodataset.org/#format-data
    """

    def __init__(self, root: Path, annotations: Path) -> None:
        self._root = root
        self._file = annotations

    @property
    def source(self) -> str:
        """The annotation file and the folder."""
        return f"{self._file}, images in {self._root}"

    def scan(self) -> Listing:
        """List the images of the annotation file; one that is not on disk is unreadable.

        A record without a name is unreadable, too, under its place in the file. What is said of a
        file that is listed twice is merged.
        """
        require_folder(self._root)
        listing, content = Listing(), self._load()
        metadata: dict[str, Record] = {}
        described = _Described(_names_of_categories(content["categories"], listing))
        for place, record in _records(content, "images"):
            key = self._key(record, place, listing)
            if key is None:
                continue
            if key in metadata:
                listing.pass_over("listed twice", f"{key} ({place})")
            described.add(record, metadata.setdefault(key, {}), place, listing)
        if content["images"] and not metadata:
            self._refuse("none of its images has a file_name that can be used")
        for place, record in _records(content, "annotations"):
            described.annotate(record, place, listing)
        for key, values in metadata.items():
            repairs = set[str]()
            add_file(listing, self._root / key, key, storable(values, repairs))
            for repair in repairs:
                listing.pass_over(f"metadata with {repair}", key)
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        if not is_below(key):
            raise ImageGone(f"{key} is outside the image folder.")
        return read_file(self._root / key, key)

    def _key(self, record: Record, place: str, listing: Listing) -> str | None:
        """Return the path of a record's file below the folder, or None if it is unreadable."""
        names = _names_of_file(record)
        if not names:
            listing.unreadable[f"{escaped(self._file.name)}: {place}"] = "it has no file_name"
            return None
        below = list(dict.fromkeys(posixpath.normpath(name) for name in names if is_below(name)))
        if not below:
            listing.unreadable[escaped(names[0])] = "the path leads out of the image folder"
            return None
        return name_on_disk(listing, below, self._root.joinpath)

    def _load(self) -> dict[str, list[Any]]:
        """Return the lists of the annotation file; only that of the images has to be there."""
        try:
            content = parse_json(self._file.read_bytes(), _used_fields)
        except OSError as error:
            self._refuse(str(error.strerror))
        except ValueError as error:
            self._refuse(str(error))
        if not isinstance(content, dict):
            self._refuse("it is no JSON object")
        for name in LISTS:
            if content.get(name) is None and name != "images":
                content[name] = []
            if not isinstance(content.get(name), list):
                self._refuse(f"it has no list of {name}")
        return content

    def _refuse(self, problem: str) -> NoReturn:
        raise DatasetError(
            f"The annotation file {self._file} cannot be used: {problem}.",
            "Name a COCO JSON file with images in dataset.annotations.",
        ) from None


class _Described:
    """What annotations say of images: it is added to the metadata of the image they name.

    Ids are compared as text, as some tools write numbers in one list and text in the other.
    """

    def __init__(self, categories: dict[str, str]) -> None:
        self._categories = categories
        self._images: dict[str, list[Record]] = {}

    def add(self, image: Record, metadata: Record, place: str, listing: Listing) -> None:
        """Add the metadata of an image, which annotations name by its id."""
        name = _id(image.get("id"))
        if name is None:
            return
        metadata.setdefault("coco_id", image["id"])
        known = self._images.setdefault(name, [])
        if any(other is metadata for other in known):
            return
        if known:
            listing.pass_over("images with the id of another one", place)
        known.append(metadata)

    def annotate(self, record: Record, place: str, listing: Listing) -> None:
        """Add what an annotation says, or pass over what it says of nothing that is listed."""
        image, caption, category = map(record.get, ("image_id", "caption", "category_id"))
        images = self._images.get(_id(image) or "")
        if images is None:
            listing.pass_over("annotations of no image in the list", place)
            return
        if isinstance(caption, str):
            for metadata in images:
                metadata.setdefault("captions", []).append(caption.strip())
        elif caption is not None:
            listing.pass_over("annotations whose caption is no text", place)
        name = self._categories.get(_id(category) or "")
        if name is not None:
            for metadata in images:
                if name not in metadata.setdefault("categories", []):
                    metadata["categories"].append(name)
        elif category is not None:
            listing.pass_over("annotations of no category in the list", place)


def _used_fields(record: Record) -> Record:
    return {name: value for name, value in record.items() if name in FIELDS}


def _records(content: dict[str, list[Any]], name: str) -> Iterator[tuple[str, Record]]:
    """Yield the records of a list, each with its place; one that is no object is empty."""
    for number, record in enumerate(content[name]):
        yield f"{name}[{number}]", record if isinstance(record, dict) else {}


def _names_of_categories(records: list[Any], listing: Listing) -> dict[str, str]:
    """Return the names of the categories by id, as text."""
    names: dict[str, str] = {}
    for place, record in _records({"categories": records}, "categories"):
        category, name = _id(record.get("id")), record.get("name")
        if category is None or not isinstance(name, str):
            listing.pass_over("categories without id and name", place)
        elif names.setdefault(category, name) != name:
            listing.pass_over("categories with the id of another one", place)
    return names


def _names_of_file(record: Record) -> list[str]:
    """Return the names that the file of an image can have."""
    name, url = record.get("file_name"), record.get("coco_url")
    if isinstance(name, str) and name:
        return spellings(name)
    try:
        path = unquote(urlsplit(url).path).lstrip("/") if isinstance(url, str) else ""
    except ValueError:  # no URL
        return []
    return [*spellings(path), *spellings(posixpath.basename(path))] if path else []


def _id(value: object) -> str | None:
    """Return an id as text, or None if it is neither text nor a whole number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value) or None
