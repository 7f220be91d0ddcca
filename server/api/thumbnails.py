"""Thumbnails on disk: made once, bounded, named after the content they show.

They lie in the user's cache folder, not in the store, which a server may only be allowed to read.
A name is the content's SHA-256 and the side, so that none is ever stale and stores can share them.
Where nothing can be written they are made anew each time, which is logged once.
"""

import logging
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

logger = logging.getLogger(__name__)

FOLDERS = 256
"""Files are spread by the first two digits of their digest; each folder keeps its own bounds."""


class ThumbnailCache:
    """Keeps up to about ``max_bytes`` of thumbnails; none at all with 0. Safe between threads."""

    def __init__(self, max_bytes: int, folder: Path | None = None) -> None:
        cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        self.folder = folder or Path(cache) / "lookalike" / "thumbnails"
        self._max_bytes = max_bytes // FOLDERS
        self._writable = max_bytes > 0

    def get(self, sha256: str, side: int, make: Callable[[], bytes]) -> bytes:
        """Return the thumbnail of a content, made by ``make`` if it is not here yet."""
        path = self.folder / sha256[:2] / f"{sha256[2:]}-{side}.jpg"
        with suppress(OSError):
            kept = path.read_bytes()
            if kept:  # a crash of the machine may leave a file without its content
                return kept
        data = make()
        if self._writable:
            try:
                self._write(path, data)
            except OSError as error:
                logger.warning("Thumbnails are not kept: %s cannot be written: %s", path, error)
                self._writable = False
        return data

    def _write(self, path: Path, data: bytes) -> None:
        """Write through a temporary name, so that nobody ever reads half a picture."""
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{secrets.token_hex(8)}")
        try:
            temporary.write_bytes(data)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        self._make_room(path.parent)

    def _make_room(self, folder: Path) -> None:
        """Remove the oldest files of a folder until it is within its bounds."""
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
