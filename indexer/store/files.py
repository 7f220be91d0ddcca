"""Durable, atomic writes: after a crash a file is complete or absent."""

import errno
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Iterable, Iterator
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict

from indexer.errors import StoreCorrupt

logger = logging.getLogger(__name__)

Bytes = bytes | memoryview

CANNOT_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}
"""What fsync(2) answers where the file system cannot do it, rather than having failed."""

REBUILD_HINT = (
    "`lookalike verify` lists what else is damaged; to rebuild the store, delete its "
    "folder and index again."
)


MAX_RECORD_BYTES = 200_000_000
"""The largest record that is read: a manifest takes ten bytes for each deleted image."""


class FileRecord(BaseModel):
    """Size and SHA-256 of one file when it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Record(BaseModel):
    """Base of the JSON records, which are stored together with their SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")


NO_SURPRISES = os.O_NOFOLLOW | os.O_NONBLOCK
"""Flags for a file that was a regular one a moment ago: follow no link, wait for no writer."""

R = TypeVar("R", bound=Record)


def write_file(path: Path, pieces: Iterable[Bytes]) -> FileRecord:
    """Write a new file piece by piece, sync it to disk and return its record."""
    size, digest = 0, hashlib.sha256()
    with path.open("xb") as file:
        for piece in pieces:
            view = memoryview(piece).cast("B")
            file.write(view)
            digest.update(view)
            size += view.nbytes
        file.flush()
        os.fsync(file.fileno())
    return FileRecord(bytes=size, sha256=digest.hexdigest())


def replace_file(path: Path, data: Bytes) -> FileRecord:
    """Replace a file atomically: readers see the old bytes or the new ones."""
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    record = write_file(temporary, [data])
    temporary.replace(path)
    sync(path.parent)
    return record


def sync(path: Path) -> None:
    """Sync a file's bytes, or a folder's entries and renames, to disk.

    Some file systems, such as CIFS and some of FUSE, cannot sync folders, which is logged once.
    Files are synced there too, so what a crash can lose is the latest names, not their content.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        found = os.fstat(descriptor)
        if not stat.S_ISDIR(found.st_mode) or error.errno not in CANNOT_SYNC:
            raise
        _warn_of_unsynced_folders(found.st_dev)
    finally:
        os.close(descriptor)


@cache
def _warn_of_unsynced_folders(device: int) -> None:
    """Log once for each file system that it cannot sync folders."""
    logger.warning(
        "The store's file system cannot sync folders. If the machine crashes or loses power, the "
        "last build may have to be run again; files are synced as usual."
    )


def open_file(path: Path) -> BufferedReader:
    """Open a file of the store for reading.

    Raises :class:`OSError`, and :class:`StoreCorrupt` if it is no regular file: opening a pipe
    would wait for a writer, and a link may lead out of the store.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        raise StoreCorrupt(f"{path} is not a regular file.", REBUILD_HINT)
    return os.fdopen(os.open(path, os.O_RDONLY | NO_SURPRISES), "rb")


def read_bytes(path: Path, limit: int) -> bytes:
    """Return the content of a file of the store.

    Raises :class:`OSError`, and :class:`StoreCorrupt` if it is no regular file or has more than
    ``limit`` bytes.
    """
    with open_file(path) as file:
        size = os.fstat(file.fileno()).st_size  # Python makes room for as much as is asked for
        content = file.read(min(size, limit) + 1)
    if len(content) > limit:
        raise StoreCorrupt(f"{path} has more than {limit:,} bytes.", REBUILD_HINT)
    return content


def inodes(paths: Iterable[Path]) -> list[tuple[int, int] | None]:
    """Return the identity of files, whatever is put in their place; None for a missing one."""

    def inode(path: Path) -> tuple[int, int] | None:
        try:
            found = path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    return [inode(path) for path in paths]


def refuse_link(folder: Path) -> None:
    """Raise :class:`StoreCorrupt` if a folder in the store is a link, which may lead out of it.

    The store itself may be one.
    """
    if folder.is_symlink():
        raise StoreCorrupt(
            f"{folder} is a link; what is in a store is read and removed there only.",
            "Put the folder in its place, or move the whole store and link that.",
        )


def describe_file(path: Path) -> FileRecord:
    """Return size and SHA-256 of an existing file."""
    with open_file(path) as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(bytes=os.fstat(file.fileno()).st_size, sha256=digest)


def find_damage(path: Path, expected: FileRecord) -> str | None:
    """Read a file in full and return what is wrong with it, or None."""
    try:
        actual = describe_file(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    except StoreCorrupt as error:
        return error.message
    return None if actual == expected else f"{path} is damaged: its SHA-256 does not match"


def check_size(path: Path, expected: FileRecord) -> None:
    """Raise :class:`StoreCorrupt` unless ``path`` is a file of the recorded size."""
    try:
        status = path.lstat()
        actual = status.st_size if stat.S_ISREG(status.st_mode) else None
    except FileNotFoundError:
        actual = None
    if actual != expected.bytes:
        found = "missing or no regular file" if actual is None else f"{actual:,} bytes long"
        raise StoreCorrupt(f"{path} is {found}, not {expected.bytes:,} bytes.", REBUILD_HINT)


def write_record(path: Path, record: Record, *, indent: int | None = 1) -> None:
    """Write a record and its SHA-256 as JSON, replacing ``path``; large ones without ``indent``."""
    content = record.model_dump(mode="json")
    sealed = {"sha256": _checksum(content), "record": content}
    replace_file(path, json.dumps(sealed, indent=indent).encode())


def read_record(path: Path, model: type[R]) -> R:
    """Read a record. Raises :class:`StoreCorrupt` if it is missing, damaged or malformed."""
    try:
        content = read_bytes(path, MAX_RECORD_BYTES)
    except OSError as error:
        raise StoreCorrupt(f"{path} cannot be read: {error}", REBUILD_HINT) from error
    return parse_record(content, model, path)


def parse_record(content: bytes, model: type[R], source: object) -> R:
    """Return the record in the content of a file, whose path or address is ``source``.

    Raises :class:`StoreCorrupt` if it is damaged or malformed.
    """
    try:
        sealed = json.loads(content)
        if _checksum(sealed["record"]) != sealed["sha256"]:
            raise StoreCorrupt(f"{source} is damaged: its checksum does not match.", REBUILD_HINT)
        return model.model_validate(sealed["record"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise StoreCorrupt(f"{source} cannot be read: {error}", REBUILD_HINT) from error


def _checksum(content: object) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def numbered_name(number: int) -> str:
    """Return the name of the folder with this number."""
    return f"{number:08d}"


def unfinished_name(name: str) -> str:
    """Return the temporary name of a folder until it is complete."""
    return f".{name}.tmp"


def numbered(folder: Path) -> list[Path]:
    """Return the numbered folders in a folder, including unfinished ones, without links."""
    return [entry for entry in _numbered(folder) if entry.is_dir() and not entry.is_symlink()]


def last_number(folder: Path) -> int:
    """Return the highest number in a folder, including unfinished ones; 0 if there is none."""
    numbers = (int(e.name.removeprefix(".").removesuffix(".tmp")) for e in _numbered(folder))
    return max(numbers, default=0)


def _numbered(folder: Path) -> Iterator[Path]:
    names = re.compile(r"\d{8}|\.\d{8}\.tmp", re.ASCII)
    return (entry for entry in folder.iterdir() if names.fullmatch(entry.name))
