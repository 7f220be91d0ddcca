"""The catalogue: one row per file ever found, indexed or skipped, read from SQLite files."""

import json
import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.errors import StoreCorrupt
from indexer.images import Box
from indexer.store.connections import ConnectionPool, translated_errors, translated_values
from indexer.store.files import inodes
from indexer.store.layers import connect_layers
from indexer.store.metadata_index import MetadataIndex
from indexer.store.records import Counts
from indexer.store.rows import ROW_NAMES, ImageRow, RunRow, Stamp

_NAMES = (*ROW_NAMES, "id", "segment", "row")


class Catalogue:
    """A catalogue for reading: a version's layers.

    Safe to read from several threads at once. Open one with :meth:`open_snapshot`, which raises
    :class:`StoreCorrupt` if a file is not a catalogue of this format. Every method raises
    :class:`StoreCorrupt` if a file is damaged, and :class:`OSError` if it cannot be read now.

    An :class:`~indexer.store.own_catalogue.OwnCatalogue` is the store's own, which builds write.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self.path = path
        with translated_errors(path, "opened"):
            self._pool = ConnectionPool(connect)
        self.metadata = MetadataIndex(path, self._pool)
        """The index of the images' metadata, which a version's catalogue has."""

    @staticmethod
    def open_snapshot(paths: Sequence[Path]) -> "Catalogue":
        """Open the layers of a version's catalogue, the oldest first; they never change.

        If another store takes the place of theirs, whose layers have the same names, the
        connections that are open are used, and no others are opened.
        """
        before = inodes(paths)

        def connect() -> sqlite3.Connection:
            connection = connect_layers(paths)
            if inodes(paths) != before:
                connection.close()
                raise sqlite3.OperationalError("the file is that of another store")
            return connection

        return Catalogue(paths[-1], connect)

    def close(self) -> None:
        """Close the files."""
        self._pool.close()

    def get(self, image_id: int) -> ImageRow | None:
        """Return the row of an id, or None."""
        return next(self._select("WHERE id = ?", image_id), None)

    def get_many(self, image_ids: Iterable[int]) -> dict[int, ImageRow]:
        """Return the rows of many ids by id; unknown ids are left out."""
        wanted = json.dumps([int(image_id) for image_id in image_ids])
        rows = self._select("WHERE id IN (SELECT value FROM json_each(?))", wanted)
        return {row.id: row for row in rows}

    def keys(self, image_ids: Iterable[int]) -> dict[int, str]:
        """Return the keys of many ids by id; unknown ids are left out."""
        wanted = json.dumps([int(image_id) for image_id in image_ids])
        return dict(
            self._query(
                "SELECT id, key FROM images WHERE id IN (SELECT value FROM json_each(?))", (wanted,)
            )
        )

    def with_prefix(self, prefix: str, *, limit: int) -> list[ImageRow]:
        """Return up to ``limit`` rows of indexed images whose key begins like this, by key."""
        condition = "WHERE status = 'indexed' AND key >= ? AND key < ? ORDER BY key LIMIT ?"
        return list(self._select(condition, prefix, f"{prefix}\U0010ffff", limit))

    def rows(self, status: str | None = None) -> Iterator[ImageRow]:
        """Yield all rows, or those of one status, in order of their ids."""
        if status is None:
            return self._select("ORDER BY id")
        return self._select("WHERE status = ? ORDER BY id", status)

    def ids(self, status: str) -> NDArray[np.int64]:
        """Return the ids of one status, int64 (n,), ascending."""
        rows = self._query("SELECT id FROM images WHERE status = ? ORDER BY id", (status,))
        return np.array(rows, np.int64).reshape(-1)

    def same_content(self) -> list[list[int]]:
        """Return the ids, ascending, of indexed images whose files are identical, for each file."""
        rows = self._query(
            "SELECT group_concat(id) FROM images WHERE status = 'indexed' AND sha256 IS NOT NULL "
            "GROUP BY sha256 HAVING count(*) > 1"
        )
        return sorted(sorted(map(int, ids.split(","))) for (ids,) in rows)

    def contents(self) -> list[tuple[int, str]]:
        """Return the id and the SHA-256 of each indexed image, by id."""
        return self._query(
            "SELECT id, sha256 FROM images WHERE status = 'indexed' AND sha256 IS NOT NULL "
            "ORDER BY id"
        )

    def ids_by_key(self, keys: Iterable[str]) -> dict[str, int]:
        """Return the ids of indexed images by key; unknown keys are left out."""
        return dict(
            self._query(
                "SELECT key, id FROM images WHERE status = 'indexed' "
                "AND key IN (SELECT value FROM json_each(?))",
                (json.dumps([*keys]),),
            )
        )

    def page_by_key(self, status: str, *, offset: int, limit: int) -> list[ImageRow]:
        """Return up to ``limit`` rows of one status by key, after the first ``offset``."""
        condition = "WHERE status = ? ORDER BY key LIMIT ? OFFSET ?"
        return list(self._select(condition, status, limit, offset))

    def stamps(self, keys: Collection[str] | None = None) -> dict[str, Stamp]:
        """Return what the next scan is compared with for every file, or for some, by key."""
        ((has_revisions,),) = self._query(
            "SELECT count(*) FROM pragma_table_info('images') WHERE name = 'revision'"
        )  # only a build can add them to an older store
        revision = "revision" if has_revisions else "NULL"
        some = "" if keys is None else " WHERE key IN (SELECT value FROM json_each(?))"
        rows = self._query(
            f"SELECT key, size, mtime_ns, reason, width * height, {revision} FROM images{some}",
            () if keys is None else (json.dumps(list(keys)),),
        )
        return {key: Stamp(*stamp) for key, *stamp in rows}

    def counts(self) -> Counts:
        """Count the files, row by row."""
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

    def notes(self) -> dict[str, str]:
        """Return what is wrong with the files of indexed images, by key; most have no note."""
        return dict(
            self._query(
                "SELECT key, message FROM images "
                "WHERE status = 'indexed' AND message > '' ORDER BY key"
            )
        )

    def last_run(self) -> RunRow | None:
        """Return the accounting of the latest build, or None."""
        columns = ", ".join(column.name for column in fields(RunRow))
        rows = self._query(f"SELECT {columns} FROM runs ORDER BY id DESC LIMIT 1")
        return RunRow(*rows[0]) if rows else None

    def problems(self) -> list[str]:
        """Run SQLite's integrity check on every file and return what it finds."""
        try:
            found = [text for (text,) in self._query("PRAGMA integrity_check")]
        except StoreCorrupt as error:
            return [error.message]
        return [] if found == ["ok"] else [f"{self.path}: {text}" for text in found]

    def _query(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        with translated_errors(self.path, "read"), self._pool.connection() as connection:
            return connection.execute(statement, values).fetchall()

    def _select(self, condition: str, *values: object) -> Iterator[ImageRow]:
        statement = f"SELECT {', '.join(_NAMES)} FROM images {condition}"
        for values_of_row in self._query(statement, values):
            row = dict(zip(_NAMES, values_of_row, strict=True))
            with translated_values(self.path):
                row["metadata"] = json.loads(row["metadata"])
                row["box"] = Box(*json.loads(row["box"])) if row["box"] else None
            yield ImageRow(**row)
