"""The tables of the store's own catalogue: how they are made, and made up to date."""

import sqlite3
import tempfile
from contextlib import closing, suppress
from pathlib import Path

from indexer.store.connections import connect
from indexer.store.layers import COLUMNS
from indexer.store.records import FORMAT
from indexer.store.rows import OWN_NAMES, ROW_COLUMNS

OWN_COLUMNS = ", ".join(f"{name} TEXT" for name in OWN_NAMES)
DESCRIBED = f"""
CREATE TRIGGER images_described AFTER UPDATE OF {ROW_COLUMNS} ON images BEGIN
    INSERT OR IGNORE INTO changed VALUES (old.id);
END;
"""
DEAD_BY_SEGMENT = "CREATE INDEX IF NOT EXISTS dead_by_segment ON dead (segment)"

SCHEMA = f"""
CREATE TABLE images (
    id INTEGER PRIMARY KEY AUTOINCREMENT,  -- never reused: an id is one content under one key
    segment TEXT, row INTEGER,
    {COLUMNS},
    {OWN_COLUMNS},
    UNIQUE (key),
    CHECK ((status = 'skipped') = (reason IS NOT NULL)),
    CHECK ((status = 'indexed') = (segment IS NOT NULL AND row IS NOT NULL))
);
CREATE INDEX images_by_place ON images (segment, row);
CREATE INDEX images_by_content ON images (sha256) WHERE status = 'indexed';
CREATE INDEX images_by_reason ON images (reason) WHERE status = 'skipped';

CREATE TABLE segments (name TEXT PRIMARY KEY, alive INTEGER NOT NULL);
CREATE TABLE dead (  -- ids whose vector lies in a segment and no longer counts
    id INTEGER PRIMARY KEY, segment TEXT NOT NULL
);
{DEAD_BY_SEGMENT};
CREATE TABLE layers (record TEXT NOT NULL);  -- what the newest version's catalogue consists of
CREATE TABLE changed (id INTEGER PRIMARY KEY);  -- rows of those layers that are no longer so

CREATE TRIGGER images_removed AFTER DELETE ON images BEGIN
    INSERT OR IGNORE INTO changed VALUES (old.id);
    INSERT INTO dead SELECT old.id, old.segment WHERE old.segment IS NOT NULL;
    UPDATE segments SET alive = alive - 1 WHERE name = old.segment;
END;
{DESCRIBED}
CREATE TABLE runs (
    id INTEGER PRIMARY KEY,
    started TEXT NOT NULL, seconds REAL NOT NULL,
    found INTEGER NOT NULL, indexed INTEGER NOT NULL, skipped INTEGER NOT NULL,
    encoded INTEGER NOT NULL, summary TEXT NOT NULL
);
"""


def open_for_writing(path: Path) -> sqlite3.Connection:
    """Connect to the store's catalogue for writing; create it if it does not exist."""
    with closing(sqlite3.connect(path, isolation_level=None)) as new:
        if new.execute("PRAGMA user_version").fetchone() == (0,):  # the file is new
            new.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    connection = connect(path, "mode=rw")
    connection.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;")
    with suppress(FileNotFoundError):  # there is no folder for temporary files
        tempfile.gettempdir()
        # The metadata of millions of images take gigabytes, and are sorted in pieces of the cache.
        connection.executescript("PRAGMA temp_store = FILE; PRAGMA cache_size = -32000;")
    _upgrade(connection)
    return connection


def _upgrade(connection: sqlite3.Connection) -> None:
    """Add what a catalogue of this format lacks if an older version of Lookalike made it."""
    connection.execute(DEAD_BY_SEGMENT)
    names = {name for _, name, *_ in connection.execute("PRAGMA table_info(images)")}
    for name in OWN_NAMES:
        if name not in names:
            connection.execute(f"ALTER TABLE images ADD COLUMN {name} TEXT")
    if "box" not in names:
        connection.executescript(
            "BEGIN; ALTER TABLE images ADD COLUMN box TEXT; DROP TRIGGER images_described; "
            f"{DESCRIBED} COMMIT;"
        )
