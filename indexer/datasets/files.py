"""Image files on disk: recognise their names, walk folders, read files."""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexer.datasets.base import Item, Listing
from indexer.errors import DatasetError, ImageGone, ImageTooLarge, ImageUnreadable
from indexer.images import SUFFIXES

UNREADABLE_FORMATS = frozenset((".heic", ".heif", ".jxl", ".jp2", ".svg"))
"""Endings of image formats that cannot be read; such files are skipped, not ignored."""

MAX_FILE_BYTES = 500_000_000
"""Larger files are not read: photographs are smaller, and several are in memory at once."""

EMPTY_FOLDER = "the folder is empty"
DANGLING_LINK = "the link leads nowhere"
NOT_UTF8 = "the name is not valid UTF-8"
GONE_HINT = "Put it back, or run `lookalike index` again."


def ignored_as(name: str) -> str | None:
    """Return the heading under which a file is ignored, or None if it may be an image.

    A file may be an image if it has an image's ending, or none; the decoder checks its content.
    """
    if name.startswith("."):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 -- called for every file of a source
    return suffix if suffix and suffix not in SUFFIXES | UNREADABLE_FORMATS else None


def require_folder(root: Path) -> None:
    """Raise :class:`DatasetError` unless the folder exists and can be listed."""
    if not root.is_dir():
        raise DatasetError(
            f"The image folder {root} does not exist.",
            "Name a folder with images: lookalike index FOLDER, or dataset.root in config.yaml.",
        )
    try:
        os.scandir(root).close()
    except OSError as error:
        raise DatasetError(
            f"The image folder {root} cannot be listed: {error.strerror}.",
            "Check its permissions.",
        ) from None


def require_contents(roots: Iterable[Path]) -> None:
    """Raise :class:`DatasetError` if one of several folders is empty: its disk may be away."""
    for root in roots:
        if root.is_dir() and is_empty(root):
            raise DatasetError(
                f"The image folder {root} is empty.",
                "If its disk is not mounted, mount it; else take it out of dataset.root.",
            )


def walk(
    roots: Sequence[tuple[Path, str]], listing: Listing
) -> Iterator[tuple["os.DirEntry[str]", str]]:
    """Yield every file below the roots with its key, which begins with the prefix of its root.

    Hidden folders are ignored. Links are followed, but each folder is visited once, which breaks
    cycles. Folders that cannot be listed go to ``listing.unreadable``, those that are empty and
    links that lead nowhere to ``listing.doubtful``.
    """
    visited: set[tuple[int, int]] = set()
    folders, linked = list(roots), list[tuple[Path, str]]()
    while folders or linked:  # a folder's own path is preferred to links
        folder, prefix = (folders or linked).pop()
        try:
            found = folder.stat()
            if (found.st_dev, found.st_ino) in visited:
                continue
            visited.add((found.st_dev, found.st_ino))
            entries = list(os.scandir(folder))
        except OSError as error:
            listing.unreadable[escaped(prefix)] = error.strerror or "unreadable folder"
            continue
        if prefix and not any(_is_visible(entry.name) for entry in entries):
            listing.doubtful[prefix] = EMPTY_FOLDER
        for entry in sorted(entries, key=lambda entry: entry.name, reverse=True):
            key = prefix + entry.name
            if not _is_folder(entry):
                if entry.is_symlink() and not os.path.exists(entry):  # noqa: PTH110 -- no Path
                    listing.doubtful[key + "/"] = DANGLING_LINK
                yield entry, key
            elif not entry.name.startswith("."):
                (linked if entry.is_symlink() else folders).append((Path(entry.path), key + "/"))


def add_file(
    listing: Listing,
    path: "str | os.PathLike[str]",
    key: str,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Add a file to the listing, as an item, or as unreadable with the reason."""
    if not is_text(key):
        listing.unreadable[escaped(key)] = NOT_UTF8
        return
    try:
        found = os.stat(path)  # noqa: PTH116 -- an entry of a folder is no Path, and there are many
    except (OSError, ValueError) as error:
        listing.unreadable[key] = reason_of(error)
        if isinstance(error, FileNotFoundError):
            if _is_deleted(Path(path)):
                listing.deleted.add(key)
            else:
                listing.doubtful[key] = reason_of(error)
        return
    if stat.S_ISREG(found.st_mode):
        listing.items.append(Item(key, found.st_size, found.st_mtime_ns, metadata or {}))
    else:
        listing.unreadable[key] = "it is not a regular file"


def read_file(path: Path, key: str) -> bytes:
    """Return the bytes of an image file, with the errors of :meth:`Dataset.read`."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # opening a pipe would wait for a writer
            raise ImageUnreadable(f"{key} is not a regular file.", GONE_HINT)
        check_size(found.st_size, key)
        return path.read_bytes()
    except (OSError, ValueError) as error:
        kind = ImageGone if isinstance(error, FileNotFoundError) else ImageUnreadable
        message = f"The image file {key} cannot be read: {reason_of(error)}."
        raise kind(message, GONE_HINT) from None


def check_size(size: int, key: str) -> None:
    """Raise :class:`ImageTooLarge` beyond :data:`MAX_FILE_BYTES`."""
    if size > MAX_FILE_BYTES:
        raise ImageTooLarge(
            f"The file {key} is larger than {MAX_FILE_BYTES // 10**6:,} MB.", "Make it smaller."
        )


def escaped(key: str) -> str:
    """Return a key as valid Unicode, with hexadecimal escapes for invalid UTF-8."""
    return os.fsencode(key).decode("utf-8", "backslashreplace")


def is_text(key: str) -> bool:
    """Tell whether a name is valid Unicode, without surrogates for invalid UTF-8."""
    return key.isascii() or escaped(key) == key


def reason_of(error: OSError | ValueError) -> str:
    """Return what is wrong with a file; a ValueError means a zero byte in its path."""
    if isinstance(error, ValueError):
        return "there is a zero byte in the path"
    return error.strerror or str(error)


def is_below(key: str) -> bool:
    """Tell whether a relative path stays below the folder it is relative to."""
    return not Path(key).is_absolute() and ".." not in Path(key).parts


def is_empty(folder: Path) -> bool:
    """Tell whether a folder holds nothing but hidden files, as a mount point without its disk."""
    with os.scandir(folder) as entries:
        return not any(_is_visible(entry.name) for entry in entries)


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _is_deleted(path: Path) -> bool:
    """Tell whether a missing file was deleted; else its disk may be away.

    A link that leads nowhere may lead to a disk that is away, and a folder that is empty or does
    not exist may be its mount point.
    """
    try:
        return not path.is_symlink() and not is_empty(path.parent)
    except OSError:
        return False


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself; add_file() reports the reason
        return False
