"""The catalogue as a build writes it: rows added, described, moved and dropped."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.store.catalogue import Catalogue, NewImage, RunRow
from indexer.store.files import sync
from indexer.store.records import FORMAT

SCHEMA = """
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: an id is one content under one key
    key TEXT NOT NULL UNIQUE,
    size INTEGER, mtime_ns INTEGER, sha256 TEXT,
    format TEXT, width INTEGER, height INTEGER,
    metadata TEXT NOT NULL DEFAULT '{}',
    status TEXT NOT NULL CHECK (status IN ('indexed', 'skipped')),
    stage TEXT, reason TEXT, message TEXT,
    segment TEXT, row INTEGER,
    CHECK ((status = 'indexed') = (segment IS NOT NULL AND row IS NOT NULL)),
    CHECK ((status = 'skipped') = (reason IS NOT NULL))
);
CREATE INDEX images_by_place ON images (segment, row);
CREATE INDEX images_by_content ON images (sha256) WHERE status = 'indexed';
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL, seconds REAL NOT NULL,
    found INTEGER NOT NULL, indexed INTEGER NOT NULL, skipped INTEGER NOT NULL,
    encoded INTEGER NOT NULL, summary TEXT NOT NULL
);
"""

_NEW_COLUMNS = ", ".join(column.name for column in fields(NewImage))
_NEW_VALUES = ", ".join("?" for _ in fields(NewImage))


class CatalogueWriter(Catalogue):
    """The store's own catalogue, opened by the one process that may change it.

    It is made if there is none. Raises :class:`~indexer.errors.StoreCorrupt`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, "mode=rwc")
        self.dropped = 0
        """How many rows were dropped through this object."""
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make all writes of the block durable at once, or none of them.

        Raises :class:`OSError` if they cannot be written, to a full disk for instance.
        """
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException as error:
            if self._db.in_transaction:  # a full disk has ended it already
                self._db.execute("ROLLBACK")
            if isinstance(error, sqlite3.OperationalError):
                raise OSError(f"{self.path} cannot be written: {error}.") from error
            raise

    def next_id(self) -> int:
        """Return the id the next new row gets; ids only grow, also past deleted rows."""
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'images'")
        return int(rows[0][0]) + 1 if rows else 1

    def state(self) -> tuple[int, int]:
        """Return a value that differs after any change to the images.

        Adding a row raises the next id; what only removes rows leaves it and lowers their number;
        other changes leave an id out.
        """
        return self.next_id(), self.counts().found

    def add(self, images: Iterable[NewImage], *, first_id: int, segment: str | None = None) -> None:
        """Add rows with consecutive ids; those of a segment in the order of its vectors.

        An older row of the same key is dropped: its content is no longer there.
        """
        images = list(images)
        self.remove(image.key for image in images)
        self._db.executemany(
            f"INSERT INTO images ({_NEW_COLUMNS}, id, segment, row) "  # noqa: S608 -- constants
            f"VALUES ({_NEW_VALUES}, ?, ?, ?)",
            (
                (
                    *(json.dumps(v) if isinstance(v, Mapping) else v for v in astuple(image)),
                    first_id + row,
                    segment,
                    row if segment else None,
                )
                for row, image in enumerate(images)
            ),
        )

    def remove(self, keys: Iterable[str]) -> None:
        """Drop the rows of these keys; unknown keys are passed over."""
        deleted = self._db.executemany("DELETE FROM images WHERE key = ?", ((k,) for k in keys))
        self.dropped += max(deleted.rowcount, 0)

    def describe(self, metadata: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Set the metadata of these keys' rows, and return how many had other metadata."""
        changed = self._db.executemany(
            "UPDATE images SET metadata = ?1 WHERE key = ?2 AND metadata <> ?1",
            ((json.dumps(values), key) for key, values in metadata),
        ).rowcount
        if changed:
            self._leave_out_an_id()
        return changed

    def rename(self, image_id: int, image: NewImage) -> None:
        """Give an image the key, size, time and metadata that its file has now."""
        self.remove([image.key])
        self._db.execute(
            "UPDATE images SET key = ?, size = ?, mtime_ns = ?, metadata = ? WHERE id = ?",
            (image.key, image.size, image.mtime_ns, json.dumps(image.metadata), image_id),
        )
        self._leave_out_an_id()

    def touch(self, image_id: int, mtime_ns: int | None) -> None:
        """Note a new modification time of an unchanged file."""
        self._db.execute("UPDATE images SET mtime_ns = ? WHERE id = ?", (mtime_ns, image_id))

    def place(self, image_ids: NDArray[np.int64], segment: str) -> None:
        """Note that the vectors of these images lie in another segment now, in this order."""
        self._db.executemany(
            "UPDATE images SET segment = ?, row = ? WHERE id = ?",
            ((segment, row, image_id) for row, image_id in enumerate(image_ids.tolist())),
        )

    def forget_segment(self, segment: str) -> int:
        """Drop the rows of a segment's images, and return how many there were."""
        count = self._db.execute("DELETE FROM images WHERE segment = ?", (segment,)).rowcount
        self.dropped += count
        return count

    def add_run(self, run: RunRow) -> None:
        """Record a build's accounting."""
        columns = [column.name for column in fields(RunRow)]
        values = ", ".join("?" for _ in columns)
        self._db.execute(
            f"INSERT INTO runs ({', '.join(columns)}) VALUES ({values})",  # noqa: S608 -- constants
            astuple(run),
        )

    def snapshot(self, path: Path) -> None:
        """Write a compact copy to a new file, through to the disk."""
        try:
            self._db.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.OperationalError as error:
            raise OSError(f"{path} cannot be written: {error}.") from error
        sync(path)

    def _format(self) -> int:
        if super()._format() == 0:  # a file that has just been made
            self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
        return super()._format()

    def _leave_out_an_id(self) -> None:
        """Make :meth:`state` differ after a change that adds and removes nothing."""
        self._db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'images'")
