"""The interface of a source of images."""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from indexer.datasets.boxes import file_of_box
from indexer.images import Box
from indexer.text import escaped

SHOWN = 3
"""How many examples of what was passed over a report names."""

BAR_DELAY_S = 1
"""What takes less time needs no progress bar."""


@dataclass(frozen=True, slots=True)
class Item:
    """One image, or a box in one, with a stable ``key``, in which ``/`` separates folders.

    ``size`` (bytes), ``mtime_ns`` and ``revision`` tell, without reading the file, whether it may
    have changed since the last scan. The size is None if only reading it would tell; then the other
    two must do. Numbers beyond 64 bits become the nearest within. ``metadata`` is what the source
    knows of it, as JSON-ready values.
    """

    key: str
    size: int | None
    mtime_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)
    revision: str = ""
    """Another text whenever the file was written or replaced, and sometimes when it was not."""
    box: Box | None = None
    """The region of the file's picture that counts, as it is stored: EXIF may say that it is
    turned. None is all of it."""

    @property
    def file(self) -> str:
        """The key of its file, by which it is read; of a whole image, its own key."""
        return self.key if self.box is None else file_of_box(self.key)

    def __post_init__(self) -> None:
        if self.size is not None:
            object.__setattr__(self, "size", _in_64_bits(self.size))
        object.__setattr__(self, "mtime_ns", _in_64_bits(self.mtime_ns))


def _in_64_bits(number: int) -> int:
    """Return a number, or the nearest that the catalogue can hold.

    A file may be dated after the year 2262, beyond 2**63 nanoseconds, and the header of an archive
    may contain any size.
    """
    return max(-(2**63), min(number, 2**63 - 1))


@dataclass(slots=True)
class Listing:
    """The result of a scan: the images by key, and what was ignored or unreadable."""

    items: list[Item] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """How many files and records were ignored, by ending or heading: no images by name, hidden,
    duplicates, damaged."""
    examples: dict[str, list[str]] = field(default_factory=dict)
    """The first names under those headings of ``ignored`` that the user should read."""
    notes: list[str] = field(default_factory=list)
    """Other sentences for the user."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Files, folders and archives that could not be read: reason by key. A key that ends in / is
    that of a folder or an archive, whose images are unknown rather than removed."""
    deleted: set[str] = field(default_factory=set)
    """Unreadable files that are certainly gone: their folder is there and holds others."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Files and folders whose disk may be away: reason by key, that of a folder ends in /. An image
    that was found there before is unknown rather than removed."""
    undecided_links: dict[str, str] = field(default_factory=dict)
    """Links to folders elsewhere of which no setting says whether to follow them: target by key.
    They were not followed."""
    spellings: dict[str, Sequence[str]] = field(default_factory=dict)
    """Other names under which a missing file may have been found before, by its key."""

    def in_order(self) -> "Listing":
        """Sort the items; a key is not unreadable if an item has it. Return the listing."""
        self.items.sort(key=lambda item: item.key)
        for item in self.items:
            self.unreadable.pop(item.key, None)
        return self

    def include(self, other: "Listing") -> None:
        """Add what a scan of another part of the source found, passed over and could not read."""
        self.items += other.items
        self.unreadable |= other.unreadable
        self.ignored.update(other.ignored)
        for heading, names in other.examples.items():
            known = self.examples.setdefault(heading, [])
            known += names[: SHOWN - len(known)]

    def pass_over(self, heading: str, name: str) -> None:
        """Count what is ignored, and keep the first names for the report."""
        self.ignored[heading] += 1
        names = self.examples.setdefault(heading, [])
        if len(names) < SHOWN:
            names.append(escaped(name))

    def use_known_names(self, known: Container[str]) -> None:
        """Give missing files the names under which they are known, if they have other spellings."""
        present = {item.key for item in self.items} if self.spellings else set()
        for key, others in self.spellings.items():
            name = next((other for other in others if other in known), None)
            if key in known or name is None or name in present or name in self.unreadable:
                continue
            self.unreadable[name] = self.unreadable.pop(key)
            if key in self.doubtful:
                self.doubtful[name] = self.doubtful.pop(key)
            if key in self.deleted:
                self.deleted.remove(key)
                self.deleted.add(name)

    def report(self) -> list[str]:
        """Return what the user should read of this scan, in sentences."""
        found = []
        for heading, names in self.examples.items():
            count = self.ignored[heading]
            more = ", ..." if count > len(names) else ""
            found.append(f"{count:,} {heading}: {', '.join(names)}{more}")
        return found + self.notes


def links_in_words(links: Mapping[str, str]) -> str:
    """Return the first links, each with its target, for a message."""
    shown = [f"{escaped(key)} (to {escaped(links[key])})" for key in islice(links, SHOWN)]
    return ", ".join(shown) + (f" and {len(links) - SHOWN:,} more" if len(links) > SHOWN else "")


class Dataset(Protocol):
    """A source of images. Creating one does not read the disk. Reading is safe between threads."""

    @property
    def source(self) -> str:
        """A description of the source for messages."""
        ...

    def scan(self) -> Listing:
        """List the images. Each is either an item or unreadable, and none is listed twice.

        Raises :class:`~indexer.errors.DatasetError` if the source itself cannot be used.
        """
        ...

    def read(self, key: str) -> bytes:
        """Return the current bytes of an image file, whether or not :meth:`scan` was called.

        Raises :class:`~indexer.errors.ImageGone`, its subclass
        :class:`~indexer.errors.ImageUnreadable`, or :class:`~indexer.errors.ImageTooLarge`.
        """
        ...
