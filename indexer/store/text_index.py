"""The index of the words in metadata, for readers: which images have texts that say something."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import MissingDependency, NoMetadataIndex
from indexer.store.connections import ConnectionPool, translated_errors, translated_values
from indexer.store.text_schema import has_fts5, has_words

Ids = NDArray[np.int64]

RANKED_IMAGES = 1000
"""How many images are ranked. If more match, it is an even sample of them: the best of hundreds
are much alike, and the rank of a text takes five microseconds."""

NO_VALUES: Mapping[str, object] = {}


class TextMatches(NamedTuple):
    """What a search for words found."""

    texts: dict[str, int]
    """How many texts match, by field."""
    images: int
    """How many images have such a text."""
    best: list[int]
    """The ids of the images that match best."""


class TextIndex:
    """The index of the words in a version's metadata, if its layers have one.

    What is searched for are phrases: each is a word, or several that follow each other. They are
    words whatever they contain; FTS5's operators are not available. Safe between threads. Methods
    raise what :meth:`require` raises.
    """

    def __init__(self, path: Path, pool: ConnectionPool) -> None:
        self._path = path
        self._pool = pool

    @cached_property
    def fields(self) -> Sequence[str]:
        """The names of the fields whose texts are searched; there are none without an index."""
        if self._problem:
            return ()
        selects = [f"SELECT name FROM {layer}.fields WHERE has_words" for layer in self._layers]
        return [name for (name,) in self._rows(f"{' UNION '.join(selects)} ORDER BY name")]

    @property
    def is_complete(self) -> bool:
        """Whether the version has an index, or SQLite could make none."""
        return not isinstance(self._problem, NoMetadataIndex)

    def require(self) -> None:
        """Raise :class:`~indexer.errors.NoMetadataIndex` if the version has no index.

        Raises :class:`~indexer.errors.MissingDependency` if SQLite cannot read it.
        """
        if self._problem:
            raise self._problem.fresh()

    def ids(self, phrases: Sequence[str], names: Iterable[str]) -> Ids:
        """Return the images with a text in one of these fields that has all phrases, int64 (n,).

        They are in any order; each is there once.
        """
        self.require()
        with translated_values(self._path):
            rows = self._rows(
                f"SELECT DISTINCT image FROM {self._selected('image')}", _asked(phrases, names)
            )
            return np.array(rows, np.int64).reshape(-1)

    def best(self, phrases: Sequence[str], names: Iterable[str], count: int) -> TextMatches:
        """Return how many texts in these fields have all phrases, and up to ``count`` images.

        The best images are those with the best texts by BM25, added up. Each layer judges by itself
        how rare a word is, so that the order of images in different layers is approximate.
        """
        self.require()
        asked = _asked(phrases, names)
        name = "(SELECT name FROM {layer}.fields WHERE id = field) AS name"
        by_field = self._selected(f"{name}, count(*) AS texts", "GROUP BY field")
        counts = self._rows(
            f"SELECT name, sum(texts) FROM {by_field} GROUP BY name ORDER BY name", asked
        )
        ((images,),) = self._rows(
            f"SELECT count(DISTINCT image) FROM {self._selected('image')}", asked
        )
        best = self._rows(
            f"SELECT image FROM {self._selected('image, rank')} WHERE image % :step = 0 "
            "GROUP BY image ORDER BY sum(rank), image LIMIT :count",
            {**asked, "step": -(-images // RANKED_IMAGES), "count": count},
        )
        with translated_values(self._path):
            ids = [int(image) for (image,) in best]
        return TextMatches(dict(counts), images, ids)

    @cached_property
    def _problem(self) -> NoMetadataIndex | MissingDependency | None:
        """Why words cannot be searched, or None."""
        with translated_errors(self._path, "read"), self._pool.connection() as connection:
            if not has_fts5(connection):
                return MissingDependency(
                    "Texts cannot be searched for words: the SQLite of this Python lacks FTS5.",
                    "Use a Python whose SQLite has it, such as one of python.org.",
                )
            layers = [name for _, name, _ in connection.execute("PRAGMA database_list")]
            if not all(has_words(connection, layer) for layer in layers if layer != "temp"):
                return NoMetadataIndex(
                    "Texts cannot be searched for words: an older Lookalike has indexed them.",
                    "Run `lookalike index` once. It encodes nothing again.",
                )
        return None

    @cached_property
    def _layers(self) -> Sequence[str]:
        """The names of the layers in every connection, the oldest first."""
        rows = self._rows("SELECT name FROM pragma_database_list WHERE name <> 'temp' ORDER BY seq")
        return [name for (name,) in rows]

    def _selected(self, columns: str, group: str = "") -> str:
        """Return the statement that selects columns of the texts that match, in every layer.

        There are ``image``, ``field`` and ``rank``; ``{layer}`` stands for the layer. The
        parameters are FTS5's expression, ``words``, and the names of ``fields``, as JSON. The cross
        join has SQLite look for the words first.
        """
        selects = []
        for number, layer in enumerate(self._layers):
            shown = [
                f"image NOT IN (SELECT id FROM {newer}.hidden)"
                for newer in self._layers[number + 1 :]
            ]
            selects.append(
                f"SELECT {columns.format(layer=layer)} FROM {layer}.words CROSS JOIN {layer}.texts "
                f"ON texts.id = words.rowid WHERE {' AND '.join(['words MATCH :words', *shown])} "
                f"AND field IN (SELECT id FROM {layer}.fields "
                f"WHERE name IN (SELECT value FROM json_each(:fields))) {group}"
            )
        return f"({' UNION ALL '.join(selects)})"

    def _rows(self, statement: str, values: Mapping[str, object] = NO_VALUES) -> list[Any]:
        with translated_errors(self._path, "read"), self._pool.connection() as connection:
            return connection.execute(statement, values).fetchall()


def _asked(phrases: Sequence[str], names: Iterable[str]) -> dict[str, object]:
    """Return the parameters of :meth:`TextIndex._selected`.

    The phrases are strings of FTS5, in which nothing is syntax; they end at a zero byte.
    """
    texts = [phrase.encode(errors="replace").decode().replace("\0", " ") for phrase in phrases]
    strings = [text.replace('"', '""') for text in texts]
    words = " AND ".join(f'"{string}"' for string in strings)
    return {"words": words, "fields": json.dumps([*names])}
