"""Durable, atomic writes: after a crash a file is complete or absent."""

import errno
import hashlib
import json
import logging
import os
import re
import stat
from collections.abc import Iterable
from functools import cache
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


class FileRecord(BaseModel):
    """Size and SHA-256 of one file when it was written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: int
    sha256: str


class Record(BaseModel):
    """Base of the JSON records, which are stored together with their SHA-256."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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


def describe_file(path: Path) -> FileRecord:
    """Return size and SHA-256 of an existing file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileRecord(bytes=path.stat().st_size, sha256=digest)


def find_damage(path: Path, expected: FileRecord) -> str | None:
    """Read a file in full and return what is wrong with it, or None."""
    try:
        actual = describe_file(path)
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    return None if actual == expected else f"{path} is damaged: its SHA-256 does not match"


def check_size(path: Path, expected: FileRecord) -> None:
    """Raise :class:`StoreCorrupt` unless ``path`` is a file of the recorded size."""
    actual = path.stat().st_size if path.is_file() else None
    if actual != expected.bytes:
        found = "missing" if actual is None else f"{actual:,} bytes long"
        raise StoreCorrupt(f"{path} is {found}, not {expected.bytes:,} bytes.", REBUILD_HINT)


def write_record(path: Path, record: Record) -> None:
    """Write a record and its SHA-256 as JSON, replacing ``path``."""
    content = record.model_dump(mode="json")
    sealed = {"sha256": _checksum(content), "record": content}
    replace_file(path, json.dumps(sealed, indent=1).encode())


def read_record(path: Path, model: type[R]) -> R:
    """Read a record. Raises :class:`StoreCorrupt` if it is missing, damaged or malformed."""
    try:
        sealed = json.loads(path.read_bytes())
        if _checksum(sealed["record"]) != sealed["sha256"]:
            raise StoreCorrupt(f"{path} is damaged: its checksum does not match.", REBUILD_HINT)
        return model.model_validate(sealed["record"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise StoreCorrupt(f"{path} cannot be read: {error}", REBUILD_HINT) from error


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
    """Return the numbered folders in a folder, including unfinished ones."""
    return [
        entry
        for entry in folder.iterdir()
        if re.fullmatch(r"\d{8}|\.\d{8}\.tmp", entry.name) and entry.is_dir()
    ]


def last_number(folder: Path) -> int:
    """Return the highest number in a folder, including unfinished ones; 0 if there is none."""
    numbers = (int(e.name.removeprefix(".").removesuffix(".tmp")) for e in numbered(folder))
    return max(numbers, default=0)
