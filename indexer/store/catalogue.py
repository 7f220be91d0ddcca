"""The catalogue: one SQLite row per file ever found, indexed or skipped."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt
from indexer.store.files import REBUILD_HINT
from indexer.store.records import FORMAT, Counts


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


class Catalogue:
    """One catalogue file: the store's own, which builds write, or a version's snapshot.

    Reading is safe from several threads. Open one with :meth:`live` or :meth:`frozen`; they raise
    :class:`StoreCorrupt` if the file is not a catalogue of this format. What may be changed is a
    :class:`~indexer.store.catalogue_writer.CatalogueWriter`.
    """

    def __init__(self, path: Path, options: str) -> None:
        self.path = path
        try:
            self._db = sqlite3.connect(
                f"{path.absolute().as_uri()}?{options}",
                uri=True,
                check_same_thread=False,  # SQLite serialises calls; writes come from one thread
                isolation_level=None,
            )
            version = self._format()
        except sqlite3.Error as error:
            raise StoreCorrupt(f"{path} cannot be opened: {error}.", REBUILD_HINT) from error
        if version != FORMAT:
            raise StoreCorrupt(
                f"{path} has format {version}; this version of Lookalike reads format {FORMAT}.",
                "Index again into another store, or use the version that made it.",
            )

    @staticmethod
    def live(path: Path) -> "Catalogue":
        """Open the store's catalogue for reading, also while a build writes it."""
        return Catalogue(path, "mode=ro")

    @staticmethod
    def frozen(path: Path) -> "Catalogue":
        """Open a version's snapshot, which never changes."""
        return Catalogue(path, "mode=ro&immutable=1")

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def contents(self) -> set[str]:
        """Return the SHA-256 of every indexed file's content."""
        rows = self._query("SELECT DISTINCT sha256 FROM images WHERE status = 'indexed'")
        return {content for (content,) in rows}

    def with_content(self, sha256: str) -> list[ImageRow]:
        """Return the indexed rows whose file has this content."""
        return list(self._select("WHERE sha256 = ? AND status = 'indexed' ORDER BY id", sha256))

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

    def last_run(self) -> RunRow | None:
        """Return the accounting of the latest build, or None."""
        columns = ", ".join(column.name for column in fields(RunRow))
        rows = self._query(
            f"SELECT {columns} FROM runs ORDER BY id DESC LIMIT 1"  # noqa: S608 -- constants
        )
        return RunRow(*rows[0]) if rows else None

    def problems(self) -> list[str]:
        """Run SQLite's integrity check and return what it finds."""
        try:
            found = [text for (text,) in self._db.execute("PRAGMA integrity_check")]
        except sqlite3.DatabaseError as error:
            found = [str(error)]
        return [] if found == ["ok"] else found

    def _format(self) -> int:
        """Return the format of the file, 0 if it is empty."""
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        try:
            return self._db.execute(statement, values).fetchall()
        except sqlite3.DatabaseError as error:
            raise StoreCorrupt(f"{self.path} cannot be read: {error}.", REBUILD_HINT) from error

    def _select(self, condition: str, *values: object) -> Iterator[ImageRow]:
        statement = f"SELECT {_COLUMNS} FROM images {condition}"  # noqa: S608 -- constants
        names = [column.name for column in fields(ImageRow)]
        for values_of_row in self._query(statement, values):
            row = dict(zip(names, values_of_row, strict=True))
            yield ImageRow(**{**row, "metadata": json.loads(row["metadata"])})
