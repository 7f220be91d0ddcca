"""A part of a version, fetched by a node of a cluster that has no store: what its shard needs."""

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

from indexer.errors import StoreBusy, StoreCorrupt
from indexer.machine import user_cache_folder
from indexer.object_storage import ObjectFolder
from indexer.store import SegmentEntry, Store
from indexer.store.contents import derived_files, manifest_path, segment_files
from indexer.store.files import replace_file
from indexer.store.lock import locked
from indexer.store.publishing import KEEP_VERSIONS, remove_unneeded
from indexer.transfer.copy import Copy
from indexer.transfer.fetch import Fetch, markers_of, sound_manifests

FETCH_SECONDS = 6 * 3600.0
"""How long fetching may take, for instance 1 TB with 400 Mbit/s."""

BUSY_SECONDS = 0.5
"""How often to look whether another process of this node has fetched its part."""

Choice = Callable[[Sequence[SegmentEntry]], Sequence[str]]
"""Returns the ids of those of a version's segments that are needed."""


class PulledParts(NamedTuple):
    """Parts of the versions that were pushed to an address, in this user's cache folder.

    It is picklable: each process of a cluster fetches into the folder of its own node.
    """

    address: str

    @property
    def patience_seconds(self) -> float:
        """How long a search may wait until the nodes have fetched a version."""
        return FETCH_SECONDS

    def store_with(self, version: str, choose: Choice) -> Store:
        """Return a store that has these segments of a version, but no catalogue.

        Only what is missing is fetched, without asking the address if nothing is. The last
        :data:`KEEP_VERSIONS` versions stay. Raises :class:`~indexer.errors.StoreCorrupt` for a
        version that is not there, or is damaged, and what a pull raises.
        """
        name = hashlib.sha256(self.address.encode()).hexdigest()[:16]
        store = Store(user_cache_folder() / "shards" / name)
        if not _has(store, version, choose):
            with _locked_when_free(store):
                _fetch(store, Copy(ObjectFolder(self.address)), version, choose)
        return store


def _has(store: Store, version: str, choose: Choice) -> bool:
    try:
        store.part(version, choose(store.manifest(version).segments))
    except StoreCorrupt:
        return False
    return True


@contextmanager
def _locked_when_free(store: Store) -> Iterator[None]:
    """Hold the lock of a store, once no other process of the node does."""
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(store))
                break
            except StoreBusy:
                time.sleep(BUSY_SECONDS)
        yield


def _fetch(store: Store, copy: Copy, version: str, choose: Choice) -> None:
    manifest, content = copy.manifest(version)
    segments = choose(manifest.segments)
    markers = markers_of(copy, segments)
    files = derived_files(manifest, segments)
    for name, (marker, _) in markers.items():
        files |= segment_files(name, marker)
    Fetch(store, copy, files, markers).run()
    path = store.folder / manifest_path(version)
    path.parent.mkdir(exist_ok=True)
    replace_file(path, content)
    remove_unneeded(store, sound_manifests(store), KEEP_VERSIONS, published=version)
