"""Images in Parquet files: shards whose rows are images."""

import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from indexer.datasets.base import BAR_DELAY_S, Item, Listing
from indexer.datasets.files import GONE_HINT, check_size
from indexer.datasets.parquet.places import ENDING, ParquetFiles, ParquetObjects, Place, Places
from indexer.datasets.parquet.turns import Turns
from indexer.datasets.tables import plain_values, usable
from indexer.datasets.walk import Rules
from indexer.errors import DatasetError, ImageGone, ImageUnreadable, ObjectStorageError
from indexer.text import escaped

if TYPE_CHECKING:
    from indexer.datasets.parquet.shard import Reader, Shard

SHARDS_OPEN = 2
"""A build ends one shard and begins the next."""

THREADS = 16
"""How many files in object storage are scanned at the same time: each takes several requests."""

WITHOUT_IMAGES = "Parquet files without images"
SETTING = "dataset.image_column in config.yaml, or LOOKALIKE_DATASET__IMAGE_COLUMN"

Scanned = tuple[Listing, DatasetError | None]

_KEY = re.compile(r"(.*?\.parquet)/([0-9]{8,18})(?:-.*)?", re.DOTALL | re.IGNORECASE)


def require_library() -> None:
    """Raise :class:`~indexer.errors.MissingDependency` if Parquet files cannot be read."""
    from indexer.datasets.parquet import shard  # noqa: F401


class ParquetShards:
    """The images in Parquet files: each root is a ``.parquet`` file or a folder that holds some.

    Images are in a column of bytes, or of structs with ``bytes`` and perhaps a ``path``, which is
    found if there is one such column, or named by ``column``. The other columns are metadata.

    A key is ``shard.parquet/00000012-name.jpg``, with the number of the row, from zero, in eight
    digits, so that the order of keys is that of the rows. A scan reads no image, and does not know
    their sizes: all images of a file are read again if the file changes. Rows that are read in
    their order are decompressed once; one row alone takes its row group, up to it.
    """

    def __init__(
        self, *roots: Path | str, rules: Rules | None = None, column: str | None = None
    ) -> None:
        self._roots, self._rules, self._column = roots, rules or Rules(), column
        paths = tuple(root for root in roots if isinstance(root, Path))
        self._places: Places = (
            ParquetFiles(paths, self._rules) if paths else ParquetObjects(str(*roots), self._rules)
        )
        self._open: dict[str, Shard] = {}
        self._readers: list[Reader] = []
        self._reading = Turns()

    def __reduce__(self) -> tuple[partial["ParquetShards"], tuple[Path | str, ...]]:
        """Make a copy for another process, which opens the files by itself."""
        return partial(ParquetShards, rules=self._rules, column=self._column), self._roots

    @property
    def source(self) -> str:
        """The paths of the folders and files, or the address."""
        return self._places.source

    def scan(self) -> Listing:
        """List the rows of all files from their metadata and their other columns.

        A damaged file is unreadable, under its name followed by /; the rows before the damage are
        listed. Raises :class:`DatasetError` if no file has images, or if one has several columns
        of them.
        """
        listing, empty = Listing(), list[DatasetError]()
        places = self._places.find(listing)
        with tqdm(
            desc="Reading Parquet files", total=len(places), unit="file", leave=False,
            disable=None, delay=BAR_DELAY_S,
        ) as bar:  # fmt: skip
            for found, without_images in self._scan_each(places):
                listing.include(found)
                empty += [without_images] if without_images else []
                bar.update()
        if empty and not listing.items and not listing.unreadable:
            raise empty[0]
        return listing.in_order()

    def _scan_each(self, places: Mapping[str, Place]) -> Iterator[Scanned]:
        """Scan the files in their order; several at once, where each takes many requests."""
        if not self._places.are_remote:
            yield from map(self._scan_one, places, places.values())
            return
        pool = ThreadPoolExecutor(THREADS)
        try:
            yield from pool.map(self._scan_one, places, places.values())
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _scan_one(self, name: str, place: Place) -> Scanned:
        """Return what is in a file, and why it has no images if it has none."""
        from indexer.datasets.parquet.shard import Shard

        listing, without_images = Listing(), None
        try:
            with Shard(place, self._column) as shard:
                if len(shard.candidates) > 1:
                    raise _several(name, shard.candidates)
                if not shard.candidates:
                    without_images = self._without_column(name, shard.names)
                elif shard.has_no_bytes():
                    without_images = _without_bytes(name, *shard.candidates)
                else:
                    listing.items += _items(name, shard, listing)
        except (OSError, ValueError, ObjectStorageError) as error:
            listing.unreadable[f"{name}/"] = _reason(error)
        if without_images:
            listing.pass_over(WITHOUT_IMAGES, name)
        return listing, without_images

    def read(self, key: str) -> bytes:
        """Return the bytes of an image; none if its row has none."""
        parts = _KEY.fullmatch(key)
        if parts is None:
            raise ImageGone(f"{key} is in none of the {ENDING} files.", GONE_HINT)
        name, row = parts[1], int(parts[2])
        try:
            with self._reading.turn():
                found = self._image(name, row)
        except FileNotFoundError:
            raise ImageGone(f"The file {name} does not exist.", GONE_HINT) from None
        except (OSError, ValueError, ObjectStorageError) as error:
            message = f"{key} cannot be read: {_reason(error)}."
            raise ImageUnreadable(message, GONE_HINT) from None
        if found is None or _key(name, row, found[0]) != key:
            raise ImageGone(f"There is no {key} any more.", GONE_HINT)
        check_size(len(found[1]), key)
        return found[1]

    def _without_column(self, name: str, columns: list[str]) -> DatasetError:
        if self._column is not None:
            return DatasetError(
                f"{name} has no images in a column {self._column}; it has {_listed(columns)}.",
                f"Check {SETTING}.",
            )
        return DatasetError(
            f"{name} has no column that may hold images; it has {_listed(columns)}.",
            "Such a column holds bytes, or structs of bytes and a path, as Hugging Face's datasets "
            "writes them. A table about images elsewhere is named by --metadata.",
        )

    def _image(self, name: str, row: int) -> tuple[str | None, bytes] | None:
        """Return the path and the bytes of a row of a file, which is opened again if it changed."""
        from indexer.datasets.parquet.shard import Changed

        place = self._places.locate(name)
        try:
            return self._opened(name, place).image(row)
        except Changed:
            self._open.pop(name).close()
            return self._opened(name, place).image(row)

    def _opened(self, name: str, place: Place) -> "Shard":
        """Return an open file.

        Whether a file on a disk has changed is asked for every image; of one in a network, for
        every part that is fetched.
        """
        from indexer.datasets.parquet.shard import Shard

        shard = self._open.pop(name, None)
        if shard and not self._places.are_remote and shard.stamp != place.stamp():
            shard.close()
            shard = None
        if len(self._open) == SHARDS_OPEN:
            self._open.pop(next(iter(self._open))).close()
        self._open[name] = shard or Shard(place, self._column, self._readers)
        return self._open[name]


def _items(name: str, shard: "Shard", listing: Listing) -> Iterator[Item]:
    """Yield the images of a file, with its time: what changes it may change any of them."""
    size, mtime_ns, revision = shard.stamp
    revision = f"{revision}-{size}"
    for row, (path, values) in enumerate(shard.described()):
        key = _key(name, row, path)
        metadata = usable(plain_values(values, key, listing), key, listing)
        yield Item(key, None, mtime_ns, metadata, revision)


def _without_bytes(name: str, column: str) -> DatasetError:
    return DatasetError(
        f"{name} holds no images: its column {column} has no bytes, perhaps paths.",
        "Write them into the file: Hugging Face's datasets does so if embed_table_storage comes "
        "before to_parquet. Or index the files that the paths name, as a folder or a list.",
    )


def _several(name: str, columns: list[str]) -> DatasetError:
    return DatasetError(
        f"{name} has {len(columns)} columns that may hold images: {_listed(columns)}.",
        f"Name the one that does: {SETTING}={escaped(columns[0])}.",
    )


def _key(name: str, row: int, path: object) -> str:
    """Return the key of a row, whose path is that of a file: only its name, if it is absolute."""
    path = path.replace("\0", "\ufffd") if isinstance(path, str) else ""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    if path.startswith("/"):  # of the machine that wrote it
        parts = parts[-1:]
    return "-".join([f"{name}/{row:08}", *(["/".join(parts)] if parts else [])])


def _reason(error: OSError | ValueError | ObjectStorageError) -> str:
    if isinstance(error, ObjectStorageError):
        return error.message.rstrip(".")
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else " ".join(str(error).split())
    return str(error)


def _listed(names: list[str]) -> str:
    return ", ".join(map(escaped, names)) or "none"
