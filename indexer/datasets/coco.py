"""COCO: images described by an annotation file in JSON."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from indexer.datasets.base import Listing
from indexer.datasets.files import add_file, is_below, read_file, require_folder
from indexer.errors import DatasetError, ImageGone


# The fields of the format that are used; all others are ignored.
@dataclass(slots=True)
class _Image:
    id: int | str
    file_name: str


@dataclass(slots=True)
class _Annotation:
    image_id: int | str
    category_id: int | str | None = None
    caption: str | None = None


@dataclass(slots=True)
class _Category:
    id: int | str
    name: str


@dataclass(slots=True)
class _Annotations:
    images: list[_Image]
    annotations: list[_Annotation] = field(default_factory=list)
    categories: list[_Category] = field(default_factory=list)


class Coco:
    """The images that a COCO annotation file names, in their folder.

    A key is ``file_name``, the path below the folder. Metadata is ``coco_id`` and, where the file
    has them, ``captions`` and ``categories`` (names, each once). Format: https://cocodataset.org/#format-data
    """

    def __init__(self, root: Path, annotations: Path) -> None:
        self._root = root
        self._file = annotations

    @property
    def source(self) -> str:
        """The annotation file and the folder."""
        return f"{self._file}, images in {self._root}"

    def scan(self) -> Listing:
        """List the images of the annotation file; one that is not on disk is unreadable."""
        require_folder(self._root)
        content = self._load()
        metadata = _metadata(content)
        listing, seen = Listing(), set[str]()
        for image in content.images:
            key = image.file_name
            if key in seen:
                listing.ignored["listed twice"] += 1
                continue
            seen.add(key)
            if is_below(key):
                add_file(listing, self._root / key, key, metadata[image.id])
            else:
                listing.unreadable[key] = "the path leads out of the image folder"
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        if not is_below(key):
            raise ImageGone(f"{key} is outside the image folder.")
        return read_file(self._root / key, key)

    def _load(self) -> _Annotations:
        try:
            return TypeAdapter(_Annotations).validate_json(self._file.read_bytes())
        except OSError as error:
            problem = error.strerror
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            location = ".".join(str(part) for part in first["loc"])
            problem = f"{location}: {first['msg']}" if location else first["msg"]
        raise DatasetError(
            f"The annotation file {self._file} cannot be used: {problem}.",
            "Name a COCO JSON file with images in dataset.annotations.",
        )


def _metadata(content: _Annotations) -> dict[int | str, dict[str, Any]]:
    """Return the metadata of each image, by image id."""
    metadata: dict[int | str, dict[str, Any]] = {
        image.id: {"coco_id": image.id} for image in content.images
    }
    names = {category.id: category.name for category in content.categories}
    for annotation in content.annotations:
        about = metadata.get(annotation.image_id)
        if about is None:
            continue
        if annotation.caption is not None:
            about.setdefault("captions", []).append(annotation.caption.strip())
        name = names.get(annotation.category_id) if annotation.category_id is not None else None
        if name is not None and name not in about.setdefault("categories", []):
            about["categories"].append(name)
    return metadata
