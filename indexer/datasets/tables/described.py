"""A dataset whose images a table describes."""

import posixpath
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from tqdm import tqdm

from indexer.datasets.base import BAR_DELAY_S, Dataset, Listing
from indexer.datasets.tables.reading import read_table
from indexer.datasets.tables.values import usable
from indexer.text import spellings


class Described:
    """A dataset and a table with metadata of its images, above what the dataset itself says.

    ``folders`` are those that paths of images may begin with, each ending in /, with what the keys
    of images in them begin with instead. The table is read by each scan, and not kept.
    """

    def __init__(self, dataset: Dataset, table: Path, folders: Mapping[str, str]) -> None:
        self._dataset = dataset
        self._table = table
        self._folders = folders

    @property
    def source(self) -> str:
        """Where the images are."""
        return self._dataset.source

    def scan(self) -> Listing:
        """List the images with the values of their rows.

        Rows of no image, images without a row and the like are counted.
        """
        listing = self._dataset.scan()
        places = {item.key: place for place, item in enumerate(listing.items)}
        has_row = bytearray(len(places))
        rows = read_table(self._table, listing)
        reading = f"Reading {self._table.name}"
        for row in tqdm(rows, reading, unit="row", leave=False, disable=None, delay=BAR_DELAY_S):
            if not row.path:
                listing.pass_over("table rows without a path", row.place)
                continue
            what = f"{row.path} ({row.place})"
            key = self._key(row.path, places)
            if key is None:
                if self._key(row.path, listing.unreadable) is None:
                    listing.pass_over("table rows of no image", what)
                continue
            place = places[key]
            if has_row[place]:
                listing.pass_over("table rows of an image that has one", what)
                continue
            has_row[place] = True
            item = listing.items[place]
            values = usable(row.values, what, listing)
            listing.items[place] = replace(item, metadata={**item.metadata, **values})
        for item, described in zip(listing.items, has_row, strict=True):
            if not described:
                listing.pass_over("images without a row in the table (indexed)", item.key)
        return listing

    def read(self, key: str) -> bytes:
        """Return the bytes of an image file."""
        return self._dataset.read(key)

    def _key(self, path: str, keys: Container[str]) -> str | None:
        """Return the key of the image that a path means, or None if there is none."""
        return next((name for name in self._names(path) if name in keys), None)

    def _names(self, path: str) -> Iterator[str]:
        """Yield the keys that a path may mean, however it is spelt."""
        for spelling in spellings(path):
            yield spelling
            normal = posixpath.normpath(spelling)
            yield normal
            for folder, prefix in self._folders.items():
                if normal.startswith(folder):
                    yield prefix + normal.removeprefix(folder)
