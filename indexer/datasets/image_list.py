"""A text file that lists image files."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from indexer.datasets.base import Listing
from indexer.datasets.files import add_file, name_on_disk, read_file
from indexer.errors import DatasetError
from indexer.text import decode, spellings

LINE_END = re.compile("\r\n|\n|\r")  # str.splitlines() knows more, which names may hold
WHITE_SPACE = " \t\f\v"


def names_in(text: str) -> Iterator[str]:
    """Yield the names in the text of a list: its lines without blank ones and comments."""
    for line in LINE_END.split(text):
        name = line.strip(WHITE_SPACE)
        if name and not name.startswith("#"):
            yield name


class ImageList:
    """The image files named in a text file, one path per line.

    Paths are relative to the list's folder. They may lead out of it and may be absolute, as the
    author of the list is trusted. Blank lines and lines that begin with ``#`` are ignored. The text
    is UTF-8, or UTF-16 with a byte order mark. A key is the path relative to the list's folder, or
    the absolute path of a file elsewhere, as it is spelt on disk.
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
        listing, seen = Listing(), set[str]()
        for name in names_in(self._text()):
            names = list(dict.fromkeys(map(self._key, spellings(name))))
            key = name_on_disk(listing, names, self._path)
            if key in seen:
                listing.ignored["listed twice"] += 1
            else:
                seen.add(key)
                add_file(listing, self._path(key), key)
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        return read_file(Path(self._path(key)), key)

    def _text(self) -> str:
        try:
            return decode(self._file.read_bytes(), keep_invalid=True)
        except (OSError, ValueError) as error:
            problem = error.strerror if isinstance(error, OSError) else error
        raise DatasetError(
            f"The image list {self._file} cannot be read: {problem}.",
            "Name a text file with the path of one image per line in dataset.root.",
        )

    def _path(self, key: str) -> str:
        return os.path.join(self._folder, key)  # noqa: PTH118 -- for every line; Path is slow

    def _key(self, line: str) -> str:
        path = os.path.normpath(self._path(line))
        below = self._folder.rstrip("/") + "/"
        return path.removeprefix(below) if path.startswith(below) else path
