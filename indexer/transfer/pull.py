"""Pull: fetch a version from an address, check every byte, then publish it in a store."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from indexer.config import Config
from indexer.errors import IndexesDiffer, ObjectStorageError
from indexer.object_storage import ObjectFolder
from indexer.store import Damage, Manifest, Store, Version, update_damage
from indexer.store.contents import files_of, manifest_path
from indexer.store.files import replace_file
from indexer.store.live import beside
from indexer.store.lock import locked
from indexer.store.own_catalogue import OwnCatalogue
from indexer.store.publishing import KEEP_VERSIONS, add_version, publish, remove_unneeded
from indexer.transfer.copy import Copy
from indexer.transfer.fetch import OTHER_STORE_HINT, Fetch, markers_of, sound_manifests


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
        markers = markers_of(copy, [entry.id for entry in manifest.segments])
        files = files_of(manifest, {name: marker for name, (marker, _) in markers.items()})
        fetched = Fetch(store, copy, files, markers).run()
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
        remove_unneeded(store, sound_manifests(store), KEEP_VERSIONS, published=name)
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
    if counts.found and token not in {m.state for m in sound_manifests(store).values()}:
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
