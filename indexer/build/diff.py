"""Diff a dataset scan against the catalogue."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from indexer.datasets import Dataset, Item, Listing, Part, box_in, is_box, links_in_words
from indexer.datasets.walk import EXCLUDED
from indexer.errors import (
    DatasetError,
    DecoderMissing,
    ImageTooLarge,
    IndexWouldShrink,
    InvalidImage,
    NoImages,
    UnsupportedImage,
)
from indexer.images import can_read_raw
from indexer.store import Stamp

TIMEOUT = "timeout"
TIMEOUT_TWICE = "timeout_twice"
TIMEOUTS = {TIMEOUT, TIMEOUT_TWICE}
"""A file that took too long is tried once more; after the second time it is left alone."""

WORKER_DIED = "worker_died"
"""A file that ended the process that decoded it, twice. In a thread it would end the build."""

NOT_RETRIED = {None, InvalidImage.code, UnsupportedImage.code, TIMEOUT_TWICE, WORKER_DIED}
"""The reasons for which an unchanged file is not read again; None is that of an indexed one."""

MAX_SHRINK = 1 / 3
"""The share of the indexed images that a build removes without being told to."""

ALLOW_SHRINK = "lookalike index --allow-shrink (make index ALLOW_SHRINK=1)"
SHOWN = 3
"""How many lost images an error names, and how many reasons a report."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between a scan and the catalogue."""

    listing: Listing
    known: Mapping[str, Stamp]
    to_read: list[Item]
    """Files that are new, may have changed, or were skipped and may now be readable."""
    removed: list[str]
    """Indexed and skipped files that are gone."""
    unavailable: dict[str, str]
    """Indexed images that cannot be found or read now, and stay in the index: reason by key."""
    indexed: int
    """How many images are in the index."""
    allow_shrink: bool = False

    @property
    def new(self) -> list[str]:
        """The keys that are not in the catalogue."""
        return [item.key for item in self.to_read if item.key not in self.known]

    @property
    def to_encode(self) -> list[Item]:
        """The files to read whose content is probably not that of the index.

        Of the others only the revision differs, or nothing, if all files are read again.
        """
        return [item for item in self.to_read if not _looks_indexed(item, self.known.get(item.key))]

    @property
    def changed(self) -> list[str]:
        """The keys of indexed files whose size or time differs."""
        known = ((item.key, self.known.get(item.key)) for item in self.to_encode)
        return [key for key, stamp in known if stamp and stamp.reason is None]

    @property
    def checked(self) -> list[str]:
        """The keys of indexed files that are read only to see whether their content differs."""
        probable = {item.key for item in self.to_encode}
        return [item.key for item in self.to_read if item.key not in probable]

    @property
    def retried(self) -> list[str]:
        """The keys of skipped files that are read again."""
        known = ((item.key, self.known.get(item.key)) for item in self.to_read)
        return [key for key, stamp in known if stamp and stamp.reason is not None]

    @property
    def unchanged(self) -> int:
        """How many indexed files probably did not change."""
        changed = {item.key for item in self.to_encode} | set(self.removed)
        return self.indexed - sum(map(self.was_indexed, changed))

    def was_indexed(self, key: str) -> bool:
        """Tell whether a file was indexed before this build."""
        stamp = self.known.get(key)
        return stamp is not None and stamp.reason is None

    def check_shrink(self, removed: Collection[str], moved: int = 0) -> None:
        """Raise IndexWouldShrink if a build without ``removed`` would lose too many images.

        ``moved`` of them may still be found under new names. Named files that were deleted count as
        well.
        """
        gone = [*removed, *(key for key in self.listing.unreadable if key not in self.unavailable)]
        lost = sorted(filter(self.was_indexed, gone))
        if self.allow_shrink or len(lost) - moved <= self.indexed * MAX_SHRINK:
            return
        some = ", ".join(lost[:SHOWN]) + (", ..." if len(lost) > SHOWN else "")
        excluded = ", ".join(self.listing.examples.get(EXCLUDED, ()))
        why = f" dataset.exclude passes over {excluded}." if excluded else ""
        raise IndexWouldShrink(
            f"{len(lost):,} of {self.indexed:,} indexed images are no longer there, or are "
            f"damaged: {some}.{why}",
            "Nothing was removed. If their disk is not mounted, mount it and index again. To "
            f"remove them: {ALLOW_SHRINK}",
        )


def unavailable_notes(unavailable: Mapping[str, str]) -> list[str]:
    """Return which images are unavailable and what to do, in sentences for the user."""
    if not unavailable:
        return []
    reasons = Counter(unavailable.values()).most_common()
    shown = [f"{reason} ({count:,})" for reason, count in reasons[:SHOWN]]
    more = ["..."] if len(reasons) > SHOWN else []
    what = f"{len(unavailable):,} indexed images cannot be read now and stay in the index"
    return [
        f"{what}: {'; '.join(shown + more)}.",
        f"If their disk is away, mount it. If they were deleted, remove them: {ALLOW_SHRINK}",
    ]


def compare(
    dataset: Dataset,
    known: Mapping[str, Stamp],
    max_pixels: int,
    *,
    allow_shrink: bool = False,
    reread: bool = False,
) -> Changes:
    """Scan the dataset and compare it with the catalogue by size, modification time and revision.

    Some skipped files are read again: those that could not be read, those that took too long once,
    those whose decoder was missing and is there, and those with too many pixels if ``max_pixels``
    allows them now. With ``reread`` all files are.

    What cannot be read is unknown, not gone: an image that was indexed stays in the index if it, or
    a folder it lies in, cannot be read, or if its disk may be away. ``allow_shrink`` says that no
    disk is away: then images that cannot be found are gone.

    Raises :class:`~indexer.errors.DatasetError` if there are no images, or none of those in the
    store, so that a wrong folder or an unmounted disk does not empty the store. Files that were
    all renamed are those in the store. It is also raised if links lead out of the image folder of
    which the settings do not say whether to follow them.
    """
    listing = dataset.scan()
    _require_decision(listing.undecided_links)
    listing.use_known_names(known)
    found = {item.key for item in listing.items} | listing.unreadable.keys()
    if not found:
        raise _without_images(dataset.source, listing)
    if known and found.isdisjoint(known):
        _require_same_items(listing, known)
    if known and found.isdisjoint(known) and not _look_renamed(listing, known):
        raise DatasetError(
            f"None of the {len(known)} files of this store is in {dataset.source}.",
            "To index another folder, name another store (--store FOLDER) or delete this one.",
        )
    indexed = sum(stamp.reason is None for stamp in known.values())
    return _changes(listing, known, indexed, max_pixels, allow_shrink=allow_shrink, reread=reread)


def compare_part(part: Part, known: Mapping[str, Stamp], indexed: int, max_pixels: int) -> Changes:
    """Compare a part of the dataset with what is ``known`` of its keys, as :func:`compare` does.

    ``indexed`` is how many images are in the index.
    """
    return _changes(part.listing, known, indexed, max_pixels)


def _changes(
    listing: Listing,
    known: Mapping[str, Stamp],
    indexed: int,
    max_pixels: int,
    *,
    allow_shrink: bool = False,
    reread: bool = False,
) -> Changes:
    unknown = _unknown(listing, allow_shrink=allow_shrink)
    found = {item.key for item in listing.items} | listing.unreadable.keys()
    present = {item.key for item in listing.items}
    unavailable = {}
    for key, stamp in known.items():
        if stamp.reason is None and key not in present and (name := _named(key, unknown)):
            unavailable[key] = unknown[name] if name == key else f"{name}: {unknown[name]}"
    return Changes(
        listing,
        known,
        [
            item
            for item in listing.items
            if reread or _must_read(item, known.get(item.key), max_pixels)
        ],
        sorted(key for key in known.keys() - found if not _named(key, unknown)),
        unavailable,
        indexed,
        allow_shrink,
    )


def _without_images(source: str, listing: Listing) -> NoImages:
    hint = "Name a folder that holds image files, at any depth: lookalike index FOLDER."
    for kind in ("tar", "parquet"):
        if listing.ignored[f".{kind}"]:
            hint = (
                f"It holds .{kind} files. To index the images in them, name the files, or set "
                f"dataset.kind: {kind} in config.yaml."
            )
    return NoImages(f"There are no images in {source}.", hint)


def _require_decision(links: Mapping[str, str]) -> None:
    """Raise DatasetError if links lead out of the image folder and no setting mentions them."""
    if links:
        raise DatasetError(
            f"Links lead out of the image folder: {links_in_words(links)}.",
            "To index what is there: --follow-links, or dataset.follow_links: true. To leave it "
            "out: --no-follow-links, or false; for one link, name it in dataset.exclude.",
        )


def _require_same_items(listing: Listing, known: Mapping[str, Stamp]) -> None:
    """Raise DatasetError if boxes would replace images, or images boxes."""
    boxes_before = any(map(is_box, known))
    boxes_now = any(item.box is not None for item in listing.items)
    if listing.items and boxes_before != boxes_now:
        before, now = ("boxes", "images") if boxes_before else ("images", "boxes")
        raise DatasetError(
            f"This store holds {before}, and dataset.items says {now}.",
            f"To index the {now}, name another store: --store FOLDER. To go on with the {before}: "
            f"--items {before}.",
        )


def _look_renamed(listing: Listing, known: Mapping[str, Stamp]) -> bool:
    """Tell whether files with the size and time of almost every indexed one are there.

    Where the scan knows no sizes, those with its time.
    """
    found = {(item.size, item.mtime_ns) for item in listing.items}
    indexed = [stamp for stamp in known.values() if stamp.reason is None]
    lost = sum(
        (stamp.size, stamp.mtime_ns) not in found and (None, stamp.mtime_ns) not in found
        for stamp in indexed
    )
    return bool(indexed) and lost <= len(indexed) * MAX_SHRINK


def _unknown(listing: Listing, *, allow_shrink: bool) -> dict[str, str]:
    """Return the files and folders of which nothing can be said, with the reasons."""
    gone = listing.deleted | (listing.doubtful.keys() if allow_shrink else set())
    places = {**listing.unreadable, **listing.doubtful}
    return {key: why for key, why in places.items() if key not in gone}


def _named(key: str, places: Mapping[str, str]) -> str | None:
    """Return the file or the outermost folder among ``places`` that a key is or lies in."""
    return next((name for name in (key, *_parents(key)) if name in places), None)


def _parents(key: str) -> Iterator[str]:
    """Yield the folders that a key lies in, ending in /, the outermost first."""
    position = key.find("/")
    while position >= 0:
        yield key[: position + 1]
        position = key.find("/", position + 1)


def _must_read(item: Item, known: Stamp | None, max_pixels: int) -> bool:
    if known is None or not is_same_file(item, known):
        return True
    if known.reason == ImageTooLarge.code:
        return known.pixels is not None and known.pixels <= max_pixels
    if known.reason == DecoderMissing.code:
        return can_read_raw()
    return known.reason not in NOT_RETRIED


def is_same_file(item: Item, known: Stamp) -> bool:
    """Tell whether a file is certainly the one that a stamp was taken of, unchanged."""
    return _is_alike(item, known) and known.revision == item.revision


def _looks_indexed(item: Item, known: Stamp | None) -> bool:
    """Tell whether a file has the size and time of what was indexed, and a box also its place."""
    return (
        known is not None
        and known.reason is None
        and _is_alike(item, known)
        and (known.revision is None or box_in(known.revision) == box_in(item.revision))
    )


def _is_alike(item: Item, known: Stamp) -> bool:
    """Tell whether a file has the time of a stamp, and its size, if the scan knows it."""
    return item.size in (None, known.size) and item.mtime_ns == known.mtime_ns
