"""Diff a dataset scan against the catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass

from indexer.datasets import Dataset, Item, Listing
from indexer.errors import DatasetError, ImageTooLarge, InvalidImage, UnsupportedImage
from indexer.store import Stamp

TIMEOUT = "timeout"
TIMEOUT_TWICE = "timeout_twice"
"""A file that took too long is tried once more; after the second time it is left alone."""

NOT_RETRIED = {None, InvalidImage.code, UnsupportedImage.code, TIMEOUT_TWICE}
"""The reasons for which an unchanged file is not read again; None is that of an indexed one."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between a scan and the catalogue."""

    listing: Listing
    known: Mapping[str, Stamp]
    to_read: list[Item]
    """Files that are new, have another size or time, or were skipped and may now be readable."""
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
        """The keys of skipped files that are read again."""
        known = ((item.key, self.known.get(item.key)) for item in self.to_read)
        return [key for key, stamp in known if stamp and stamp.reason is not None]

    @property
    def unchanged(self) -> int:
        """How many indexed files did not change."""
        changed = {item.key for item in self.to_read} | set(self.removed)
        return sum(stamp.reason is None and key not in changed for key, stamp in self.known.items())


def compare(dataset: Dataset, known: Mapping[str, Stamp], max_pixels: int) -> Changes:
    """Scan the dataset and compare it with the catalogue by size and modification time.

    Some skipped files are read again: those that could not be read, those that took too long once,
    and those with too many pixels if ``max_pixels`` allows them now. Files in a folder that cannot
    be listed are neither found nor removed.

    Raises :class:`~indexer.errors.DatasetError` if there are no images, or none of those in the
    store, so that a wrong folder or an unmounted disk does not empty the store.
    """
    listing = dataset.scan()
    found = {item.key for item in listing.items} | listing.unreadable.keys()
    if not found:
        raise DatasetError(
            f"There are no images in {dataset.source}.",
            "Name a folder that holds image files, at any depth: lookalike index FOLDER.",
        )
    if known and found.isdisjoint(known):
        raise DatasetError(
            f"None of the {len(known)} files of this store is in {dataset.source}.",
            "To index another folder, name another store (--store FOLDER) or delete this one.",
        )
    unlisted = tuple(key for key in listing.unreadable if key.endswith("/"))
    return Changes(
        listing,
        known,
        [item for item in listing.items if _must_read(item, known.get(item.key), max_pixels)],
        sorted(key for key in known.keys() - found if not key.startswith(unlisted)),
    )


def _must_read(item: Item, known: Stamp | None, max_pixels: int) -> bool:
    if known is None or (known.size, known.mtime_ns) != (item.size, item.mtime_ns):
        return True
    if known.reason == ImageTooLarge.code:
        return known.pixels is not None and known.pixels <= max_pixels
    return known.reason not in NOT_RETRIED
