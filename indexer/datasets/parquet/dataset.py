"""Images in Parquet files: shards whose rows are images."""

import os
import re
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from indexer.datasets.base import BAR_DELAY_S, Item, Listing
from indexer.datasets.files import GONE_HINT, check_size
from indexer.datasets.shards import Shards, stamp_at
from indexer.datasets.tables import plain_values, usable
from indexer.datasets.walk import Rules
from indexer.errors import DatasetError, ImageGone, ImageUnreadable
from indexer.text import escaped

if TYPE_CHECKING:
    from indexer.datasets.parquet.shard import Shard

SHARDS_OPEN = 2
"""A build ends one shard and begins the next."""

WITHOUT_IMAGES = "Parquet files without images"
SETTING = "dataset.image_column in config.yaml, or LOOKALIKE_DATASET__IMAGE_COLUMN"

_ROW = re.compile(r"([0-9]{8,18})(?:-.*)?", re.DOTALL)


class ParquetShards:
    """The images in Parquet files: each root is a ``.parquet`` file or a folder that holds some.

    Images are in a column of bytes, or of structs with ``bytes`` and perhaps a ``path``, which is
    found if there is one such column, or named by ``column``. The other columns are metadata.

    A key is ``shard.parquet/00000012-name.jpg``, with the number of the row, from zero, in eight
    digits, so that the order of keys is that of the rows. A scan reads no image, and does not know
    their sizes: all images of a file are read again if the file changes. Rows that are read in
    their order are decompressed once; one row alone takes its row group, up to it.
    """

    def __init__(self, *roots: Path, rules: Rules | None = None, column: str | None = None) -> None:
        self._shards = Shards(roots, ".parquet", rules or Rules())
        self._column = column
        self._open: dict[str, Shard] = {}
        self._reading = threading.Lock()

    def __reduce__(self) -> tuple[partial["ParquetShards"], tuple[Path, ...]]:
        """Make a copy for another process, which opens the files by itself."""
        rules = self._shards.rules
        return partial(ParquetShards, rules=rules, column=self._column), self._shards.roots

    @property
    def source(self) -> str:
        """The paths of the folders and files."""
        return self._shards.source

    def require_library(self) -> None:
        """Raise :class:`~indexer.errors.MissingDependency` if Parquet files cannot be read."""
        from indexer.datasets.parquet import shard  # noqa: F401

    def scan(self) -> Listing:
        """List the rows of all files from their metadata and their other columns.

        A damaged file is unreadable, under its name followed by /; the rows before the damage are
        listed. Raises :class:`DatasetError` if no file has images, or if one has several columns
        of them.
        """
        from indexer.datasets.parquet.shard import Shard

        listing, others = Listing(), dict[str, DatasetError]()
        paths = self._shards.find(listing).items()
        reading = "Reading Parquet files"
        for name, path in tqdm(
            paths, reading, unit="file", leave=False, disable=None, delay=BAR_DELAY_S
        ):
            try:
                with Shard(path, self._column) as shard:
                    if len(shard.candidates) > 1:
                        raise _several(name, shard.candidates)
                    if not shard.candidates:
                        others[name] = self._without_column(name, shard.names)
                    elif shard.has_no_bytes():
                        others[name] = _without_bytes(name, *shard.candidates)
                    else:
                        listing.items += _items(name, shard, listing)
            except (OSError, ValueError) as error:
                listing.unreadable[f"{name}/"] = _reason(error)
        if others and not listing.items and not listing.unreadable:
            raise next(iter(others.values()))
        for name in others:
            listing.pass_over(WITHOUT_IMAGES, name)
        return listing.in_order()

    def read(self, key: str) -> bytes:
        """Return the bytes of an image; none if its row has none."""
        name, path, rest = self._shards.locate(key)
        number = _ROW.fullmatch(rest)
        try:
            with self._reading:
                shard = self._opened(name, path)
                found = shard.image(int(number[1])) if number else None
        except FileNotFoundError:
            raise ImageGone(f"The file {name} does not exist.", GONE_HINT) from None
        except (OSError, ValueError) as error:
            message = f"{key} cannot be read: {_reason(error)}."
            raise ImageUnreadable(message, GONE_HINT) from None
        if number is None or found is None or _key(name, int(number[1]), found[0]) != key:
            raise ImageGone(f"The file {name} holds no {rest}.", GONE_HINT)
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

    def _opened(self, name: str, path: Path) -> "Shard":
        """Return an open file, opened again if it has changed."""
        from indexer.datasets.parquet.shard import Shard

        shard = self._open.pop(name, None)
        if shard and shard.stamp != stamp_at(path):
            shard.close()
            shard = None
        if len(self._open) == SHARDS_OPEN:
            self._open.pop(next(iter(self._open))).close()
        self._open[name] = shard or Shard(path, self._column)
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


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return os.strerror(error.errno) if error.errno else str(error)
    return str(error)


def _listed(names: list[str]) -> str:
    return ", ".join(map(escaped, names)) or "none"
