"""The one process that may change a store: commit segments, publish versions, remove the old."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from indexer.config import DatasetConfig, IndexConfig
from indexer.errors import ConfigError, EncoderMismatch, StoreBusy, StoreCorrupt
from indexer.store.catalogue import NewImage
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.files import (
    Bytes,
    FileRecord,
    check_size,
    describe_file,
    read_record,
    replace_file,
    sync,
    write_record,
)
from indexer.store.records import Damage, Derived, DerivedKind, Manifest, Recall, SegmentEntry
from indexer.store.segments import Segment, write_segment
from indexer.store.store import CURRENT, Store, note_damage
from indexer.store.versions import MANIFEST, SNAPSHOT, Version, part_name, trained_path

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
    sync(store.folder)
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
        catalogue = CatalogueWriter(store.catalogue)
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


class SegmentSize(NamedTuple):
    """How many vectors a segment holds, and how many of them still count."""

    stored: int
    alive: int


class Writer:
    """A store opened for writing by :func:`open_writer`."""

    def __init__(self, store: Store, catalogue: CatalogueWriter) -> None:
        self.catalogue = catalogue
        self.derived = store.derived
        """The folder of derived structures."""
        self._store = store
        self._last_segment = max(
            [
                _last_number(store.segments),  # and those of versions whose segments are lost
                *(int(s.id) for m in self._manifests().values() for s in m.segments),
            ]
        )
        self._sound: set[str] = set()
        self._stored: dict[str, int] = {}
        self._alive: dict[str, int] = {}
        self._dropped = -1
        self._published: set[str] | None = None

    def damage(self) -> Damage:
        """Return what ``verify`` noted down as damaged."""
        try:
            return read_record(self._store.damage, Damage)
        except StoreCorrupt:
            return Damage()

    def segment(self, name: str) -> Segment:
        """Open a segment. Raises :class:`~indexer.errors.StoreCorrupt`."""
        return Segment(self._store.segments / name)

    def sound_segment(self, name: str) -> Segment:
        """Open a segment whose vectors are to be written again; damage must not get a new seal.

        Raises :class:`~indexer.errors.StoreCorrupt`; the next build makes the segment again.
        """
        segment = self.segment(name)
        if name not in self._sound:
            if segment.problems():
                note_damage(self._store, Damage(segments=(name,)))
                raise StoreCorrupt(
                    f"{segment.folder} is damaged.",
                    "Run the build again: it makes the segment again from its images.",
                )
            self._sound.add(name)
        return segment

    @property
    def sizes(self) -> dict[str, SegmentSize]:
        """The sizes of the segments that hold at least one image's vector, in order."""
        if self._dropped != self.catalogue.dropped:  # counting all rows after every batch is slow
            self._alive, self._dropped = self.catalogue.sizes(), self.catalogue.dropped
        for name in self._alive.keys() - self._stored.keys():
            self._stored[name] = self.segment(name).count
        return {name: SegmentSize(self._stored[name], n) for name, n in self._alive.items()}

    def require_encoder(self, fingerprint: str) -> None:
        """Raise :class:`EncoderMismatch` if the store holds vectors of another encoder."""
        for name in self.catalogue.segments():
            segment = self.segment(name)
            self._stored[name] = segment.count
            other = segment.marker.fingerprint
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
            ids = np.arange(first_id, first_id + len(indexed), dtype=np.int64)
            name = self._write_segment(ids, vectors, dim=dim, fingerprint=fingerprint)
        with self.catalogue.transaction():
            self.catalogue.add(indexed, first_id=first_id, segment=name)
            self.catalogue.add(skipped, first_id=first_id + len(indexed))
        if name:
            self._alive[name] = len(indexed)

    def replace(self, names: Sequence[str], ids: NDArray[np.int64], vectors: Bytes) -> None:
        """Put the vectors of some segments' images into one new segment, in the order of ``ids``.

        The old segments are removed at once, unless a version refers to them.
        """
        old = self.segment(names[0]).marker
        name = self._write_segment(ids, vectors, dim=old.dim, fingerprint=old.fingerprint)
        with self.catalogue.transaction():
            self.catalogue.place(ids, name)
        for old_name in names:
            self._alive.pop(old_name, None)
        self._alive[name] = len(ids)
        if self._published is None:
            self._published = {
                entry.id for manifest in self._manifests().values() for entry in manifest.segments
            }
        for unused in set(names) - self._published:
            shutil.rmtree(self._store.segments / unused)

    def _write_segment(
        self, ids: NDArray[np.int64], vectors: Bytes, *, dim: int, fingerprint: str
    ) -> str:
        self._last_segment += 1
        name = f"{self._last_segment:08d}"
        folder = self._store.segments / name
        write_segment(folder, ids, vectors, dim=dim, fingerprint=fingerprint)
        self._stored[name] = len(ids)
        return name

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
        last = self._manifests().get(store.current() or "")
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
        store.damage.unlink(missing_ok=True)
        return version

    def new_derived(self) -> Path:
        """Make the folder of a new derived structure."""
        folder = self.derived / f"{_last_number(self.derived) + 1:08d}"
        folder.mkdir()
        sync(self.derived)
        return folder

    def has_derived(self, derived: Derived) -> bool:
        """Tell whether the files of a derived structure are there and nobody found them damaged."""
        folder = self.derived / derived.folder
        files = {part_name(name): part.file for name, part in derived.parts.items()}
        try:
            check_size(trained_path(folder), derived.trained)
            for name, record in files.items():
                check_size(folder / name, record)
        except StoreCorrupt:
            return False
        return derived.folder not in self.damage().derived

    def write_derived(self, path: Path, content: Bytes) -> FileRecord:
        """Write a file of a derived structure; one that a crashed build left is replaced."""
        return replace_file(path, content)

    def roll_back(self, name: str) -> None:
        """Make an older version, or a newer one, the published one. Raises StoreCorrupt."""
        self._store.version(name)
        replace_file(self._store.folder / CURRENT, name.encode() + b"\n")

    def tidy(self, keep: int = KEEP_VERSIONS) -> None:
        """Remove what crashed builds left behind, all but the last versions, and what none uses.

        The published version is kept however old it is.
        """
        store, manifests = self._store, self._manifests()
        kept = {*sorted(manifests)[-keep:], store.current() or ""}
        for folder in _numbered(store.versions):
            if folder.name not in kept:
                shutil.rmtree(folder)
        used, derived = set(self.catalogue.segments()), set[str]()
        for name in kept & manifests.keys():
            used.update(entry.id for entry in manifests[name].segments)
            derived.update(entry.folder for entry in manifests[name].derived.values())
        for folder, names in ((store.segments, used), (store.derived, derived)):
            for entry in _numbered(folder):
                if entry.name not in names:
                    shutil.rmtree(entry)
        parts = {part_name(segment) for segment in used}
        for file in store.derived.glob("*/*.npy*"):
            if file.name not in parts:
                file.unlink()

    def _manifests(self) -> dict[str, Manifest]:
        """Return the manifests of all versions that can be read."""
        return {name: m for name, m in self._store.manifests().items() if m is not None}

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
    """Return the highest number in a folder, 0 if there is none; unfinished ones count."""
    numbers = (int(e.name.removeprefix(".").removesuffix(".tmp")) for e in _numbered(folder))
    return max(numbers, default=0)
