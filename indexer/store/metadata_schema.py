"""The index of metadata in a layer of a catalogue: how it is made, and shown to readers.

Each layer has the index of its own images, made from their rows when the layer is written. So it is
published with the rows, costs what they cost, and cannot disagree with them. A list of values
counts as each of them. Nested values are in the rows alone, and texts of more than
:data:`MAX_TEXT` characters are found by their words alone (:mod:`indexer.store.text_schema`).
:mod:`indexer.store.metadata_index` reads it.
"""

import sqlite3
import struct
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter

from indexer.store.text_schema import has_fts5, has_words, write_words

OWN_FIELDS = {
    "key": ("text", "key"),
    "folder": ("text", "rtrim(rtrim(key, replace(key, '/', '')), '/')"),
    "width": ("number", "width"),
    "height": ("number", "height"),
    "format": ("text", "format"),
    "size": ("number", "size"),
}
"""The fields that every image has, whatever its metadata: their kinds, and how SQL gets them from a
row. Metadata of such a name is the field ``metadata.width``."""

MAX_TEXT = 1000
"""Characters of the longest text that is among the values."""

SCHEMA = """
CREATE TABLE layer.fields (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind TEXT NOT NULL,
    images INTEGER NOT NULL,  -- how many have it
    has_words INTEGER NOT NULL DEFAULT 0,  -- whether it has texts that are searched for words
    UNIQUE (name, kind)
);
CREATE TABLE layer.postings (
    field INTEGER NOT NULL, value NOT NULL,
    ids BLOB NOT NULL,  -- the images that have it: uint32, little endian, ascending
    PRIMARY KEY (field, value)
) WITHOUT ROWID;
"""


class _IdList:
    """An aggregate function of SQL: the distinct ids of a group, as ``postings.ids`` has them."""

    def __init__(self) -> None:
        self._ids = set[int]()

    def step(self, image_id: int) -> None:
        self._ids.add(image_id)

    def finalize(self) -> bytes:
        return struct.pack(f"<{len(self._ids)}I", *sorted(self._ids))


def write_index(connection: sqlite3.Connection) -> None:
    """Make the index of the images of the layer that a connection has attached as ``layer``."""
    connection.create_aggregate("id_list", 1, _IdList)  # type: ignore[arg-type]  # of one argument
    connection.executescript(SCHEMA)
    connection.execute("CREATE TEMP TABLE facts (image INTEGER, name TEXT, kind TEXT, value)")
    try:
        connection.execute(f"INSERT INTO facts {_facts_of('layer.images')}")
        connection.executemany(
            "INSERT INTO layer.fields (name, kind, images) VALUES (?, ?, ?)",
            [(*field, images) for field, images in _count_images(connection).items()],
        )
        connection.execute(
            "INSERT INTO layer.postings SELECT fields.id, value, id_list(image) "
            "FROM facts JOIN layer.fields AS fields USING (name, kind) "
            f"WHERE kind <> 'text' OR length(value) <= {MAX_TEXT} GROUP BY fields.id, value"
        )
        write_words(connection, besides=OWN_FIELDS)
    finally:
        connection.execute("DROP TABLE facts")


def _count_images(connection: sqlite3.Connection) -> Counter[tuple[str, str]]:
    """Return how many images have each field, by its name and kind.

    The facts of a field are there image by image, so that nothing has to be sorted.
    """
    facts = connection.execute("SELECT image, name, kind FROM facts ORDER BY rowid")
    return Counter(
        field for _, some in groupby(facts, itemgetter(0)) for field in {fact[1:] for fact in some}
    )


def _facts_of(images: str) -> str:
    """Return the statement that selects image, name, kind and value of rows of ``images``.

    The ``+`` keeps SQLite from reading the index by status where a few rows are named by their ids.
    """
    selects = [
        f"SELECT id AS image, '{name}' AS name, '{kind}' AS kind, {value} AS value "
        f"FROM {images} WHERE +status = 'indexed' AND {value} IS NOT NULL"
        for name, (kind, value) in OWN_FIELDS.items()
    ]
    names = ", ".join(f"'{name}'" for name in OWN_FIELDS)
    kind, value = (f"iif(field.type = 'array', one.{of}, field.{of})" for of in ("type", "value"))
    selects.append(
        f"SELECT rows.id, iif(field.key IN ({names}), 'metadata.' || field.key, field.key), "
        f"CASE {kind} WHEN 'text' THEN 'text' WHEN 'true' THEN 'boolean' "
        f"WHEN 'false' THEN 'boolean' ELSE 'number' END, {value} "
        f"FROM {images} AS rows, json_each(rows.metadata) AS field, "
        "json_each(iif(field.type = 'array', field.value, '[0]')) AS one "
        "WHERE +rows.status = 'indexed' "
        f"AND {kind} IN ('text', 'integer', 'real', 'true', 'false')"
    )
    return " UNION ALL ".join(selects)


def has_index(connection: sqlite3.Connection, layer: str) -> bool:
    """Tell whether an attached layer has an index; those of older Lookalikes have none."""
    found = connection.execute(f"SELECT 1 FROM {layer}.sqlite_master WHERE name = 'postings'")
    return found.fetchone() is not None


def is_complete(connection: sqlite3.Connection, layer: str) -> bool:
    """Tell whether an attached layer has the index that :func:`write_index` would make now."""
    return has_index(connection, layer) and (
        has_words(connection, layer) or not has_fts5(connection)
    )


def show_index(connection: sqlite3.Connection, layers: Sequence[str]) -> None:
    """Define views over the indexes of attached layers, the oldest first, if all have one."""
    if not all(has_index(connection, layer) for layer in layers):
        return
    views: dict[str, list[str]] = {"postings": [], "hidden": [], "fields": []}
    for number, layer in enumerate(layers):
        views["postings"].append(
            f"SELECT {number} AS layer, name, kind, value, ids "
            f"FROM {layer}.fields JOIN {layer}.postings ON field = id"
        )
        views["hidden"].append(f"SELECT {number} AS layer, id FROM {layer}.hidden")
        views["fields"].append(f"SELECT name, kind, images FROM {layer}.fields")
        newer = " UNION ".join(f"SELECT id FROM {other}.hidden" for other in layers[number + 1 :])
        if newer:
            gone = _facts_of(f"(SELECT * FROM {layer}.images WHERE id IN ({newer}))")
            views["fields"].append(
                f"SELECT name, kind, -count(DISTINCT image) FROM ({gone}) GROUP BY name, kind"
            )
    for name, selects in views.items():
        connection.execute(f"CREATE TEMP VIEW {name} AS {' UNION ALL '.join(selects)}")
