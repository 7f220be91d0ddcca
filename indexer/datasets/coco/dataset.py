"""The images that COCO's annotation files name."""

import os
from collections import Counter
from functools import cache
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.coco.annotation_file import AnnotationFile
from indexer.datasets.coco.dialects import paths_of
from indexer.datasets.coco.fields import Fields
from indexer.datasets.coco.formats import Image
from indexer.datasets.files import add_file, is_below, name_on_disk, read_file, require_folder
from indexer.errors import ImageGone
from indexer.text import escaped


class Coco:
    """The images that annotation files of COCO name, in their folder, with metadata.

    A key is ``file_name``, the path below the folder, as it is spelt on disk; below a folder that
    holds one for each split it begins with the split's: ``train2017/000000000009.jpg``. What
    several files say of one image is merged. A record that cannot be used costs that record.
    """

    def __init__(self, root: Path, *files: Path) -> None:
        self._root = root
        self._files = files

    @property
    def source(self) -> str:
        """The annotation files and the folder."""
        return f"{', '.join(map(str, self._files))}, images in {self._root}"

    def scan(self) -> Listing:
        """List the images of the annotation files; one that is not on disk is unreadable.

        A record without a name is unreadable, too, under its place in the file.
        """
        require_folder(self._root)
        listing = Listing()
        images = self._read(listing)
        annotated = any(fields.is_annotated for fields in images.values())
        for key in list(images):
            fields, repairs = images.pop(key), set[str]()
            add_file(listing, self._path(key), key, fields.metadata(repairs))
            for repair in repairs:
                listing.pass_over(f"metadata with {repair}", key)
            if key in listing.deleted or key in listing.doubtful:
                listing.pass_over("images that are not on disk", key)
            elif annotated and not fields.is_annotated:
                listing.pass_over("images without annotations (indexed)", key)
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
            for key, fields in AnnotationFile(file, label, listing).read(key_of).items():
                if key in images:
                    images[key].merge(fields)
                else:
                    images[key] = fields
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
