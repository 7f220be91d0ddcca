"""Images named by a list at an address, such as ``https://host/photos.txt``."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from indexer.config import is_address
from indexer.datasets.base import Item, Listing
from indexer.datasets.files import NOT_UTF8, is_below
from indexer.datasets.image_list import names_in
from indexer.datasets.objects import LEADS_OUT, Objects
from indexer.datasets.walk import Rules
from indexer.errors import DatasetError, ObjectStorageError
from indexer.text import decode, escaped, is_text

if TYPE_CHECKING:
    from indexer.object_storage import StoredObject

MAX_LIST_BYTES = 10**9
THREADS = 16
"""How many objects are asked for at the same time: each is a request of its own."""

MISSING = "it is not there"


class ObjectList(Objects):
    """The images named in a text file at an address, for what has no listing, such as HTTP.

    A key is a name as the list has it, relative to the list's address. Names that lead out of the
    list's folder are unreadable. Blank lines and lines that begin with ``#`` are ignored. The size,
    the time and the ETag of each are asked for one by one.
    """

    def __init__(self, address: str, rules: Rules | None = None) -> None:
        folder, _, self._name = address.rpartition("/")
        super().__init__(folder, rules)
        self._list = address

    def __reduce__(self) -> tuple[type[Objects], tuple[str, Rules]]:
        """Make a copy for another process, which connects by itself."""
        return ObjectList, (self._list, self._rules)

    @property
    def source(self) -> str:
        """The address of the list."""
        return self._list

    def scan(self) -> Listing:
        """Ask for every named object; one that does not exist is unreadable and gone."""
        listing, keys = Listing(), dict[str, None]()
        for name in self._names():
            if name in keys or name in listing.unreadable:
                listing.ignored["listed twice"] += 1
            elif not is_text(name):
                listing.unreadable[escaped(name)] = NOT_UTF8
            elif not is_below(name) or is_address(name):
                listing.unreadable[name] = LEADS_OUT
            else:
                keys[name] = None
        with ThreadPoolExecutor(THREADS) as pool:
            for key, found in zip(keys, pool.map(self._status, keys), strict=True):
                self._add(listing, key, found)
        return listing.in_order()

    def _add(self, listing: Listing, key: str, found: "StoredObject | str | None") -> None:
        if found is None:
            listing.unreadable[key] = MISSING
            listing.deleted.add(key)
        elif isinstance(found, str):
            listing.unreadable[key] = found
        else:
            listing.items.append(Item(key, found.size, found.mtime_ns, revision=found.tag or ""))

    def _status(self, key: str) -> "StoredObject | str | None":
        """Return what is known of an object, None if it does not exist, or why it is unknown."""
        try:
            return self.connect().status(key)
        except ObjectStorageError as error:
            return error.message

    def _names(self) -> Iterator[str]:
        try:
            content = self.connect().read(self._name, MAX_LIST_BYTES)
            if content is None:
                raise DatasetError(f"There is no list at {self._list}.", "Check the address.")
            return names_in(decode(content, keep_invalid=True))
        except ObjectStorageError as error:
            raise DatasetError(f"The list cannot be read: {error.message}", error.hint) from None
        except ValueError as error:
            raise DatasetError(
                f"The list {self._list} cannot be read: {error}.",
                "Name a text file with the name of one image per line.",
            ) from None
