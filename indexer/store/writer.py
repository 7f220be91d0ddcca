"""The one process that may change a store: commit segments, publish versions, remove the old."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from indexer.config import DatasetConfig, IndexConfig
from indexer.errors import ConfigError, EncoderMismatch, StoreBusy
from indexer.store.catalogue import Catalogue, NewImage
from indexer.store.files import (
    Bytes,
    FileRecord,
    describe_file,
    read_record,
    replace_file,
    sync,
    write_record,
)
from indexer.store.records import Derived, DerivedKind, Manifest, Recall, SegmentEntry
from indexer.store.segments import Segment, write_segment
from indexer.store.store import CURRENT, Store
from indexer.store.versions import MANIFEST, SNAPSHOT, Version

Derive = Callable[
    [Sequence[Segment], NDArray[np.int64], Mapping[DerivedKind, Derived]],
    tuple[dict[DerivedKind, Derived], tuple[Recall, ...]],
]

KEEP_VERSIONS = 3
OWN_NAMES = {
    "build.lock",
    "build.owner",
    "segments",
    "versions",
    "derived",
}  # before there is a catalogue


@contextmanager
def open_writer(store: Store) -> Iterator["Writer"]:
    """Open a store for one build, making it if it does not exist.

    Raises :class:`StoreBusy` if another build is running. A build that died leaves no lock.
    """
    _require_store(store)
    for folder in (store.segments, store.versions, store.derived):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(store.folder / "build.lock", blocking=False)
    owner = store.folder / "build.owner"
    try:
        lock.acquire()
    except Timeout:
        process = owner.read_text(encoding="ascii") if owner.is_file() else "unknown"
        raise StoreBusy(
            f"Another build (process {process}) is writing to {store.folder}.",
            "Wait for it to finish, or choose another STORE=.",
        ) from None
    try:
        owner.write_text(str(os.getpid()), encoding="ascii")
        catalogue = Catalogue.writable(store.catalogue)
        try:
            yield Writer(store, catalogue)
        finally:
            catalogue.close()
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _require_store(store: Store) -> None:
    """Refuse a folder of somebody else's: :meth:`Writer.tidy` removes what it does not know."""
    foreign = store.folder.is_dir() and not store.catalogue.exists()
    if foreign and any(entry.name not in OWN_NAMES for entry in store.folder.iterdir()):
        raise ConfigError(
            f"{store.folder} holds other files and is no store of Lookalike's.",
            "Name an empty or a new folder as STORE=.",
        )


class Writer:
    """A store opened for writing by :func:`open_writer`."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.derived = store.derived
        """The folder of derived structures."""
        self._store = store

    def require_encoder(self, fingerprint: str) -> None:
        """Raise :class:`EncoderMismatch` if the store holds vectors of another encoder."""
        for segment in self.catalogue.segments():
            other = Segment(self._store.segments / segment).marker.fingerprint
            if other != fingerprint:
                raise EncoderMismatch(
                    f"{self._store.folder} holds vectors of encoder {other}; "
                    f"this configuration makes vectors of encoder {fingerprint}.",
                    "Use the encoder and weights the store was made with, or another STORE=.",
                )

    def commit(
        self,
        indexed: Sequence[NewImage],
        vectors: Bytes,
        skipped: Sequence[NewImage],
        *,
        dim: int,
        fingerprint: str,
    ) -> None:
        """Make a batch durable: a segment of the indexed images' vectors, then all rows at once.

        ``vectors`` is the content of the segment's file of vectors, in the order of ``indexed``.
        A crash in between leaves a segment that no row refers to; :meth:`tidy` removes it.
        """
        first_id = self.catalogue.next_id()
        name = None
        if indexed:
            name = f"{_last_number(self._store.segments) + 1:08d}"
            ids = np.arange(first_id, first_id + len(indexed), dtype=np.int64)
            folder = self._store.segments / name
            write_segment(folder, ids, vectors, dim=dim, fingerprint=fingerprint)
        with self.catalogue.transaction():
            self.catalogue.add(indexed, first_id=first_id, segment=name)
            self.catalogue.add(skipped, first_id=first_id + len(indexed))

    def publish(
        self,
        *,
        fingerprint: str,
        encoder: dict[str, str | int],
        dim: int,
        dataset: DatasetConfig,
        index: IndexConfig,
        derive: Derive,
    ) -> Version:
        """Publish what the catalogue holds as a new version and return it.

        ``derive(segments, deleted ids, structures of the last version)`` returns the derived
        structures and the measured recall. Readers see the old version until the last step, one
        rename.
        """
        store = self._store
        name = f"{_last_number(store.versions) + 1:08d}"
        folder = store.versions / f".{name}.tmp"
        folder.mkdir()
        segments = [Segment(store.segments / entry) for entry in self.catalogue.segments()]
        deleted = self._deleted_ids(segments)
        self.catalogue.snapshot(folder / SNAPSHOT)
        current = store.current()
        last = read_record(store.versions / current / MANIFEST, Manifest) if current else None
        derived, recall = derive(segments, deleted, last.derived if last else {})
        manifest = Manifest(
            version=name,
            created=datetime.now(UTC),
            fingerprint=fingerprint,
            encoder=encoder,
            dim=dim,
            dataset=dataset,
            index=index,
            counts=self.catalogue.counts(),
            state=self.catalogue.state(),
            segments=tuple(SegmentEntry(id=s.id, count=s.count) for s in segments),
            deleted=tuple(deleted.tolist()),
            derived=derived,
            recall=recall,
            files={file.name: describe_file(file) for file in sorted(folder.iterdir())},
        )
        write_record(folder / MANIFEST, manifest)
        folder.rename(store.versions / name)
        sync(store.versions)
        version = store.version(name)
        replace_file(store.folder / CURRENT, name.encode() + b"\n")
        return version

    def new_derived(self) -> Path:
        """Make the folder of a new derived structure."""
        folder = self.derived / f"{_last_number(self.derived) + 1:08d}"
        folder.mkdir()
        return folder

    def write_derived(self, path: Path, content: Bytes) -> FileRecord:
        """Write a file of a derived structure; one that a crashed build left is replaced."""
        return replace_file(path, content)

    def tidy(self) -> None:
        """Remove what crashed builds left behind, old versions, and segments nobody refers to."""
        store = self._store
        current = store.current()
        published = sorted(f.name for f in _numbered(store.versions) if f.name.isdecimal())
        # A version beyond CURRENT was never published: its build died before the last step.
        keep = [name for name in published if current and name <= current][-KEEP_VERSIONS:]
        for folder in _numbered(store.versions):
            if folder.name not in keep:
                shutil.rmtree(folder)
        used, derived = set(self.catalogue.segments()), set[str]()
        for name in keep:
            manifest = read_record(store.versions / name / MANIFEST, Manifest)
            used.update(entry.id for entry in manifest.segments)
            derived.update(entry.folder for entry in manifest.derived.values())
        for folder, names in ((store.segments, used), (store.derived, derived)):
            for entry in _numbered(folder):
                if entry.name not in names:
                    shutil.rmtree(entry)

    def _deleted_ids(self, segments: Sequence[Segment]) -> NDArray[np.int64]:
        dead = [
            np.setdiff1d(segment.ids, self.catalogue.ids_in(segment.id)[:, 1])
            for segment in segments
        ]
        return np.concatenate([np.empty(0, np.int64), *dead])


def _numbered(folder: Path) -> list[Path]:
    """Return the segments or versions in a folder, finished or not, and nothing else."""
    return [
        entry
        for entry in folder.iterdir()
        if re.fullmatch(r"\d{8}|\.\d{8}\.tmp", entry.name) and entry.is_dir()
    ]


def _last_number(folder: Path) -> int:
    return max((int(entry.name.strip(".tmp")) for entry in _numbered(folder)), default=0)
