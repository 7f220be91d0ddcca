"""A text file that lists image files."""

import os
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.files import add_file, read_file
from indexer.errors import DatasetError


class ImageList:
    """The image files named in a text file, one path per line.

    Paths are relative to the list's folder. They may lead out of it and may be absolute, as the
    author of the list is trusted. Blank lines and lines that begin with ``#`` are ignored. A key is
    the path relative to the list's folder, or the absolute path of a file elsewhere.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._folder = str(file.parent)

    @property
    def source(self) -> str:
        """The list's path."""
        return str(self._file)

    def scan(self) -> Listing:
        """List every named file, whatever its ending; a missing one is unreadable."""
        try:
            lines = self._file.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
        except OSError as error:
            raise DatasetError(
                f"The image list {self._file} cannot be read: {error.strerror}.",
                "Name a text file with the path of one image per line in dataset.root.",
            ) from None
        listing, seen = Listing(), set[str]()
        for line in map(bytes.strip, lines):
            if not line or line.startswith(b"#"):
                continue
            key = self._key(os.fsdecode(line))
            if key in seen:
                listing.ignored["listed twice"] += 1
            else:
                seen.add(key)
                add_file(listing, self._path(key), key)
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        return read_file(Path(self._path(key)), key)

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, key)  # noqa: PTH118 -- for every line; Path is slow

    def _key(self, line: str) -> str:
        path = os.path.normpath(self._path(line))
        below = self._folder.rstrip("/") + "/"
        return path.removeprefix(below) if path.startswith(below) else path
