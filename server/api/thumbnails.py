"""A cache of thumbnails on disk, of limited size.

It is in the user's cache folder, not in the store, which may be read-only. A file's name is the
SHA-256 of the image and the thumbnail's side and kind: it is never stale, and stores can share it.
If the folder cannot be written, each request makes its thumbnail; this is logged once.
"""

import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from indexer.machine import NoHome, user_cache_folder

logger = logging.getLogger(__name__)

FOLDERS = 256
"""One for each value of the digest's first two digits; each has its share of the maximum size."""


class ThumbnailCache:
    """Keeps about ``max_bytes`` of thumbnails at most, none with 0. Safe between threads."""

    def __init__(self, max_bytes: int, folder: Path | None = None) -> None:
        self._max_bytes = max_bytes // FOLDERS
        self._writable = max_bytes > 0
        self.folder: Path | None = None
        """Where they are; None without a home folder."""
        try:
            self.folder = folder or user_cache_folder() / "thumbnails"
        except NoHome as error:
            self._stop_writing(str(error))

    def get(self, sha256: str, name: str, make: Callable[[], bytes]) -> bytes:
        """Return a thumbnail from the cache, or make it with ``make`` and keep it.

        ``name`` tells it from other thumbnails of the same content: by its side, for instance.
        """
        if self.folder is None:
            return make()
        path = self.folder / sha256[:2] / f"{sha256[2:]}-{name}.jpg"
        with suppress(OSError):
            data = path.read_bytes()
            if data:  # a crash of the machine can leave an empty file
                return data
        data = make()
        if self._writable:
            try:
                self._write(path, data)
            except OSError as error:
                self._stop_writing(f"{path} cannot be written: {error}")
        return data

    def _stop_writing(self, reason: str) -> None:
        if self._writable:
            logger.warning("Thumbnails are not cached: %s", reason)
        self._writable = False

    def _write(self, path: Path, data: bytes) -> None:
        """Write under a temporary name first, so that no thread reads an incomplete file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._evict(path.parent)

    def _evict(self, folder: Path) -> None:
        """Remove the oldest files of a folder until it is within its maximum size."""
        files = []
        with os.scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # another thread has removed it
                    status = entry.stat()
                    files.append((status.st_mtime_ns, entry.path, status.st_size))
        total = sum(size for _, _, size in files)
        for _, path, size in sorted(files):
            if total <= self._max_bytes:
                break
            Path(path).unlink(missing_ok=True)
            total -= size
