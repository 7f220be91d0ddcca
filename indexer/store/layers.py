"""The layers of a version's catalogue: immutable SQLite files that are read as one table.

Publishing writes only the rows that changed since the last version. A layer holds these rows, and
the ids of rows in older layers that it hides, because they were replaced or removed.

To keep their number small, a new layer is merged with the newest ones as long as those are not much
larger. Each layer that remains is :data:`GROWTH` times as large as all newer ones together, so
there are at most 1 + log8(rows) layers: seven for a million rows, and ten, the most databases that
SQLite attaches to a connection, for a thousand million. In the long run a changed row is written
about ``GROWTH`` times for each of these levels.
"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from indexer.store.connections import IMMUTABLE, connect, require_format, translated_errors, uri
from indexer.store.files import sync
from indexer.store.metadata_schema import is_complete, show_index, write_index
from indexer.store.records import FORMAT, CatalogueLayer
from indexer.store.rows import ROW_COLUMNS, ROW_NAMES

GROWTH = 8
"""A layer that is less than this many times as large as a new one is merged into it."""

WITHOUT_BOXES = ", ".join("NULL AS box" if name == "box" else name for name in ROW_NAMES)
"""The columns of a layer that an older version of Lookalike wrote."""

COLUMNS = """
    key TEXT NOT NULL,
    size INTEGER, mtime_ns INTEGER, sha256 TEXT,
    format TEXT, width INTEGER, height INTEGER,
    metadata TEXT NOT NULL DEFAULT '{}',
    status TEXT NOT NULL CHECK (status IN ('indexed', 'skipped')),
    stage TEXT, reason TEXT, message TEXT,
    box TEXT  -- x, y, width and height in JSON
"""

SCHEMA = f"""
CREATE TABLE layer.images (id INTEGER PRIMARY KEY, {COLUMNS});
CREATE TABLE layer.hidden (id INTEGER PRIMARY KEY);  -- rows of older layers that no longer count
"""


def layers_to_keep(layers: Sequence[CatalogueLayer], changes: int) -> list[CatalogueLayer]:
    """Return the layers, oldest first, that remain below a new one with this many changes."""
    kept = list(layers)
    while kept and kept[-1].rows < GROWTH * changes:
        changes += kept.pop().rows
    return kept


def write_layer(
    connection: sqlite3.Connection,
    path: Path,
    below: CatalogueLayer | None,
    merged: Sequence[Path],
) -> int:
    """Write a layer of the catalogue that ``connection`` has open to a new file, and sync it.

    It holds the rows that changed since the newest layer was written, and those of the ``merged``
    layers. ``below`` is the next older layer; without one the new layer holds all rows. Returns
    how many rows it holds or hides. Raises :class:`OSError` if it cannot be written, and
    :class:`~indexer.errors.StoreCorrupt` if the catalogue is damaged.
    """
    with translated_errors(path, "written"):
        connection.execute("ATTACH ? AS layer", (uri(path, "mode=rwc"),))
        try:
            # No journal is needed: no version refers to this file yet.
            connection.executescript(
                "PRAGMA layer.journal_mode = OFF; PRAGMA layer.synchronous = OFF;"
                f"{SCHEMA} PRAGMA layer.user_version = {FORMAT};"
            )
            rows = _fill(connection, below, merged)
        finally:
            connection.execute("DETACH layer")
    sync(path)
    return rows


def _fill(
    connection: sqlite3.Connection, below: CatalogueLayer | None, merged: Sequence[Path]
) -> int:
    columns = f"id, {ROW_COLUMNS}"
    copy = f"INSERT INTO layer.images ({columns}) SELECT {columns} FROM main.images"
    if below is None:
        rows = connection.execute(f"{copy} ORDER BY id").rowcount
    else:
        note = "INSERT OR IGNORE INTO temp.touched SELECT id FROM"
        connection.execute("CREATE TEMP TABLE touched (id INTEGER PRIMARY KEY)")
        try:
            for path in merged:
                connection.execute("ATTACH ? AS merged", (uri(path, IMMUTABLE),))
                try:
                    connection.execute(f"{note} merged.images")
                    connection.execute(f"{note} merged.hidden")
                finally:
                    connection.execute("DETACH merged")
            connection.execute(f"{note} main.changed")
            connection.execute(f"{note} main.images WHERE id >= ?", (below.next_id,))
            connection.execute(f"{copy} WHERE id IN (SELECT id FROM temp.touched) ORDER BY id")
            connection.execute(
                "INSERT INTO layer.hidden SELECT id FROM temp.touched WHERE id < ?",
                (below.next_id,),
            )
            ((rows,),) = connection.execute("SELECT count(*) FROM temp.touched")
        finally:
            connection.execute("DROP TABLE temp.touched")
    connection.execute("CREATE INDEX layer.images_by_key ON images (status, key)")
    connection.execute(
        "CREATE INDEX layer.images_by_note ON images (status, message) WHERE message IS NOT NULL"
    )
    write_index(connection)
    return int(rows)


def connect_layers(paths: Sequence[Path]) -> sqlite3.Connection:
    """Connect to layers, the oldest first, and define the view ``images`` over all of them.

    If they have an index of their metadata, it is shown too.
    """
    lowest, *others = paths
    connection = connect(lowest, IMMUTABLE)
    try:
        show_index(connection, show_layers(connection, "images", others, below=["main"]))
    except BaseException:
        connection.close()
        raise
    return connection


def show_layers(
    connection: sqlite3.Connection, view: str, paths: Sequence[Path], below: Sequence[str] = ()
) -> list[str]:
    """Attach layers, the oldest first, and define a view over them; return the layers' names.

    ``below`` are the names of older layers that the connection has open. Raises
    :class:`~indexer.errors.StoreCorrupt` if a layer has another format.
    """
    names = list(below)
    for path in paths:
        names.append(f"layer{len(names)}")
        connection.execute(f"ATTACH ? AS {names[-1]}", (uri(path, IMMUTABLE),))
        require_format(connection, path, names[-1])
    selects = []
    for number, name in enumerate(names):
        shown = [f"id NOT IN (SELECT id FROM {newer}.hidden)" for newer in names[number + 1 :]]
        columns = ROW_COLUMNS if _has_boxes(connection, name) else WITHOUT_BOXES
        selects.append(
            f"SELECT {columns}, id, NULL AS segment, NULL AS row "
            f"FROM {name}.images WHERE {' AND '.join(shown) or 'true'}"
        )
    connection.execute(f"CREATE TEMP VIEW {view} AS {' UNION ALL '.join(selects)}")
    return names


def is_indexed(path: Path) -> bool:
    """Tell whether a layer has an index of its metadata; those of older Lookalikes lack some."""
    with closing(connect(path, IMMUTABLE)) as connection:
        return is_complete(connection, "main")


def _has_boxes(connection: sqlite3.Connection, name: str) -> bool:
    """Tell whether a layer has the column of boxes."""
    found = connection.execute(
        "SELECT 1 FROM pragma_table_info('images', ?) WHERE name = 'box'", (name,)
    )
    return found.fetchone() is not None
