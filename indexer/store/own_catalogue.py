"""The store's own catalogue, which builds write: with each image's place, and what has changed."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter

from indexer.store.catalogue import Catalogue
from indexer.store.connections import connect, translated_values
from indexer.store.records import CatalogueLayer, Counts, Name

LAYERS = TypeAdapter(tuple[CatalogueLayer, ...])
_NAME = TypeAdapter(Name)


class OwnCatalogue(Catalogue):
    """The store's own catalogue. A build may change it between two calls."""

    @staticmethod
    def open(path: Path, options: str = "mode=ro") -> "OwnCatalogue":
        """Open it for reading, also while a build writes it. Raises :class:`StoreCorrupt`."""
        return OwnCatalogue(path, lambda: connect(path, options))

    def next_id(self) -> int:
        """Return the id of the next new row; ids are never reused."""
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'images'")
        with translated_values(self.path):
            return int(rows[0][0]) + 1 if rows else 1

    def counts(self) -> Counts:
        """Count the files: the indexed ones by segment, which is faster than row by row."""
        ((indexed, skipped),) = self._query(
            "SELECT (SELECT ifnull(sum(alive), 0) FROM segments), "
            "(SELECT count(*) FROM images WHERE status = 'skipped')"
        )
        return Counts(found=indexed + skipped, indexed=indexed, skipped=skipped)

    def change_token(self) -> tuple[int, int]:
        """Return the next id and the number of rows, which tell whether the catalogue has changed.

        Adding a row raises the next id, removing rows lowers their number, and an update of keys or
        metadata skips an id. A new time of a file, or place of a vector, changes neither.
        """
        return self.next_id(), self.counts().found

    def ids_in(self, segment: str) -> NDArray[np.int64]:
        """Return the ids of a segment's images, int64 (n, 2): row in the segment and id, by row."""
        rows = self._query("SELECT row, id FROM images WHERE segment = ? ORDER BY row", (segment,))
        with translated_values(self.path):
            return np.array(rows, np.int64).reshape(-1, 2)

    def dead_ids_in(self, segment: str) -> NDArray[np.int64]:
        """Return the ids whose vectors lie in a segment but no longer count, ascending."""
        rows = self._query("SELECT id FROM dead WHERE segment = ? ORDER BY id", (segment,))
        return np.array(rows, np.int64).reshape(-1)

    def segment_sizes(self) -> dict[str, int]:
        """Return how many images have their vector in each segment, in order of the segments."""
        sizes = self._query("SELECT name, alive FROM segments ORDER BY name")
        with translated_values(self.path):
            return {_NAME.validate_python(name): int(alive) for name, alive in sizes}

    def layers(self) -> tuple[CatalogueLayer, ...]:
        """Return the layers that hold the catalogue of the newest version, the oldest first."""
        rows = self._query("SELECT record FROM layers")
        with translated_values(self.path):
            return LAYERS.validate_json(rows[0][0]) if rows else ()

    def commits(self) -> int:
        """Return a number that differs after another connection has committed something."""
        ((number,),) = self._query("PRAGMA data_version")
        return int(number)

    @contextmanager
    def own_connection(self) -> Iterator[sqlite3.Connection]:
        """Open one more connection for the block, to attach other files to."""
        with closing(self._pool.connect()) as connection:
            yield connection
