"""Where Parquet files are: on disks, or in object storage."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol, cast

from indexer.datasets.base import Listing
from indexer.datasets.files import GONE_HINT, NOT_UTF8, ignored_as, is_below
from indexer.datasets.objects import Objects
from indexer.datasets.shards import Shards, Stamp, stamp_at, stamp_of
from indexer.datasets.walk import Rules
from indexer.errors import DatasetError, ImageGone, ObjectStorageError
from indexer.text import escaped, is_text

if TYPE_CHECKING:
    from indexer.object_storage import ObjectFolder

ENDING = ".parquet"


class Place(Protocol):
    """Where a Parquet file is.

    The methods raise :class:`FileNotFoundError` if it is gone, and :class:`OSError` or
    :class:`~indexer.errors.ObjectStorageError` if it cannot be reached.
    """

    @property
    def part_bytes(self) -> int:
        """How much of it is worth reading at once."""
        ...

    def stamp(self) -> Stamp:
        """Return what tells whether the file has changed."""
        ...

    def open(self) -> tuple[BinaryIO, Stamp]:
        """Open the file for reading; return it with its stamp."""
        ...


class Places(Protocol):
    """The Parquet files of a dataset, by their names."""

    are_remote: bool
    """Whether a stamp has to be asked for in a network."""

    @property
    def source(self) -> str:
        """A description for messages."""
        ...

    def find(self, listing: Listing) -> Mapping[str, Place]:
        """Search for the files. Raises :class:`~indexer.errors.DatasetError` if there are none."""
        ...

    def locate(self, name: str) -> Place:
        """Return where a file is. Raises :class:`~indexer.errors.ImageGone`."""
        ...


class FilePlace(NamedTuple):
    """A file on a disk."""

    path: Path
    part_bytes: int = 1 << 20

    def stamp(self) -> Stamp:
        """Return the size, the modification time and the revision of the file."""
        return stamp_at(self.path)

    def open(self) -> tuple[BinaryIO, Stamp]:
        """Open the file. What is no regular one is refused: a pipe would wait for a writer."""
        if not self.path.is_file() and self.path.exists():
            raise ValueError("it is not a regular file")
        file = cast("BinaryIO", self.path.open("rb", buffering=0))
        return file, stamp_of(file)


class ParquetFiles:
    """Parquet files on disks: each root is one, or a folder that holds some."""

    are_remote = False

    def __init__(self, roots: tuple[Path, ...], rules: Rules) -> None:
        self._shards = Shards(roots, ENDING, rules)

    @property
    def source(self) -> str:
        """The paths of the folders and files."""
        return self._shards.source

    def find(self, listing: Listing) -> Mapping[str, Place]:
        """Search the folders."""
        return {name: FilePlace(path) for name, path in self._shards.find(listing).items()}

    def locate(self, name: str) -> Place:
        """Return where a file is."""
        return FilePlace(self._shards.locate(f"{name}/")[1])


class ObjectPlace(NamedTuple):
    """An object of a storage."""

    folder: "ObjectFolder"
    name: str
    part_bytes: int = 8 << 20

    def stamp(self) -> Stamp:
        """Return the size, the time and the ETag of the object."""
        found = self.folder.status(self.name)
        if found is None:
            raise FileNotFoundError(self.name)
        return found.size, found.mtime_ns, found.tag or ""

    def open(self) -> tuple[BinaryIO, Stamp]:
        """Return the object as a file, whose parts are asked for as they are read."""
        stamp = self.stamp()
        return self.folder.open(self.name, stamp[0]), stamp


class ParquetObjects:
    """Parquet files in object storage: the address of one, or what is below an address."""

    are_remote = True

    def __init__(self, address: str, rules: Rules) -> None:
        folder, _, name = address.rpartition("/")
        self.source = address
        self._only = name if name.lower().endswith(ENDING) else None
        self._objects = Objects(folder if self._only else address, rules)

    def find(self, listing: Listing) -> Mapping[str, Place]:
        """List the address. Hidden and excluded names are passed over."""
        if self._only:
            found = [self._only] if self._exists(self._only) else []
        else:
            found = self._names(listing)
        if not found:
            raise DatasetError(
                f"There are no {ENDING} files at {self.source}.",
                f"Check the address: that of a {ENDING} file, or what begins the names of some.",
            )
        return {name: self.locate(name) for name in found}

    def locate(self, name: str) -> Place:
        """Return where an object is, whether or not it exists."""
        if not is_below(name):
            raise ImageGone(f"{name} is outside of {self.source}.", GONE_HINT)
        return ObjectPlace(self._objects.connect(), name)

    def _names(self, listing: Listing) -> list[str]:
        found = []
        for name in sorted(self._objects.visible(listing)):
            if not name.lower().endswith(ENDING):
                listing.ignored[ignored_as(name.rpartition("/")[2]) or f"no {ENDING} file"] += 1
            elif is_text(name):
                found.append(name)
            else:
                listing.unreadable[f"{escaped(name)}/"] = NOT_UTF8
        return found

    def _exists(self, name: str) -> bool:
        try:
            return self._objects.connect().status(name) is not None
        except ObjectStorageError as error:
            message = f"The images cannot be listed: {error.message}"
            raise DatasetError(message, error.hint) from None
