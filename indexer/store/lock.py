"""One process at a time changes a store."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from indexer.errors import ConfigError, StoreBusy, StoreCorrupt
from indexer.store.files import read_bytes, refuse_link, sync
from indexer.store.progress import FILE as PROGRESS
from indexer.store.store import Store

OWN_NAMES = {
    "COPY",
    "build.lock",
    "build.owner",
    "build.progress",
    "segments",
    "versions",
    "derived",
    "layers",
    "graphs",
    "reports",
}  # of a store without a catalogue, which a build may have left


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Hold the lock of a store, whose folders are made if they do not exist.

    Raises :class:`StoreBusy` if another process writes to it. The lock of one that died is gone.
    """
    _require_store(store)
    for folder in store.folders:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_link(folder)
    sync(store.folder)
    lock = FileLock(store.folder / "build.lock", blocking=False)
    owner, progress = store.folder / "build.owner", store.folder / PROGRESS
    try:
        lock.acquire()
    except Timeout:
        process = _owner(owner)
        raise StoreBusy(
            f"Another build (process {process}) is writing to {store.folder}.",
            "Wait for it to finish, or choose another --store.",
        ) from None
    with ExitStack() as held:
        held.callback(lock.release)
        held.callback(owner.unlink, missing_ok=True)
        held.callback(progress.unlink, missing_ok=True)
        progress.unlink(missing_ok=True)
        owner.unlink(missing_ok=True)  # rather than write to what somebody has put there
        owner.write_text(str(os.getpid()), encoding="ascii")
        yield


def _owner(file: Path) -> str:
    """Return the id of the process that is writing, for a message."""
    try:
        return str(int(read_bytes(file, 20)))
    except (OSError, ValueError, StoreCorrupt):
        return "unknown"


def _require_store(store: Store) -> None:
    """Refuse a folder that holds other files: collecting garbage could remove them."""
    foreign = store.folder.is_dir() and not store.catalogue.exists()
    if (
        foreign
        and not any(store.manifests().values())
        and any(entry.name not in OWN_NAMES for entry in store.folder.iterdir())
    ):
        raise ConfigError(
            f"{store.folder} holds other files and is not a Lookalike store.",
            "Name an empty or a new folder as --store.",
        )
