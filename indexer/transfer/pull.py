"""Pull: fetch a version from an address, check every byte, then publish it in a store."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from indexer.config import Config
from indexer.errors import DiskTooSmall, IndexesDiffer, ObjectStorageError, StoreCorrupt
from indexer.object_storage import ObjectFolder, ObjectGone
from indexer.store import Damage, Manifest, Store, Version, read_damage, update_damage
from indexer.store.contents import (
    Files,
    derived_files,
    files_of,
    layer_files,
    manifest_path,
    marker_path,
    segment_files,
)
from indexer.store.files import FileRecord, find_damage, refuse_link, replace_file, sync
from indexer.store.live import beside
from indexer.store.lock import locked
from indexer.store.own_catalogue import OwnCatalogue
from indexer.store.publishing import KEEP_VERSIONS, add_version, publish, remove_unneeded
from indexer.store.records import Marker
from indexer.transfer.copy import DAMAGED_HINT, Copy
from indexer.transfer.moving import THREADS, Progress, move

OTHER_STORE_HINT = "Pull into another --store, or push this one to another address."


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull has done."""

    address: str
    store: Path
    version: str
    images: int
    files: int
    """How many files were fetched; the others were there."""
    bytes: int
    total_bytes: int
    """The size of all files of the version."""

    @property
    def summary(self) -> str:
        """The pull in one line."""
        return (
            f"pulled version {self.version}, {self.images} images, into {self.store}: "
            f"{self.files} files, {self.bytes / 1e6:.1f} of {self.total_bytes / 1e6:.1f} MB fetched"
        )

    def to_json(self) -> dict[str, Any]:
        """Return what was done as JSON-ready values."""
        return {**asdict(self), "store": str(self.store)}


def pull(config: Config, address: str) -> Pulled:
    """Make the configured store hold and publish the version that was pushed to an address.

    Only what is missing is fetched. A file gets its name after its SHA-256 was compared, so that a
    pull that was interrupted goes on where it ended. Readers see the old version until the last
    step; a server then changes to the new one. The last :data:`KEEP_VERSIONS` versions stay.

    Raises :class:`~indexer.errors.IndexesDiffer` if the store holds another index, or what would be
    lost, :class:`~indexer.errors.StoreBusy`, :class:`~indexer.errors.DiskTooSmall`,
    :class:`~indexer.errors.StoreCorrupt` for damaged objects, and
    :class:`~indexer.errors.ObjectStorageError`.
    """
    copy = Copy(ObjectFolder(address))
    name = copy.current()
    if name is None:
        raise ObjectStorageError(
            f"There is no index at {copy.address}.",
            "Check the address, or push one there from where it was made: lookalike push ADDRESS",
        )
    manifest, content = copy.manifest(name)
    store = Store(config.store)
    with locked(store):
        is_stale = _require_nothing_lost(store, copy, manifest, content)
        markers = _markers(copy, manifest)
        pulling = _Pull(store, copy, manifest, markers)
        fetched = pulling.fetch()
        if (store.folder / manifest_path(name)).exists():
            version = store.version(name)
        else:
            version = add_version(store, name, lambda path: replace_file(path, content))
        if is_stale or not store.catalogue.exists():
            replace_file(store.copy, f"{copy.address}\n".encode())
        if store.current() != name:
            publish(store, name)
        if is_stale:
            for file in beside(store.catalogue):
                file.unlink(missing_ok=True)
        update_damage(store, checked=_parts(manifest))
        remove_unneeded(store, _sound(store), KEEP_VERSIONS, published=name)
    return _pulled(version, copy, store, fetched)


def _pulled(version: Version, copy: Copy, store: Store, fetched: Mapping[str, int]) -> Pulled:
    return Pulled(
        address=copy.address,
        store=store.folder,
        version=version.id,
        images=version.manifest.counts.indexed,
        files=len(fetched),
        bytes=sum(fetched.values()),
        total_bytes=sum(record.bytes for record in version.files.values()),
    )


def _sound(store: Store) -> dict[str, Manifest]:
    found = store.manifests(require_read=True)
    return {name: manifest for name, manifest in found.items() if manifest is not None}


def _parts(manifest: Manifest) -> Damage:
    """Return everything a version consists of, as records of damage name it."""
    return Damage(
        segments=tuple(entry.id for entry in manifest.segments),
        derived=tuple(derived.folder for derived in manifest.derived.values()),
        layers=tuple(layer.id for layer in manifest.layers),
    )


def _require_nothing_lost(store: Store, copy: Copy, manifest: Manifest, content: bytes) -> bool:
    """Refuse to hide what only this store has: work that was not published, a newer version.

    Returns whether the store's own catalogue, if it has one, is not that of this version. The next
    build makes it again.
    """
    own = store.folder / manifest_path(manifest.version)
    if own.exists() and own.read_bytes() != content:
        raise IndexesDiffer(
            f"{store.folder} has another version {manifest.version} than {copy.address}.",
            OTHER_STORE_HINT,
        )
    current = store.current()
    if current and int(current) > int(manifest.version) and not _is_there(store, copy, current):
        raise IndexesDiffer(
            f"{store.folder} has version {current}, which is newer than version "
            f"{manifest.version} of {copy.address}.",
            f"`lookalike push {copy.address}` sends it there; `lookalike rollback "
            f"{manifest.version}` goes back to the older one.",
        )
    if not store.catalogue.exists():
        return False
    with closing(OwnCatalogue.open(store.catalogue)) as catalogue:
        token, layers, counts = catalogue.change_token(), catalogue.layers(), catalogue.counts()
    if counts.found and token not in {m.state for m in _sound(store).values()}:
        raise IndexesDiffer(
            f"A build was interrupted in {store.folder}: what it has indexed is not published, and "
            "would be lost.",
            "Run `lookalike index` to publish it, or pull into another --store.",
        )
    return layers != manifest.layers


def _is_there(store: Store, copy: Copy, version: str) -> bool:
    """Tell whether the address has this version of the store, too: an older one was pushed since.

    Raises what reading it raises, unless it is missing.
    """
    path = manifest_path(version)
    if copy.folder.tag(path) is None:
        return False
    return copy.manifest(version)[1] == (store.folder / path).read_bytes()


def _markers(copy: Copy, manifest: Manifest) -> dict[str, tuple[Marker, bytes]]:
    """Read the markers of a version's segments."""
    names = [entry.id for entry in manifest.segments]
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(names, pool.map(copy.marker, names), strict=True))


class _Pull:
    """Finds out what a store lacks of a version, and fetches it."""

    def __init__(
        self,
        store: Store,
        copy: Copy,
        manifest: Manifest,
        markers: Mapping[str, tuple[Marker, bytes]],
    ) -> None:
        self._store = store
        self._copy = copy
        self._manifest = manifest
        self._markers = markers
        self._files = files_of(manifest, {name: marker for name, (marker, _) in markers.items()})
        self._fetched: dict[str, int] = {}

    def fetch(self) -> dict[str, int]:
        """Fetch what is missing; return the sizes of the files by path."""
        missing = self._missing()
        total = sum(self._files[path].bytes for path in missing)
        free = shutil.disk_usage(self._store.folder).free
        if total > free:
            raise DiskTooSmall(
                f"The index needs {total / 1e6:,.1f} MB more on the disk of {self._store.folder}; "
                f"{free / 1e6:,.1f} MB are free.",
                "Free some space, or name a --store on another disk.",
            )
        tasks: list[Callable[[Progress], None]] = []
        for segment, (marker, content) in self._markers.items():
            lacks = [path for path in segment_files(segment, marker) if path in missing]
            if lacks or not (self._store.folder / marker_path(segment)).exists():
                tasks.append(partial(self._fetch_segment, segment, content, lacks))
        others = [path for path in missing if not path.startswith("segments/")]
        tasks += [partial(self._fetch, path) for path in others]
        move("Pulling", total, tasks)
        return self._fetched

    def _missing(self) -> set[str]:
        """Return the files that the store lacks, or has damaged."""
        recorded = self._recorded()
        doubtful = read_damage(self._store)  # what `verify` has found
        names = {*doubtful.segments, *doubtful.derived, *doubtful.layers}
        missing = set()
        for path, record in self._files.items():
            if recorded.get(path, record) != record:
                raise self._other_index(path)
            file = self._store.folder / path
            is_known = path in recorded and not names.intersection(Path(path).with_suffix("").parts)
            has_size = file.is_file() and file.stat().st_size == record.bytes
            if not (has_size and (is_known or not find_damage(file, record))):
                missing.add(path)
        return missing

    def _recorded(self) -> Files:
        """Return what the store's own records say about its files; others have to be read."""
        recorded: Files = {}
        for manifest in _sound(self._store).values():
            recorded |= layer_files(manifest) | derived_files(manifest)
        for segment, (marker, content) in self._markers.items():
            own = self._store.folder / marker_path(segment)
            if own.exists():
                if own.read_bytes() != content:
                    raise self._other_index(marker_path(segment))
                recorded |= segment_files(segment, marker)
        return recorded

    def _other_index(self, path: str) -> IndexesDiffer:
        return IndexesDiffer(
            f"{self._store.folder} holds another index: its {path} is not that of "
            f"{self._copy.address}.",
            OTHER_STORE_HINT,
        )

    def _fetch_segment(
        self, segment: str, marker: bytes, paths: Sequence[str], progress: Progress
    ) -> None:
        for path in paths:
            self._fetch(path, progress)
        replace_file(self._store.folder / marker_path(segment), marker)

    def _fetch(self, path: str, progress: Progress) -> None:
        """Fetch a file. It gets its name when its SHA-256 is right and it is on the disk."""
        record: FileRecord = self._files[path]
        file = self._store.folder / path
        file.parent.mkdir(exist_ok=True)
        refuse_link(file.parent)
        partial_file = file.with_name(f".{file.name}.tmp")
        partial_file.unlink(missing_ok=True)
        try:
            with progress.of_file(record.bytes) as add:
                self._copy.folder.download(path, partial_file, add)
        except ObjectGone as error:
            raise ObjectStorageError(
                error.message, "A newer version may have been pushed meanwhile: pull again."
            ) from error
        if find_damage(partial_file, record):
            partial_file.unlink()
            raise StoreCorrupt(
                f"{self._copy.address}/{path} is damaged: its SHA-256 does not match.",
                DAMAGED_HINT,
            )
        sync(partial_file)
        partial_file.replace(file)
        sync(file.parent)
        self._fetched[path] = record.bytes
