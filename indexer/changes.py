"""What separates a dataset from a store."""

from collections.abc import Mapping
from dataclasses import dataclass

from indexer.datasets import Dataset, Item, Listing
from indexer.errors import DatasetError
from indexer.store import Stamp


@dataclass(frozen=True, slots=True)
class Changes:
    """The files to read, the keys that are gone, and what is known of all others."""

    listing: Listing
    known: Mapping[str, Stamp]
    to_read: list[Item]
    """New files, those whose size or time differs, and those that were skipped before."""
    removed: list[str]

    @property
    def new(self) -> list[str]:
        """The keys that are not in the catalogue."""
        return [item.key for item in self.to_read if item.key not in self.known]

    @property
    def changed(self) -> list[str]:
        """The keys of indexed files whose size or time differs."""
        known = ((item.key, self.known.get(item.key)) for item in self.to_read)
        return [key for key, stamp in known if stamp and stamp.reason is None]

    @property
    def retried(self) -> list[str]:
        """The keys that were skipped before."""
        known = ((item.key, self.known.get(item.key)) for item in self.to_read)
        return [key for key, stamp in known if stamp and stamp.reason is not None]

    @property
    def unchanged(self) -> int:
        """How many indexed files need no work."""
        again = {item.key for item in self.to_read} | set(self.removed)
        return sum(stamp.reason is None and key not in again for key, stamp in self.known.items())


def compare(dataset: Dataset, known: Mapping[str, Stamp]) -> Changes:
    """Scan the dataset and compare it with the catalogue by size and modification time.

    Files skipped before are tried again. What lies in a folder that cannot be listed now is neither
    found nor removed. Raises :class:`~indexer.errors.DatasetError` if there are no images, or none
    of those in the store: the wrong folder, or a disk that is not mounted, must not empty it.
    """
    listing = dataset.scan()
    found = {item.key for item in listing.items} | listing.unreadable.keys()
    if not found:
        raise DatasetError(
            f"There are no images in {dataset.source}.",
            "Name a folder that holds image files, at any depth: make index IMAGES=<folder>.",
        )
    if known and found.isdisjoint(known):
        raise DatasetError(
            f"None of the {len(known)} files of this store is in {dataset.source}.",
            "To index another folder, name another store (STORE=<folder>) or delete this one.",
        )
    closed = tuple(key for key in listing.unreadable if key.endswith("/"))
    return Changes(
        listing,
        known,
        [
            item
            for item in listing.items
            if known.get(item.key) != Stamp(item.size, item.mtime_ns, None)
        ],
        sorted(key for key in known.keys() - found if not key.startswith(closed)),
    )
