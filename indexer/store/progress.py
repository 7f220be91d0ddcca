"""How far a build is: a small file beside its lock, for those who watch the store."""

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from indexer.errors import StoreCorrupt
from indexer.store.files import NO_SURPRISES, read_bytes

FILE = "build.progress"
MAX_BYTES = 50
STALE_S = 300.0
"""After so long without a note the build counts as killed: a file takes at most 60 seconds, and a
group of batches a few more."""


class BuildProgress(NamedTuple):
    """How many of the files that a build has to read it has read and committed."""

    done: int
    total: int


def note_progress(folder: Path, progress: BuildProgress) -> None:
    """Write it over what was noted before.

    It is not synced, and failing is no error: no build ends for what only those who wait read.
    """
    with suppress(OSError):
        flags = os.O_WRONLY | os.O_CREAT | NO_SURPRISES
        descriptor = os.open(folder / FILE, flags, 0o644)
        try:
            os.write(descriptor, f"{progress.done} {progress.total}".ljust(MAX_BYTES).encode())
        finally:
            os.close(descriptor)


def build_progress(folder: Path) -> BuildProgress | None:
    """Return how far the build is that writes to a store; None if there seems to be none."""
    path = folder / FILE
    try:
        if time.time() - path.stat(follow_symlinks=False).st_mtime > STALE_S:
            return None
        done, total = map(int, read_bytes(path, MAX_BYTES).split())
    except (OSError, ValueError, StoreCorrupt):
        return None
    return BuildProgress(done, total) if 0 <= done <= total else None
