"""A folder of images, searched recursively."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from indexer.errors import DatasetError, ImageGone, ImageTooLarge
from indexer.images import SUFFIXES

UNREADABLE_FORMATS = frozenset((".heic", ".heif", ".jxl", ".jp2", ".svg"))
"""Endings of image formats that are not read: accounted for as skipped, not silently ignored."""

MAX_FILE_BYTES = 500_000_000
"""Larger files are not read: no photograph, and several are in memory at once."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image file: ``key`` is its path relative to the root, with ``/`` between folders."""

    key: str
    size: int
    mtime_ns: int


@dataclass(slots=True)
class Listing:
    """What a scan found: image files in order of their keys, and what was passed over."""

    items: list[Item] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """How many files were passed over, by ending: not images by their name, or hidden."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Files and folders (with / at the end) that could not be looked at: reason by key."""


class Folder:
    """The image files below ``root``.

    A file counts as an image by its ending (or by having none); what is really in it decides the
    decoder. Hidden files are passed over. Links are followed, each folder once.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def scan(self) -> Listing:
        """List the image files. Raises :class:`DatasetError` if there is no such folder."""
        if not self.root.is_dir():
            raise DatasetError(
                f"The image folder {self.root} does not exist.",
                "Name a folder with images: make index IMAGES=<folder>, or dataset.root in "
                "config.yaml.",
            )
        try:
            os.scandir(self.root).close()
        except OSError as error:
            raise DatasetError(
                f"The image folder {self.root} cannot be listed: {error.strerror}.",
                "Check its permissions.",
            ) from None
        listing = Listing()
        for entry, key in self._walk(listing):
            suffix = Path(entry.name).suffix.lower()
            if entry.name.startswith("."):
                listing.ignored["hidden"] += 1
            elif suffix in SUFFIXES or suffix in UNREADABLE_FORMATS or not suffix:
                self._add(entry, key, listing)
            else:
                listing.ignored[suffix] += 1
        listing.items.sort(key=lambda item: item.key)
        for item in listing.items:  # a valid name may look like an escaped one
            listing.unreadable.pop(item.key, None)
        return listing

    def read(self, key: str) -> bytes:
        """Return the bytes of the file ``key``. Raises ImageGone or ImageTooLarge."""
        path = self.root / key
        if Path(key).is_absolute() or ".." in Path(key).parts:
            raise ImageGone(f"{key} is outside the image folder.")
        try:
            if path.stat().st_size > MAX_FILE_BYTES:
                raise ImageTooLarge(
                    f"The file {key} is larger than {MAX_FILE_BYTES // 10**6:,} MB.",
                    "Make it smaller.",
                )
            return path.read_bytes()
        except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageGone(
                f"The image file {key} cannot be read: {reason}.",
                "Put it back, or run make index again.",
            ) from None

    def _walk(self, listing: Listing) -> Iterator[tuple["os.DirEntry[str]", str]]:
        """Yield every file with its key; ``visited`` breaks cycles of linked folders."""
        visited: set[tuple[int, int]] = set()
        folders, linked = [(self.root, "")], list[tuple[Path, str]]()
        while folders or linked:  # a folder's own path wins over links to it
            folder, prefix = (folders or linked).pop()
            try:
                stat = folder.stat()
                if (stat.st_dev, stat.st_ino) in visited:
                    continue
                visited.add((stat.st_dev, stat.st_ino))
                entries = list(os.scandir(folder))
            except OSError as error:
                listing.unreadable[_text(prefix)] = error.strerror or "unreadable folder"
                continue
            for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
                key = prefix + entry.name
                if not _is_folder(entry):
                    yield entry, key
                elif not entry.name.startswith("."):
                    (linked if entry.is_symlink() else folders).append(
                        (Path(entry.path), key + "/")
                    )

    @staticmethod
    def _add(entry: "os.DirEntry[str]", key: str, listing: Listing) -> None:
        if _text(key) != key:
            listing.unreadable[_text(key)] = "the file name is not valid UTF-8"
            return
        try:
            stat = entry.stat()
        except OSError as error:
            listing.unreadable[key] = error.strerror or "unreadable file"
            return
        if entry.is_file():
            listing.items.append(Item(key, stat.st_size, stat.st_mtime_ns))
        else:
            listing.ignored["special"] += 1


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that points at itself; stat() names the reason when it is added
        return False


def _text(key: str) -> str:
    """Return ``key`` as valid Unicode, with hexadecimal escapes for bytes that are not UTF-8."""
    return os.fsencode(key).decode("utf-8", "backslashreplace")
