"""The index of the words in a layer's metadata: SQLite's FTS5, and what each of its rows is from.

Each text of an image, such as one of its captions, is a row of ``words``, so that words that must
occur together occur in one of them. FTS5 keeps where the words are, not the texts: those are in the
rows of the catalogue alone. Letters are compared without case and accents, and English words
without their endings. Addresses (``http://...``) are not texts.
:mod:`indexer.store.text_index` reads it.
"""

import sqlite3
from collections.abc import Iterable

SCHEMA = """
CREATE TABLE layer.texts (
    id INTEGER PRIMARY KEY,  -- the row of words
    image INTEGER NOT NULL, field INTEGER NOT NULL
);
CREATE VIRTUAL TABLE layer.words USING fts5(
    text, content = '', tokenize = 'porter unicode61 remove_diacritics 2'
);
"""
# The Porter stemmer does not know other languages than English. It treats the words of a query and
# of a text alike, so it loses no match there, and at worst finds a few words more.


def has_fts5(connection: sqlite3.Connection) -> bool:
    """Tell whether the SQLite of this Python was compiled with FTS5, which is usual."""
    found = connection.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'")
    return found.fetchone() is not None


def has_words(connection: sqlite3.Connection, layer: str) -> bool:
    """Tell whether an attached layer has an index of words."""
    found = connection.execute(f"SELECT 1 FROM {layer}.sqlite_master WHERE name = 'words'")
    return found.fetchone() is not None


def write_words(connection: sqlite3.Connection, *, besides: Iterable[str]) -> None:
    """Make the index of the words in the table ``facts`` for the layer attached as ``layer``.

    These are the words of all texts but those of the fields ``besides``. Without FTS5 the layer has
    no such index, and its images are found by all but words.
    """
    if not has_fts5(connection):
        return
    connection.executescript(SCHEMA)
    names = ", ".join(f"'{name}'" for name in besides)
    connection.execute(
        "INSERT INTO layer.texts SELECT fact.rowid, image, field.id "
        "FROM facts AS fact JOIN layer.fields AS field USING (name, kind) "
        f"WHERE kind = 'text' AND name NOT IN ({names}) "
        "AND (instr(value, '://') = 0 OR instr(value, ' ') > 0)"
    )
    connection.execute(
        "INSERT INTO layer.words (rowid, text) SELECT id, value "
        "FROM layer.texts JOIN facts ON facts.rowid = id ORDER BY id"
    )
    connection.execute(
        "UPDATE layer.fields SET has_words = 1 WHERE id IN (SELECT field FROM layer.texts)"
    )
