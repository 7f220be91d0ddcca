"""Image files on disk: recognise their names, find and read them."""

import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from indexer.datasets.base import Item, Listing
from indexer.datasets.exclusion import Exclusion
from indexer.datasets.walk import is_empty, is_visible
from indexer.errors import DatasetError, ImageGone, ImageTooLarge, ImageUnreadable
from indexer.images import NOT_READ, SUFFIXES
from indexer.text import escaped, is_text

MAX_FILE_BYTES = 500_000_000
"""Larger files are not read: photographs are smaller, and several are in memory at once."""

_PICTURES = SUFFIXES | NOT_READ.keys()

NOT_UTF8 = "the name is not valid UTF-8"
POINTERS = (b"version https://git-lfs.github.com/spec/", b"/annex/objects/")
"""How the files begin that stand for a content elsewhere:
https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md and
https://git-annex.branchable.com/internals/pointer_file/."""

GONE_HINT = "Put it back, or run `lookalike index` again."


def ignored_as(name: str) -> str | None:
    """Return the heading under which a file is ignored, or None if it may be an image.

    A file may be an image if it has an image's ending, or none; the decoder checks its content.
    """
    if not is_visible(name):
        return "hidden"
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122 -- called for every file of a source
    return escaped(suffix) if suffix and suffix not in _PICTURES else None


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


def require_contents(roots: Iterable[Path], exclude: Exclusion) -> None:
    """Raise :class:`DatasetError` if one of several folders is empty: its disk may be away."""
    for root in roots:
        if root.is_dir() and is_empty(root, exclude):
            raise DatasetError(
                f"The image folder {root} is empty.",
                "If its disk is not mounted, mount it; else take it out of dataset.root.",
            )


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
        item = Item(key, found.st_size, found.st_mtime_ns, metadata or {}, revision_of(found))
        listing.items.append(item)
    else:
        listing.unreadable[key] = "it is not a regular file"


def name_on_disk(
    listing: Listing, names: Sequence[str], path_of: Callable[[str], "str | os.PathLike[str]"]
) -> str:
    """Return the first of a file's possible names that exists, or the first, as its key.

    The others are noted for a file that is missing: one of them may be known.
    """
    if len(names) == 1:
        return names[0]
    key = next((name for name in names if os.path.lexists(path_of(name))), None)
    if key is None:
        key, *others = names
        listing.spellings[key] = others
    return key


def revision_of(found: os.stat_result) -> str:
    """Return what changes whenever a file is written or replaced: its change time and inode number.

    Programs set the modification time as they like, ``cp -p``, ``rsync -t`` and ``exiftool -P`` to
    what it was before, but not the change time. Two folders that exchange their names change
    neither, nor does a file system without change times; there the inode number differs. Renaming
    a file, its permissions and a restored backup change them as well, so that the content must
    tell.
    """
    return f"{found.st_ctime_ns}-{found.st_ino}"


def read_file(path: Path, key: str) -> bytes:
    """Return the bytes of an image file, with the errors of :meth:`Dataset.read`.

    A file that changes meanwhile is unreadable: its bytes may be of two pictures.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for a writer
            raise ImageUnreadable(f"{key} is not a regular file.", GONE_HINT)
        with path.open("rb") as file:
            before = os.fstat(file.fileno())
            check_size(before.st_size, key)
            data = file.read()
            after = os.fstat(file.fileno())
    except (OSError, ValueError) as error:
        kind = ImageGone if isinstance(error, FileNotFoundError) else ImageUnreadable
        message = f"The image file {key} cannot be read: {reason_of(error)}."
        raise kind(message, GONE_HINT) from None
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise ImageUnreadable(
            f"The image file {key} changed while it was read.", "Run `lookalike index` again."
        )
    if data.startswith(POINTERS):
        raise ImageUnreadable(
            "The file is a pointer of Git LFS or git-annex; its content is not on this disk.",
            "Fetch it: git lfs pull, or git annex get.",
        )
    return data


def check_size(size: int, key: str) -> None:
    """Raise :class:`ImageTooLarge` beyond :data:`MAX_FILE_BYTES`."""
    if size > MAX_FILE_BYTES:
        raise too_large(key)


def too_large(key: str) -> ImageTooLarge:
    """Return the error of a file of more than :data:`MAX_FILE_BYTES`."""
    return ImageTooLarge(
        f"The file {key} is larger than {MAX_FILE_BYTES // 10**6:,} MB.", "Make it smaller."
    )


def reason_of(error: OSError | ValueError) -> str:
    """Return what is wrong with a file; a ValueError means a zero byte in its path."""
    if isinstance(error, ValueError):
        return "there is a zero byte in the path"
    return error.strerror or str(error)


def is_below(key: str) -> bool:
    """Tell whether a relative path stays below the folder it is relative to."""
    return not key.startswith("/") and ".." not in key.split("/")


def _is_deleted(path: Path) -> bool:
    """Tell whether a missing file was deleted; else its disk may be away.

    A link that leads nowhere may lead to a disk that is away, and a folder that is empty or does
    not exist may be its mount point.
    """
    try:
        return not path.is_symlink() and not is_empty(path.parent)
    except OSError:
        return False
