"""The catalogue: one SQLite row per file ever found, indexed or skipped."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt
from indexer.store.files import REBUILD_HINT, sync
from indexer.store.records import FORMAT, Counts

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


@dataclass(frozen=True, slots=True)
class NewImage:
    """A file's row before it has an id. Skipped files have a reason, indexed ones a segment."""

    key: str
    size: int | None = None
    mtime_ns: int | None = None
    sha256: str | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    status: str = "indexed"
    stage: str | None = None
    reason: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class ImageRow(NewImage):
    """A file's row. ``segment`` and ``row`` say where its vector is, if it has one."""

    id: int = 0
    segment: str | None = None
    row: int | None = None


class Stamp(NamedTuple):
    """What tells whether a file is still the one in the catalogue, and what became of it."""

    size: int | None
    mtime_ns: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class RunRow:
    """The accounting of one build."""

    started: str
    seconds: float
    found: int
    indexed: int
    skipped: int
    encoded: int
    summary: str


_COLUMNS = ", ".join(column.name for column in fields(ImageRow))
_NEW_COLUMNS = ", ".join(column.name for column in fields(NewImage))
_NEW_VALUES = ", ".join("?" for _ in fields(NewImage))


class Catalogue:
    """One catalogue file: the store's own, which builds write, or a version's snapshot.

    Reading is safe from several threads. Make one with :meth:`writable`, :meth:`live` or
    :meth:`frozen`; they raise :class:`StoreCorrupt` if the file is not a catalogue of this format.
    """

    def __init__(self, path: Path, options: str) -> None:
        self.path = path
        self.dropped = 0
        """How many rows were dropped through this object."""
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?{options}",
                uri=True,
                check_same_thread=False,  # SQLite serialises calls; writes come from one thread
                isolation_level=None,
            )
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version == 0 and options == "mode=rwc":
                self._db.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
                version = FORMAT
        except sqlite3.Error as error:
            raise StoreCorrupt(f"{path} cannot be opened: {error}.", REBUILD_HINT) from error
        if version != FORMAT:
            raise StoreCorrupt(
                f"{path} has format {version}; this version of Lookalike reads format {FORMAT}.",
                "Index again into another store, or use the version that made it.",
            )

    @classmethod
    def writable(cls, path: Path) -> "Catalogue":
        """Open the store's catalogue for a build; make it if there is none."""
        catalogue = cls(path, "mode=rwc")
        catalogue._db.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
        return catalogue

    @classmethod
    def live(cls, path: Path) -> "Catalogue":
        """Open the store's catalogue for reading, also while a build writes it."""
        return cls(path, "mode=ro")

    @classmethod
    def frozen(cls, path: Path) -> "Catalogue":
        """Open a version's snapshot, which never changes."""
        return cls(path, "mode=ro&immutable=1")

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"{self.path} cannot be read: {error}.", REBUILD_HINT) from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

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

    def describe(self, metadata: Iterable[tuple[str, Mapping[str, Any]]]) -> int:
        """Set the metadata of these keys' rows, and return how many had other metadata."""
        changed = self._db.executemany(
            "UPDATE images SET metadata = ?1 WHERE key = ?2 AND metadata <> ?1",
            ((json.dumps(values), key) for key, values in metadata),
        ).rowcount
        if changed:
            self._leave_out_an_id()
        return changed

    def contents(self) -> set[str]:
        """Return the SHA-256 of every indexed file's content."""
        rows = self._query("SELECT DISTINCT sha256 FROM images WHERE status = 'indexed'")
        return {content for (content,) in rows}

    def with_content(self, sha256: str) -> list[ImageRow]:
        """Return the indexed rows whose file has this content."""
        return list(self._select("WHERE sha256 = ? AND status = 'indexed' ORDER BY id", sha256))

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

    def _leave_out_an_id(self) -> None:
        """Make :meth:`state` differ after a change that adds and removes nothing."""
        self._db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'images'")

    def remove(self, keys: Iterable[str]) -> None:
        """Drop the rows of these keys; unknown keys are passed over."""
        deleted = self._db.executemany("DELETE FROM images WHERE key = ?", ((k,) for k in keys))
        self.dropped += max(deleted.rowcount, 0)

    def get(self, image_id: int) -> ImageRow | None:
        """Return the row of an id, or None."""
        return next(self._select("WHERE id = ?", image_id), None)

    def get_many(self, image_ids: Iterable[int]) -> dict[int, ImageRow]:
        """Return the rows of many ids by id; unknown ids are missing from the answer."""
        wanted = json.dumps([int(image_id) for image_id in image_ids])
        rows = self._select("WHERE id IN (SELECT value FROM json_each(?))", wanted)
        return {row.id: row for row in rows}

    def rows(self, status: str | None = None) -> Iterator[ImageRow]:
        """Yield all rows, or those of one status, in order of their ids."""
        if status is None:
            return self._select("ORDER BY id")
        return self._select("WHERE status = ? ORDER BY id", status)

    def listed(self, status: str, *, offset: int, limit: int) -> list[ImageRow]:
        """Return some rows of one status in order of their keys, ``offset`` of them left out."""
        condition = "WHERE status = ? ORDER BY key LIMIT ? OFFSET ?"
        return list(self._select(condition, status, limit, offset))

    def stamps(self) -> dict[str, Stamp]:
        """Return size, modification time and reason (None if indexed) of every file, by key."""
        return {
            key: Stamp(*stamp)
            for key, *stamp in self._query("SELECT key, size, mtime_ns, reason FROM images")
        }

    def state(self) -> tuple[int, int]:
        """Return a value that differs after any change to the images.

        Adding a row raises the next id; what only removes rows leaves it and lowers their number;
        other changes leave an id out.
        """
        return self.next_id(), self.counts().found

    def counts(self) -> Counts:
        """Count the files."""
        ((found, indexed, skipped),) = self._query(
            "SELECT count(*), count(*) FILTER (WHERE status = 'indexed'), "
            "count(*) FILTER (WHERE status = 'skipped') FROM images"
        )
        return Counts(found=found, indexed=indexed, skipped=skipped)

    def skip_reasons(self) -> dict[str, int]:
        """Count the skipped files by reason, the most frequent first."""
        rows = self._query(
            "SELECT reason, count(*) AS n FROM images WHERE status = 'skipped' "
            "GROUP BY reason ORDER BY n DESC, reason"
        )
        return dict(rows)

    def ids_in(self, segment: str) -> NDArray[np.int64]:
        """Return the ids of a segment's images, int64 (n, 2): row in the segment and id, by row."""
        rows = self._query("SELECT row, id FROM images WHERE segment = ? ORDER BY row", (segment,))
        return np.array(rows, np.int64).reshape(-1, 2)

    def matching(self, prefix: str, metadata: Mapping[str, Any]) -> NDArray[np.int64]:
        """Return the ids of images whose key begins so and whose metadata has these values."""
        wanted = "status = ? AND key >= ? AND key < ?"
        values: list[Any] = ["indexed", prefix, f"{prefix}\U0010ffff"]
        for name, value in metadata.items():
            wanted += " AND EXISTS (SELECT 1 FROM json_each(metadata) WHERE key = ? AND value = ?)"
            values += [name, value]
        rows = self._query(f"SELECT id FROM images WHERE {wanted}", values)  # noqa: S608 -- constants
        return np.array(rows, np.int64).reshape(-1)

    def segments(self) -> list[str]:
        """Return the ids of the segments that hold at least one image's vector, in order."""
        return list(self.sizes())

    def sizes(self) -> dict[str, int]:
        """Return how many images have their vector in each segment, in order of the segments."""
        return dict(
            self._query(
                "SELECT segment, count(*) FROM images WHERE segment IS NOT NULL "
                "GROUP BY segment ORDER BY segment"
            )
        )

    def add_run(self, run: RunRow) -> None:
        """Record a build's accounting."""
        columns = [column.name for column in fields(RunRow)]
        values = ", ".join("?" for _ in columns)
        self._db.execute(
            f"INSERT INTO runs ({', '.join(columns)}) VALUES ({values})",  # noqa: S608 -- constants
            astuple(run),
        )

    def last_run(self) -> RunRow | None:
        """Return the accounting of the latest build, or None."""
        columns = ", ".join(column.name for column in fields(RunRow))
        rows = self._query(
            f"SELECT {columns} FROM runs ORDER BY id DESC LIMIT 1"  # noqa: S608 -- constants
        )
        return RunRow(*rows[0]) if rows else None

    def snapshot(self, path: Path) -> None:
        """Write a compact copy to a new file, through to the disk."""
        try:
            self._db.execute("VACUUM INTO ?", (str(path),))
        except sqlite3.OperationalError as error:
            raise OSError(f"{path} cannot be written: {error}.") from error
        sync(path)

    def problems(self) -> list[str]:
        """Run SQLite's integrity check and return what it finds."""
        try:
            found = [text for (text,) in self._db.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        return [] if found == ["ok"] else found

    def _select(self, condition: str, *values: object) -> Iterator[ImageRow]:
        statement = f"SELECT {_COLUMNS} FROM images {condition}"  # noqa: S608 -- constants
        names = [column.name for column in fields(ImageRow)]
        for values_of_row in self._query(statement, values):
            row = dict(zip(names, values_of_row, strict=True))
            yield ImageRow(**{**row, "metadata": json.loads(row["metadata"])})
