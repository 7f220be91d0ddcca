"""The index of metadata, for readers: which images have a value, and how many have each."""

import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InvalidQuery, NoMetadataIndex
from indexer.store.connections import ConnectionPool, translated_errors, translated_values
from indexer.store.metadata_schema import OWN_FIELDS
from indexer.store.text_index import TextIndex

Ids = NDArray[np.int64]
Value = str | int | float | bool
Kind = Literal["text", "number", "boolean"]

MAX_FACET_VALUES = 100_000
"""How many different values a field may have to be counted."""

SHOWN_VALUES = 100
"""How many values of a field are returned with their counts."""

RECENT_IDS = 4_000_000
"""How many ids that were found lately are kept, of 8 bytes each: the queries of a batch and the
pages of a result have one filter."""

LAYERS_READ = 10
"""In how many layers a value may be for :meth:`MetadataIndex.spread` to see the whole field."""

BATCH_ROWS = 10_000
ID_BYTES = 4

SELECT_FIELDS = (
    "SELECT name, kind, sum(images) AS n FROM fields GROUP BY name, kind "
    "HAVING n > 0 ORDER BY n DESC, name, kind"
)

SELECT_POSTINGS = "SELECT layer, ids, kind, value FROM postings WHERE name = ?"


class Field(NamedTuple):
    """A field with values of one kind, and how many images have such a value."""

    name: str
    kind: Kind
    images: int


class Range(NamedTuple):
    """The values of a kind from ``low`` to ``high``; None is no bound."""

    kind: Kind
    low: Value | None = None
    high: Value | None = None
    excludes_low: bool = False
    excludes_high: bool = False


@dataclass(frozen=True, slots=True)
class FacetValue:
    """A value, and how many images have it."""

    value: Value
    count: int


class Facet(NamedTuple):
    """The most frequent values of a field, and how many others it has."""

    values: Sequence[FacetValue]
    others: int


class MetadataIndex:
    """The index of a version's metadata, if its layers have one.

    Safe between threads. Its methods raise what :meth:`require` raises.
    """

    def __init__(self, path: Path, pool: ConnectionPool) -> None:
        self._path = path
        self._pool = pool
        self.words = TextIndex(path, pool)
        """The index of the words in the texts."""
        self._lock = threading.Lock()
        self._recent: dict[tuple[str, tuple[Range, ...]], Ids] = {}
        """What was found lately, the latest at the end."""

    @cached_property
    def exists(self) -> bool:
        """Whether the version has an index."""
        return bool(self._rows("SELECT 1 FROM sqlite_temp_master WHERE name = 'postings'"))

    @property
    def is_complete(self) -> bool:
        """Whether the version has all that a build would now make of its metadata."""
        return self.exists and self.words.is_complete

    @cached_property
    def fields(self) -> Sequence[Field]:
        """The fields: those of every image first, then the others, the most frequent first.

        There are none in a version that an older Lookalike has published.
        """
        if not self.exists:
            return ()
        found = [Field(*row) for row in self._rows(SELECT_FIELDS)]
        return sorted(found, key=lambda field: field.name not in OWN_FIELDS)

    def require(self) -> None:
        """Raise :class:`~indexer.errors.NoMetadataIndex` if the version has no index."""
        if not self.exists:
            raise NoMetadataIndex(
                "The images cannot be filtered: an older Lookalike has indexed them.",
                "Run `lookalike index` once. It encodes nothing again.",
            )

    def ids(self, name: str, ranges: Sequence[Range]) -> Ids:
        """Return the images that have one of these values in a field, int64 (n,).

        They are in any order, and an image with several of the values is there several times.
        """
        self.require()
        asked = name, tuple(ranges)
        with self._lock:
            found = self._recent.pop(asked, None)
        if found is None:
            with translated_values(self._path):
                found = self._read_ids(name, ranges)
            found.setflags(write=False)
        with self._lock:
            self._recent[asked] = found
            while sum(map(len, self._recent.values())) > RECENT_IDS:
                del self._recent[next(iter(self._recent))]
        return found

    def _read_ids(self, name: str, ranges: Sequence[Range]) -> Ids:
        hidden, found = self._hidden, [np.empty(0, np.int64)]
        for wanted in ranges:
            statement, values = select_range(name, wanted)
            for rows in self._batches(statement, values):
                for layer, lists in _by_layer(rows):
                    ids, shown = hidden.without(layer, lists)
                    found.append(ids[shown])
        return np.concatenate(found)

    def facet(self, names: Iterable[str], among: Ids | None) -> Facet:
        """Count the values of fields in the images ``among``, or in all of them.

        Raises :class:`~indexer.errors.InvalidQuery` if they have too many different values.
        """
        self.require()
        counts: Counter[tuple[Kind, Value]] = Counter()
        for name in names:
            self._require_few_values(name)
            with translated_values(self._path):
                counts.update(self._read_counts(name, among))
        shown = nsmallest(SHOWN_VALUES, counts, key=lambda one: (-counts[one], *one))
        values = [
            FacetValue(bool(value) if kind == "boolean" else value, counts[kind, value])
            for kind, value in shown
        ]
        return Facet(values, len(counts) - len(shown))

    def members(self, names: Iterable[str]) -> list[tuple[Value, Ids]]:
        """Return each value of fields and the images that have it, int64 (n,), ascending.

        Raises :class:`~indexer.errors.InvalidQuery` if they have too many different values.
        """
        self.require()
        found: dict[tuple[Kind, Value], list[Ids]] = {}
        for name in names:
            self._require_few_values(name)
            with translated_values(self._path):
                for row, ids in self._read_members(name):
                    found.setdefault((row[2], row[3]), []).append(ids)
        merged = {one: np.unique(np.concatenate(ids)) for one, ids in sorted(found.items())}
        return [
            (bool(value) if kind == "boolean" else value, ids)
            for (kind, value), ids in merged.items()
            if len(ids)
        ]

    def _read_members(self, name: str) -> Iterator[tuple[Any, Ids]]:
        """Yield the rows of a field, layer by layer, and the images of each that are shown."""
        for layer, rows in groupby(self._rows(SELECT_POSTINGS, [name]), itemgetter(0)):
            kept = list(rows)
            ids, shown = self._hidden.without(layer, [row[1] for row in kept])
            ends = np.cumsum([len(row[1]) // ID_BYTES for row in kept])[:-1]
            for row, some, are_shown in zip(
                kept, np.split(ids, ends), np.split(shown, ends), strict=True
            ):
                yield row, some[are_shown]

    def spread(self, name: str, most: int) -> list[int] | None:
        """Return how many images have each value of a field, None if it has more than ``most``.

        It is an estimate, for choosing fields: images that newer layers hide count, too. It reads
        no more than ten times as many rows as values, whatever the collection has.
        """
        statement = "SELECT kind, value, length(ids) / ? FROM postings WHERE name = ? LIMIT ?"
        limit = LAYERS_READ * most + 1
        counts: Counter[tuple[Kind, Value]] = Counter()
        rows = self._rows(statement, [ID_BYTES, name, limit])
        for kind, value, images in rows:
            counts[kind, value] += images
        return None if len(rows) == limit or len(counts) > most else list(counts.values())

    def _read_counts(self, name: str, among: Ids | None) -> Counter[tuple[Kind, Value]]:
        """Return how many images have each value, where there are any."""
        hidden, counts = self._hidden, Counter[tuple[Kind, Value]]()
        for rows in self._batches(SELECT_POSTINGS, [name]):
            for row, count in zip(rows, _counts(rows, hidden, among), strict=True):
                if count:
                    counts[row[2], row[3]] += count
        return counts

    def _require_few_values(self, name: str) -> None:
        statement = "SELECT count(*) FROM (SELECT 1 FROM postings WHERE name = ? LIMIT ?)"
        ((count,),) = self._rows(statement, [name, MAX_FACET_VALUES + 1])
        if count > MAX_FACET_VALUES:
            raise InvalidQuery(
                f"{name} has more than {MAX_FACET_VALUES:,} different values.",
                "They cannot be counted; choose another field.",
            )

    @cached_property
    def _hidden(self) -> "_Hidden":
        rows = np.array(self._rows("SELECT layer, id FROM hidden"), np.int64).reshape(-1, 2)
        return _Hidden(rows[:, 0], rows[:, 1])

    def _rows(self, statement: str, values: Sequence[object] = ()) -> list[Any]:
        return [row for rows in self._batches(statement, values) for row in rows]

    def _batches(self, statement: str, values: Sequence[object] = ()) -> Iterator[list[Any]]:
        """Yield the rows of a statement, some at a time.

        Whoever takes them uses no other connection meanwhile: there may be only this one.
        """
        with translated_errors(self._path, "read"), self._pool.connection() as connection:
            cursor = connection.execute(statement, values)
            while rows := cursor.fetchmany(BATCH_ROWS):
                yield rows


class _Hidden(NamedTuple):
    """The ids that layers hide in older ones: the hiding layer (n,), and the id (n,)."""

    by: NDArray[np.int64]
    ids: Ids

    def without(self, layer: int, lists: Iterable[bytes]) -> tuple[Ids, NDArray[np.bool_]]:
        """Return the ids in lists of a layer, (m,), and which of them no newer one hides, (m,)."""
        ids = np.frombuffer(b"".join(lists), "<u4").astype(np.int64)
        return ids, np.isin(ids, self.ids[self.by > layer], invert=True)


def select_range(name: str, wanted: Range) -> tuple[str, list[Value]]:
    """Return the statement that selects the postings of a range of values, and its parameters."""
    statement = "SELECT layer, ids FROM postings WHERE name = ? AND kind = ?"
    values: list[Value] = [name, wanted.kind]
    if wanted.low is not None:
        statement += f" AND value {'>' if wanted.excludes_low else '>='} ?"
        values.append(wanted.low)
    if wanted.high is not None:
        statement += f" AND value {'<' if wanted.excludes_high else '<='} ?"
        values.append(wanted.high)
    return statement, values


def _counts(rows: Sequence[Any], hidden: _Hidden, among: Ids | None) -> list[int]:
    """Return how many of the images of each of some postings are shown and ``among``."""
    passed = [np.zeros(1, np.bool_)]
    for layer, lists in _by_layer(rows):
        ids, shown = hidden.without(layer, lists)
        passed.append(shown if among is None else shown & np.isin(ids, among))
    ends = np.cumsum([len(row[1]) // ID_BYTES for row in rows])
    counts: list[int] = np.diff(np.cumsum(np.concatenate(passed))[ends], prepend=0).tolist()
    return counts


def _by_layer(rows: Sequence[Any]) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the lists of ids in postings by their layer, in their order."""
    for layer, some in groupby(rows, itemgetter(0)):
        yield layer, [row[1] for row in some]
