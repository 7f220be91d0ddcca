"""The interface of a source of images."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Item:
    """One image, with a stable ``key``, in which ``/`` separates folders.

    ``size`` (bytes) and ``mtime_ns`` tell, without reading the file, whether it changed since the
    last scan. ``metadata`` is what the source knows of it, as JSON-ready values.
    """

    key: str
    size: int
    mtime_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Listing:
    """The result of a scan: the images by key, and what was ignored or unreadable."""

    items: list[Item] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    """How many files were ignored, by ending or heading: no images by name, hidden, duplicates."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Files, folders and archives that could not be read: reason by key. A key that ends in / is
    that of a folder or an archive, whose images are unknown rather than removed."""
    deleted: set[str] = field(default_factory=set)
    """Unreadable files that are certainly gone: their folder is there and holds others."""
    doubtful: dict[str, str] = field(default_factory=dict)
    """Files and folders whose disk may be away: reason by key, that of a folder ends in /. An image
    that was found there before is unknown rather than removed."""

    def in_order(self) -> "Listing":
        """Sort the items; a key is not unreadable if an item has it. Return the listing."""
        self.items.sort(key=lambda item: item.key)
        for item in self.items:
            self.unreadable.pop(item.key, None)
        return self


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
