"""The catalogue as a build writes it: rows are added, updated, relocated and removed."""

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, fields
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from indexer.store.catalogue_schema import open_for_writing
from indexer.store.connections import translated_errors, translated_values
from indexer.store.layers import show_layers, write_layer
from indexer.store.own_catalogue import LAYERS, OwnCatalogue
from indexer.store.records import CatalogueLayer
from indexer.store.rows import OWN_NAMES, ROW_COLUMNS, ROW_NAMES, ImageRow, NewImage, RunRow

_NEW_NAMES = (*ROW_NAMES, *OWN_NAMES)
_NEW_COLUMNS, _NEW_VALUES = ", ".join(_NEW_NAMES), ", ".join("?" for _ in _NEW_NAMES)
_values_of = attrgetter(*_NEW_NAMES)

Metadata = Mapping[str, Any]


class CatalogueWriter(OwnCatalogue):
    """The store's own catalogue, opened by the one thread that may change it.

    The file is created if it does not exist. Raises :class:`~indexer.errors.StoreCorrupt`.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, lambda: open_for_writing(path))
        self._db = self._pool.first

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes of the block at once, or none of them.

        Raises :class:`OSError` if they cannot be written, to a full disk for instance, and
        :class:`~indexer.errors.StoreCorrupt` if the file is damaged.
        """
        with translated_errors(self.path, "written"):
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite has rolled back already if the disk is full
                    self._db.execute("ROLLBACK")
                raise

    def content_hashes(self) -> Iterator[str]:
        """Yield the SHA-256 of every indexed file's content."""
        rows = self._query("SELECT sha256 FROM images WHERE status = 'indexed'")
        return (content for (content,) in rows)

    def with_content(self, sha256: str) -> ImageRow | None:
        """Return the oldest indexed row whose file has this SHA-256, or None.

        Thousands of files may have the same content, so that reading all of their rows for each of
        them would take a time that grows with the square of their number.
        """
        condition = "WHERE sha256 = ? AND status = 'indexed' ORDER BY id LIMIT 1"
        return next(self._select(condition, sha256), None)

    def with_key(self, key: str) -> ImageRow | None:
        """Return the row of a key, or None."""
        return next(self._select("WHERE key = ?", key), None)

    def ids_by_content(self, keys: Iterable[str]) -> dict[str, list[int]]:
        """Return the ids of the indexed rows of these keys by their SHA-256, the latest first."""
        found: dict[str, list[int]] = {}
        for image_id, sha256 in self._query(
            "SELECT id, sha256 FROM images WHERE status = 'indexed' "
            "AND key IN (SELECT value FROM json_each(?)) ORDER BY id DESC",
            (json.dumps(list(keys)),),
        ):
            found.setdefault(sha256, []).append(image_id)
        return found

    def sizes(self) -> dict[str, int]:
        """Return the sizes of the segments that hold at least one image's vector, in order."""
        return {name: alive for name, alive in self.segment_sizes().items() if alive > 0}

    def segments(self) -> list[str]:
        """Return the ids of the segments that hold at least one image's vector, in order."""
        return list(self.sizes())

    def dead_ids(self) -> NDArray[np.int64]:
        """Return the deleted ids whose vectors lie in these segments, int64 (n,), ascending."""
        rows = self._query(
            "SELECT dead.id FROM dead JOIN segments ON name = segment WHERE alive > 0 "
            "ORDER BY dead.id"
        )
        return np.array(rows, np.int64).reshape(-1)

    def add(self, images: Iterable[NewImage], *, first_id: int, segment: str | None = None) -> None:
        """Add rows with consecutive ids; those of a segment in the order of its vectors.

        A new row replaces the older one of the same key.
        """
        images = list(images)
        self.remove(image.key for image in images)
        if segment:
            self._add_segment(segment, len(images))
        self._db.executemany(
            f"INSERT INTO images ({_NEW_COLUMNS}, id, segment, row) "
            f"VALUES ({_NEW_VALUES}, ?, ?, ?)",
            (
                (*_values(image), first_id + row, segment, row if segment else None)
                for row, image in enumerate(images)
            ),
        )

    def remove(self, keys: Iterable[str]) -> None:
        """Remove the rows of these keys; unknown keys are ignored."""
        self._db.executemany("DELETE FROM images WHERE key = ?", ((key,) for key in keys))

    def update_metadata(
        self,
        metadata: Iterable[tuple[str, Metadata]],
        describe: Callable[[Metadata, Metadata], Metadata] = lambda _, given: given,
    ) -> int:
        """Set the metadata of the rows of these keys, and return how many changed.

        ``describe`` makes them of what the camera noted in the file and of what is given.
        """
        changed = 0
        for key, given in metadata:
            found = self._db.execute("SELECT metadata, exif FROM images WHERE key = ?", (key,))
            for before, noted in found.fetchall():
                with translated_values(self.path):
                    exif = dict(json.loads(noted or "{}"))
                new = _json(describe(exif, given))
                if new != before:
                    self._db.execute("UPDATE images SET metadata = ? WHERE key = ?", (new, key))
                    changed += 1
        if changed:
            self._skip_an_id()
        return changed

    def rename(self, image_id: int, image: NewImage) -> None:
        """Give an image the key, stamp and metadata of a file of the same content."""
        self.remove([image.key])
        self._db.execute(
            "UPDATE images SET key = ?, size = ?, mtime_ns = ?, metadata = ?, revision = ?, "
            "exif = ? WHERE id = ?",
            (
                image.key,
                image.size,
                image.mtime_ns,
                _json(image.metadata),
                image.revision,
                _json(image.exif),
                image_id,
            ),
        )
        self._skip_an_id()

    def touch(self, image: NewImage) -> None:
        """Set the time, the revision and the camera's notes of a file of unchanged content.

        A version has the time but not the revision, so that a new revision alone changes no layer:
        on some file systems all files have another one each time they are mounted.
        """
        self._db.execute(
            "UPDATE images SET revision = ?, exif = ? WHERE key = ?",
            (image.revision, _json(image.exif), image.key),
        )
        self._db.execute(
            "UPDATE images SET mtime_ns = :mtime_ns WHERE key = :key AND mtime_ns IS NOT :mtime_ns",
            {"key": image.key, "mtime_ns": image.mtime_ns},
        )

    def relocate(self, ids: NDArray[np.int64], segment: str, replaced: Iterable[str]) -> None:
        """Record that a new segment holds the vectors of these images, in this order.

        They include all images of the ``replaced`` segments.
        """
        self._db.executemany(
            "UPDATE images SET segment = ?, row = ? WHERE id = ?",
            ((segment, row, image_id) for row, image_id in enumerate(ids.tolist())),
        )
        self._drop_segments(replaced)
        self._add_segment(segment, len(ids))

    def drop_segment(self, segment: str) -> int:
        """Remove a segment and the rows of its images, and return how many rows there were."""
        count = self._db.execute("DELETE FROM images WHERE segment = ?", (segment,)).rowcount
        self._drop_segments([segment])
        return count

    def add_run(self, run: RunRow) -> None:
        """Record a build's accounting."""
        columns = [column.name for column in fields(RunRow)]
        values = ", ".join("?" for _ in columns)
        with self.transaction():
            self._db.execute(
                f"INSERT INTO runs ({', '.join(columns)}) VALUES ({values})", astuple(run)
            )

    def mark(self) -> int:
        """Write a random number below a thousand million to the file's header, and return it."""
        number = secrets.randbelow(10**9)
        self._db.execute(f"PRAGMA application_id = {number}")
        return number

    def changes_since(self, next_id: int) -> int:
        """Return how many rows were added or changed since the next id was ``next_id``."""
        ((new, changed),) = self._query(
            "SELECT (SELECT count(*) FROM images WHERE id >= ?), (SELECT count(*) FROM changed)",
            (next_id,),
        )
        return int(new + changed)

    def write_layer(self, path: Path, below: CatalogueLayer | None, merged: Sequence[Path]) -> int:
        """Write the rows that changed since the newest version; see :mod:`indexer.store.layers`."""
        return write_layer(self._db, path, below, merged)

    def mark_published(self, layers: Sequence[CatalogueLayer]) -> None:
        """Record that a version of these layers was published: changes count from now on."""
        with self.transaction():
            self._db.execute("DELETE FROM changed")
            self._db.execute("DELETE FROM layers")
            record = LAYERS.dump_json(tuple(layers)).decode()
            self._db.execute("INSERT INTO layers VALUES (?)", (record,))
            self._drop_segments(
                name for (name,) in self._query("SELECT name FROM segments WHERE alive = 0")
            )

    def fill(
        self,
        paths: Sequence[Path],
        segments: Mapping[str, NDArray[np.int64]],
        layers: Sequence[CatalogueLayer],
        *,
        next_id: int,
    ) -> None:
        """Fill a new catalogue with the rows of a version, whose layers lie in ``paths``.

        ``segments`` are the ids of its vectors by segment. It is then as after that publish.
        """
        places = (
            (image_id, name, row)
            for name, ids in segments.items()
            for row, image_id in enumerate(ids.tolist())
        )
        with translated_errors(self.path, "written"):
            show_layers(self._db, "published", paths)
        with self.transaction():
            self._db.execute("CREATE TEMP TABLE places (id INTEGER PRIMARY KEY, segment, row)")
            self._db.executemany("INSERT INTO places VALUES (?, ?, ?)", places)
            self._db.execute(
                f"INSERT INTO images ({ROW_COLUMNS}, id, segment, row) "
                f"SELECT {ROW_COLUMNS}, id, places.segment, places.row "
                "FROM published LEFT JOIN places USING (id) ORDER BY id"
            )
            for name in segments:
                self._db.execute(
                    "INSERT INTO segments SELECT ?, count(*) FROM images WHERE segment = ?",
                    (name, name),
                )
            self._db.execute(
                "INSERT INTO dead SELECT id, segment FROM places "
                "WHERE id NOT IN (SELECT id FROM images)"
            )
            self._db.execute("DELETE FROM sqlite_sequence")
            self._db.execute("INSERT INTO sqlite_sequence VALUES ('images', ?)", (next_id - 1,))
        self.mark_published(layers)

    def last_segment(self) -> int:
        """Return the highest number that a segment ever had; 0 if there was none.

        A number is not given again: copies of the store elsewhere may still have its files.
        """
        rows = self._query("SELECT seq FROM sqlite_sequence WHERE name = 'segments'")
        with translated_values(self.path):
            return int(rows[0][0]) if rows else 0

    def _add_segment(self, name: str, count: int) -> None:
        self._db.execute("INSERT INTO segments VALUES (?, ?)", (name, count))
        last = max(self.last_segment(), int(name))
        self._db.execute("DELETE FROM sqlite_sequence WHERE name = 'segments'")
        self._db.execute("INSERT INTO sqlite_sequence VALUES ('segments', ?)", (last,))

    def _drop_segments(self, names: Iterable[str]) -> None:
        """Remove segments that no longer hold the vector of any image."""
        for name in names:
            self._db.execute("DELETE FROM segments WHERE name = ?", (name,))
            self._db.execute("DELETE FROM dead WHERE segment = ?", (name,))

    def _skip_an_id(self) -> None:
        """Change :meth:`change_token` after an update that adds and removes no row."""
        self._db.execute("UPDATE sqlite_sequence SET seq = seq + 1 WHERE name = 'images'")


def _values(image: NewImage) -> Iterator[object]:
    """Yield a row's values in the order of its columns, without the deep copy of ``astuple``."""
    return (_json(v) if isinstance(v, Mapping | tuple) else v for v in _values_of(image))


def _json(value: Metadata | tuple[float, ...] | None) -> str | None:
    """Return metadata, or a box, as JSON that SQLite can read.

    Raises :class:`ValueError` for infinity.
    """
    return None if value is None else json.dumps(value, allow_nan=False)
