"""What every source of images promises."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """One image: ``key`` names it for good, with ``/`` between folders, as far as there are any.

    ``size`` (bytes) and ``mtime_ns`` tell whether it is still the one of the last scan, without
    reading it. ``metadata`` is what the source says of it, JSON-ready.
    """

    key: str
    size: int
    mtime_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Listing:
    """What a scan found: images in order of their keys, and what was passed over."""

    items: list[Item] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """How many files were passed over, by ending: not images by their name, hidden, or twice."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """What should be there and could not be looked at, reason by key. A key that ends in / is a
    folder or an archive: what lies below it is unknown, not gone."""

    def in_order(self) -> "Listing":
        """Return the listing with its items sorted; a valid key may look like an escaped one."""
        self.items.sort(key=lambda item: item.key)
        for item in self.items:
            self.unreadable.pop(item.key, None)
        return self


class Dataset(Protocol):
    """A source of images. Making one touches nothing on disk; reading is safe between threads."""

    @property
    def source(self) -> str:
        """Where the images come from, in words for people."""
        ...

    def scan(self) -> Listing:
        """List the images; every one of them is an item or unreadable, none of them twice.

        Raises :class:`~indexer.errors.DatasetError` if the source itself cannot be used.
        """
        ...

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file, as they are now; :meth:`scan` need not come before.

        Raises :class:`~indexer.errors.ImageGone`, which
        :class:`~indexer.errors.ImageUnreadable` is as well, or
        :class:`~indexer.errors.ImageTooLarge`.
        """
        ...
