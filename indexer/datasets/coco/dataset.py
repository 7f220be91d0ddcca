"""The images that COCO's annotation files name."""

import os
from collections import Counter
from functools import cache
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.boxes import key_of_box
from indexer.datasets.coco.annotation_file import ANOTHER_BOX, AnnotationFile
from indexer.datasets.coco.boxes import Boxes
from indexer.datasets.coco.dialects import paths_of
from indexer.datasets.coco.fields import Fields
from indexer.datasets.coco.formats import Image
from indexer.datasets.files import add_file, is_below, name_on_disk, read_file, require_folder
from indexer.errors import DatasetError, ImageGone
from indexer.text import escaped


class Coco:
    """The images that annotation files of COCO name, in their folder, with metadata.

    A key is ``file_name``, the path below the folder, as it is spelt on disk; below a folder that
    holds one for each split it begins with the split's: ``train2017/000000000009.jpg``. What
    several files say of one image is merged. A record that cannot be used costs that record.

    With ``boxes`` the boxes of annotations are the items, in place of the images.
    """

    def __init__(self, root: Path, *files: Path, boxes: Boxes | None = None) -> None:
        self._root = root
        self._files = files
        self._boxes = boxes

    @property
    def source(self) -> str:
        """The annotation files and the folder."""
        return f"{', '.join(map(str, self._files))}, images in {self._root}"

    def scan(self) -> Listing:
        """List the images of the annotation files, or their boxes.

        An image that is not on disk is unreadable, or all of its boxes; so is a record without a
        name, under its place in the file.
        """
        require_folder(self._root)
        listing = Listing()
        images = self._read(listing)
        annotated = any(fields.is_annotated for fields in images.values())
        for key in list(images):
            fields, repairs = images.pop(key), set[str]()
            if self._boxes:
                self._boxes.add(listing, self._path(key), key, fields, repairs)
            else:
                add_file(listing, self._path(key), key, fields.metadata(repairs))
                if key in listing.deleted or key in listing.doubtful:
                    listing.pass_over("images that are not on disk", key)
                elif annotated and not fields.is_annotated:
                    listing.pass_over("images without annotations (indexed)", key)
            for repair in repairs:
                listing.pass_over(f"metadata with {repair}", key)
        if self._boxes and not listing.items and not listing.unreadable:
            raise DatasetError(
                f"There are no boxes to index in {self.source}: {_in_words(listing)}.",
                "Name an annotation file with boxes, such as instances_train2017.json, or set "
                "dataset.items: images.",
            )
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        if not is_below(key):
            raise ImageGone(f"{key} is outside the image folder.")
        return read_file(Path(self._path(key)), key)

    def _read(self, listing: Listing) -> dict[str, Fields]:
        """Return what the annotation files say of each image, by key."""

        @cache
        def is_there(folder: str) -> bool:
            return os.path.lexists(self._path(folder))

        def key_of(image: Image, folders: list[str], place: str) -> str | None:
            paths = paths_of(image, folders, is_there)
            if not paths:
                listing.unreadable[escaped(place)] = "it has no file_name"
                return None
            below = [path for path in paths if is_below(path)]
            if not below:
                listing.unreadable[escaped(paths[0])] = "the path leads out of the image folder"
                return None
            return name_on_disk(listing, below, self._path)

        images: dict[str, Fields] = {}
        for file, label in zip(self._files, self._labels(), strict=True):
            annotations = AnnotationFile(file, label, listing, boxes=self._boxes is not None)
            for key, fields in annotations.read(key_of).items():
                if key not in images:
                    images[key] = fields
                    continue
                for name in images[key].merge(fields):
                    listing.pass_over(ANOTHER_BOX, key_of_box(key, name))
        return images

    def _path(self, key: str) -> str:
        return os.path.join(self._root, key)  # noqa: PTH118 -- for every image; Path is slow

    def _labels(self) -> list[str]:
        """Return short names of the files for messages: with the folder if names are equal."""
        count = Counter(file.name for file in self._files)
        return [
            file.name if count[file.name] == 1 else f"{file.parent.name}/{file.name}"
            for file in self._files
        ]


def _in_words(listing: Listing) -> str:
    """Return what was passed over, for a message."""
    return ", ".join(f"{count:,} {what}" for what, count in listing.ignored.items()) or "no images"
