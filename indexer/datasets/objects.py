"""Images in object storage, below an address such as ``s3://bucket/photos``."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from indexer.datasets.base import Item, Listing
from indexer.datasets.exclusion import STORE_FILES, STORE_FOLDERS
from indexer.datasets.files import (
    GONE_HINT,
    MAX_FILE_BYTES,
    NOT_UTF8,
    ignored_as,
    is_below,
    too_large,
)
from indexer.datasets.walk import EXCLUDED, HIDDEN, INDEXES, Rules, is_visible
from indexer.errors import DatasetError, ImageGone, ImageUnreadable, ObjectStorageError
from indexer.text import escaped, is_text

if TYPE_CHECKING:
    from indexer.object_storage import ObjectFolder, StoredObject

LEADS_OUT = "the name leads out of the address"


class Objects:
    """The images below an address of fsspec. A key is an object's name below the address.

    Whether an object may have changed is told by its size, its time and its ETag, which one listing
    gives for all: what has not changed is not read again. Hidden and excluded names are passed over
    as in folders. What cannot be listed ends the scan: nothing is known then of any image.
    """

    def __init__(self, address: str, rules: Rules | None = None) -> None:
        self._address = address
        self._rules = rules or Rules()
        self._opening = threading.Lock()
        self._opened: ObjectFolder | None = None

    def __reduce__(self) -> tuple[type["Objects"], tuple[str, Rules]]:
        """Make a copy for another process, which connects by itself."""
        return Objects, (self._address, self._rules)

    @property
    def source(self) -> str:
        """The address."""
        return self._address

    def scan(self) -> Listing:
        """List the objects whose names may be those of images."""
        listing = Listing()
        for key, item in self.visible(listing).items():
            _add(listing, key, item)
        return listing.in_order()

    def visible(self, listing: Listing) -> "dict[str, StoredObject]":
        """Return the objects that are not passed over by their names, which are counted.

        Raises :class:`DatasetError` if they cannot be listed, or if there are none.
        """
        try:
            found = self.connect().list()
        except ObjectStorageError as error:
            message = f"The images cannot be listed: {error.message}"
            raise DatasetError(message, error.hint) from None
        if not found:  # object storage has no folders: this may be a wrong address
            raise DatasetError(f"There is nothing at {self._address}.", "Check the address.")
        indexes, visible = _indexes(found), {}
        for index in sorted(indexes):
            listing.pass_over(INDEXES, index.rstrip("/") or ".")
        excluded = set[str]()
        for key, item in found.items():
            if any(_is_in(key, index) for index in indexes):
                continue
            part = self._rules.exclude.part_of(key)
            if not all(map(is_visible, key.split("/"))):
                listing.ignored[HIDDEN] += 1
            elif part is not None:
                excluded.add(part)
            else:
                visible[key] = item
        for part in sorted(excluded):
            listing.pass_over(EXCLUDED, part)
        return visible

    def read(self, key: str) -> bytes:
        """Return the bytes of an image."""
        if not is_below(key):
            raise ImageGone(f"{key} is outside of {self._address}.")
        from indexer.object_storage import ObjectTooLarge

        try:
            data = self.connect().read(key, MAX_FILE_BYTES)
        except ObjectTooLarge:
            raise too_large(key) from None
        except ObjectStorageError as error:
            message = f"The image {key} cannot be read: {error.message}"
            raise ImageUnreadable(message, error.hint) from None
        if data is None:
            raise ImageGone(f"The image {key} is not at {self._address}.", GONE_HINT)
        return data

    def connect(self) -> "ObjectFolder":
        """Return the objects; nothing is asked of a network yet.

        Raises :class:`~indexer.errors.MissingDependency` and :class:`~indexer.errors.ConfigError`.
        """
        from indexer.object_storage import ObjectFolder

        with self._opening:
            if self._opened is None:
                self._opened = ObjectFolder(self._address)
            return self._opened


def _add(listing: Listing, key: str, found: "StoredObject") -> None:
    """Add an object to the listing if it may be an image, by its name."""
    if heading := ignored_as(key.rpartition("/")[2]):
        listing.ignored[heading] += 1
    elif not is_text(key):
        listing.unreadable[escaped(key)] = NOT_UTF8
    elif not is_below(key):
        listing.unreadable[key] = LEADS_OUT
    else:
        listing.items.append(Item(key, found.size, found.mtime_ns, revision=found.tag or ""))


def _indexes(found: "Mapping[str, StoredObject]") -> set[str]:
    """Return the folders of indexes that were pushed among the images, each ending in /."""
    ends = [key.removesuffix("CURRENT") for key in found if f"/{key}".endswith("/CURRENT")]
    return {end for end in ends if any(key.startswith(f"{end}segments/") for key in found)}


def _is_in(key: str, index: str) -> bool:
    """Tell whether an object is one of an index, rather than beside it."""
    name, _, rest = key.removeprefix(index).partition("/")
    return key.startswith(index) and name in (STORE_FOLDERS if rest else STORE_FILES)
