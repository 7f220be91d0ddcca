"""Push: copy the published version to an address, and publish it there with the last write."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from indexer.config import Config
from indexer.errors import IndexesDiffer, StoreCorrupt
from indexer.object_storage import ObjectChanged, ObjectFolder, StoredObject
from indexer.store import Manifest, Store, Version
from indexer.store.contents import (
    Files,
    Needed,
    derived_files,
    layer_files,
    manifest_path,
    marker_path,
    segment_files,
)
from indexer.store.files import FileRecord, find_damage
from indexer.store.publishing import KEEP_VERSIONS
from indexer.store.store import COPY, CURRENT, current_content
from indexer.transfer.copy import Copy
from indexer.transfer.moving import Progress, move

LAYOUT = re.compile(r"(versions|segments|derived)/\d+/[^/]+|layers/\d+\.sqlite", re.ASCII)
"""The objects that a push may remove, if no kept version needs them."""

GONE_HINT = (
    "If a build has removed this version meanwhile, push again. Otherwise run `lookalike verify`, "
    "then a build, which repairs it."
)

Objects = Mapping[str, StoredObject]
Manifests = Mapping[str, tuple[Manifest, bytes]]
"""The manifests at the address by version, with the bytes they were read from."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push has done."""

    address: str
    version: str
    images: int
    files: int
    """How many files were sent; the others were there."""
    bytes: int
    total_bytes: int
    """The size of all files of the version."""
    removed: int
    """How many objects were removed that no kept version needs."""

    @property
    def summary(self) -> str:
        """The push in one line."""
        return (
            f"pushed version {self.version}, {self.images} images, to {self.address}: "
            f"{self.files} files, {self.bytes / 1e6:.1f} of {self.total_bytes / 1e6:.1f} MB sent, "
            f"{self.removed} removed"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was done as JSON-ready values."""
        return asdict(self)


def push(config: Config, address: str) -> Pushed:
    """Copy the published version to an address, such as ``s3://bucket/path``.

    Only what is missing there is sent, and checked before: the files, which never change, then the
    manifest that names them, at last ``CURRENT``. What the last :data:`KEEP_VERSIONS` versions do
    not need is then removed. A push that was interrupted changes nothing for readers.

    Raises :class:`~indexer.errors.IndexesDiffer` if there is another index, or a version that this
    store does not have, :class:`~indexer.object_storage.ObjectChanged` if somebody else pushes at
    the same time, and :class:`~indexer.errors.ObjectStorageError`,
    :class:`~indexer.errors.NoPublishedIndex`, :class:`~indexer.errors.StoreCorrupt`.
    """
    store = Store(config.store)
    version = store.open_published()
    copy = Copy(ObjectFolder(address))
    before = copy.folder.tag(CURRENT)
    current = copy.current()
    objects = copy.folder.list()
    names = {name.split("/")[1] for name in objects if re.fullmatch(r"versions/\d+/.+", name)}
    manifests = {name: copy.manifest(name) for name in names | ({current} if current else set())}
    _require_ancestor(store, version, current, manifests, copy.address)
    if COPY not in objects:
        with suppress(ObjectChanged):  # somebody else has just written the same
            copy.folder.replace(COPY, b"pushed\n", None)
    pushing = _Push(store, version, copy, objects, manifests)
    sent = pushing.send()
    if current != version.id:
        copy.folder.replace(CURRENT, current_content(version.id), before)
    gone = _unneeded(objects, version, manifests)
    copy.folder.remove(gone)
    return Pushed(
        address=copy.address,
        version=version.id,
        images=version.manifest.counts.indexed,
        files=len(sent),
        bytes=sum(sent.values()),
        total_bytes=sum(record.bytes for record in version.files.values()),
        removed=len(gone),
    )


def _require_ancestor(
    store: Store, version: Version, current: str | None, manifests: Manifests, address: str
) -> None:
    """Refuse to replace a version that this one was not made after."""
    for name in {current or version.id, version.id} & manifests.keys():
        _, content = manifests[name]
        own = store.folder / manifest_path(name)
        is_here = own.exists()
        if is_here and own.read_bytes() == content:
            continue
        if is_here or int(name) >= int(version.id):
            raise IndexesDiffer(
                f"{address} holds a version {name} that is not one of {store.folder}.",
                "Somebody else pushed it. Pull it into another --store and go on from there, or "
                "push to another address.",
            )


class _Push:
    """Finds out what a version lacks at an address, and sends it."""

    def __init__(
        self, store: Store, version: Version, copy: Copy, objects: Objects, manifests: Manifests
    ) -> None:
        self._store = store
        self._version = version
        self._copy = copy
        self._objects = objects
        self._manifests = manifests
        self._sent: dict[str, int] = {}

    def send(self) -> dict[str, int]:
        """Send what is missing, the manifest last; return the sizes of the files by path."""
        units = [*self._missing()]
        total = sum(self._size(path) for unit in units for path in unit)
        move("Pushing", total, (partial(self._send_unit, unit) for unit in units))
        path = manifest_path(self._version.id)
        if path not in self._objects:
            move("Pushing", self._size(path), [partial(self._send_unit, [path])])
        return self._sent

    def _missing(self) -> Iterator[Sequence[str]]:
        """Yield what is missing, in the order in which it is sent: markers after their files."""
        recorded = self._recorded()
        files = self._version.files
        for path, record in files.items():
            if recorded.get(path, record) != record:
                raise self._other_index(path)
        missing = [path for path, record in files.items() if not self._has(path, record, recorded)]
        for segment in self._version.segments:
            marker = marker_path(segment.id)
            lacks = [path for path in segment_files(segment.id, segment.marker) if path in missing]
            if lacks or not self._has(marker, None, recorded):
                yield [*lacks, marker]
        yield from ([path] for path in missing if not path.startswith("segments/"))

    def _has(self, path: str, record: FileRecord | None, recorded: Files) -> bool:
        """Tell whether an object is there: it has its size, and a record there its SHA-256."""
        found = self._objects.get(path)
        if found is None or found.size != self._size(path):
            return False
        return record is None or path in recorded

    def _recorded(self) -> Files:
        """Return what the records at the address say about their files.

        An object without a record is what an interrupted push has left; it is sent again.
        """
        recorded: Files = {}
        same: set[str] = set()
        for name, (manifest, content) in self._manifests.items():
            recorded |= layer_files(manifest) | derived_files(manifest)
            own = self._store.folder / manifest_path(name)
            if own.exists() and own.read_bytes() == content:
                same |= {entry.id for entry in manifest.segments}
        for segment in self._version.segments:
            path = marker_path(segment.id)
            if segment.id not in same:
                if path not in self._objects:
                    continue
                if self._copy.marker(segment.id)[1] != (self._store.folder / path).read_bytes():
                    raise self._other_index(path)
            recorded |= segment_files(segment.id, segment.marker)
        return recorded

    def _other_index(self, path: str) -> IndexesDiffer:
        return IndexesDiffer(
            f"{self._copy.address} holds another index: its {path} is not that of "
            f"{self._store.folder}.",
            "Push to another address, or remove what is there.",
        )

    def _size(self, path: str) -> int:
        return (self._store.folder / path).stat().st_size

    def _send_unit(self, paths: Sequence[str], progress: Progress) -> None:
        for path in paths:
            self._send(path, self._store.folder / path, progress)

    def _send(self, path: str, file: Path, progress: Progress) -> None:
        record = self._version.files.get(path)
        if record and (problem := find_damage(file, record)):
            raise StoreCorrupt(f"{problem}.", GONE_HINT)
        size = self._size(path)
        with progress.of_file(size) as add:
            self._copy.folder.upload(file, path, add, is_new=path not in self._objects)
        self._sent[path] = size


def _unneeded(objects: Objects, version: Version, manifests: Manifests) -> Sequence[str]:
    """Return the objects that were there before this push and that no kept version needs."""
    kept = {*sorted({*manifests, version.id})[-KEEP_VERSIONS:]}
    older = [manifest for name, (manifest, _) in manifests.items() if name in kept]
    needed = Needed.of([version.manifest, *older])
    return [name for name in objects if LAYOUT.fullmatch(name) and name not in needed]
