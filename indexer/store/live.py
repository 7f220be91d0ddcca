"""Reading the store's own catalogue, also from a read-only file system."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from indexer.errors import StoreBusy, StoreCorrupt, StoreUnavailable
from indexer.store.connections import IMMUTABLE
from indexer.store.own_catalogue import OwnCatalogue


@contextmanager
def live_catalogue(path: Path) -> Iterator[OwnCatalogue]:
    """Open the store's own catalogue for reading, also while a build writes it.

    Even to read a catalogue, SQLite creates two files beside it, ``-wal`` and ``-shm``, which it
    cannot do in a read-only folder. There the catalogue is opened as immutable, provided that
    ``-wal`` is missing or empty, so that the file itself holds everything that was committed.

    Raises :class:`StoreBusy` if a build begins to write it meanwhile, :class:`StoreUnavailable` if
    the file lacks what was committed last, and :class:`StoreCorrupt`.
    """
    require_regular(path)
    if os.access(path.parent, os.W_OK) or _beside(path, "-shm").exists():
        catalogue = OwnCatalogue.open(path)
        try:
            yield catalogue
        finally:
            catalogue.close()
        return
    if is_written(path):
        raise StoreUnavailable(
            f"{path} cannot be read here: what a build wrote last is in {_beside(path, '-wal')}, "
            "and the folder may not be written.",
            "Do this, or run a build, where the store may be written.",
        )
    before = path.stat()
    catalogue = OwnCatalogue.open(path, IMMUTABLE)
    try:
        yield catalogue
    finally:
        catalogue.close()
        after = path.stat()
        same = (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
        if is_written(path) or not same:
            raise StoreBusy(f"A build began to write {path} while it was read.", "Try again.")


def require_regular(path: Path) -> None:
    """Raise :class:`StoreCorrupt` if what SQLite would open is there and is no regular file.

    SQLite waits for the writer of a pipe, and writes through a link.
    """
    for file in beside(path):
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(file.lstat().st_mode):
                raise StoreCorrupt(f"{file} is not a regular file.", "Remove it, then build.")


def beside(path: Path) -> list[Path]:
    """Return a catalogue's file and those that SQLite may have beside it."""
    return [_beside(path, ending) for ending in ("", "-wal", "-shm", "-journal")]


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def is_written(path: Path) -> bool:
    """Tell whether the write-ahead log holds commits that the file itself lacks."""
    log = _beside(path, "-wal")
    return log.exists() and log.stat().st_size > 0
