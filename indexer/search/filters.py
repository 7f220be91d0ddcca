"""The language of filters: from ``category=dog`` to the images that pass.

docs/filters.md describes it for users. Clauses are parsed and written here alone, for the page, the
API, the command line and Python; the index of metadata answers them
(:mod:`indexer.store.metadata_index`).
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from indexer.errors import InvalidQuery
from indexer.search.queries import Allowed
from indexer.search.words import has_word
from indexer.store import OWN_FIELDS, Field, Kind, MetadataIndex, Range
from indexer.text import normal_forms, spellings

Ids = NDArray[np.int64]

MAX_CLAUSES = 16
MAX_LENGTH = 1000
"""How many clauses a filter may have, and how many characters each of them."""

MAX_FACETS = 16
"""How many fields may be counted at once."""

SHOWN_FIELDS = 20
"""How many fields an error names."""

HINT = 'Write for instance category=dog, category="hot dog",cat, width>=640, caption~surfboard.'
KINDS: dict[Kind, str] = {"text": "text", "number": "numbers", "boolean": "true or false"}
PATHS = ("key", "folder")

LAST = "\U0010ffff"
"""The last of all characters: texts that begin with a are those from a to a + LAST."""

_QUOTED = r'"(?P<quoted>[^"]*(?:""[^"]*)*)"'
_NAME = re.compile(rf'\s*(?:{_QUOTED}|(?P<bare>[^"=!<>^~,]+))\s*')
_SIGN = re.compile(r"!=|>=|<=|\^=|[=<>~]")
_VALUE = re.compile(rf'\s*(?:{_QUOTED}|(?![=!<>^~])(?P<bare>(?:(?!\.\.)[^",\s])+))\s*')
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Clause:
    """One condition of a filter, on the values of a field."""

    text: str
    """As it was written."""
    field: str
    ranges: tuple[Range, ...]
    """One value of the field has to be in one of them; with ``excludes``, none may be."""
    excludes: bool = False
    phrases: tuple[str, ...] = ()
    """One of them has to be in a text of the field; then there are no ranges."""


class _Value(NamedTuple):
    """A value as it was written. In quotes it is text; else it may also be something else."""

    text: str
    is_quoted: bool

    @property
    def number(self) -> int | float | None:
        """The finite number that it is; an integer if that has up to 64 bits."""
        if self.is_quoted or not _NUMBER.fullmatch(self.text):
            return None
        if self.text.lstrip("+-").isdigit() and -(2**63) <= int(self.text) < 2**63:
            return int(self.text)
        return float(self.text) if math.isfinite(float(self.text)) else None

    @property
    def boolean(self) -> bool | None:
        """The boolean that it is."""
        return None if self.is_quoted else {"true": True, "false": False}.get(self.text)


def parse_filter(texts: Sequence[str]) -> tuple[Clause, ...]:
    """Return the clauses of a filter, all of which must hold.

    Raises :class:`~indexer.errors.InvalidQuery` for what is not in the language.
    """
    if len(texts) > MAX_CLAUSES:
        raise InvalidQuery(
            f"The filter has {len(texts)} clauses; the limit is {MAX_CLAUSES}.",
            "A comma means or within a clause: category=cat,dog.",
        )
    return tuple(map(_clause, texts))


def parse_names(text: str) -> list[str]:
    """Return the names of fields in a list such as ``category,licence``.

    Raises :class:`~indexer.errors.InvalidQuery`.
    """
    names, end = [], -1
    while end < len(text):
        name = _NAME.match(text, end + 1)
        if name is None or text[name.end() : name.end() + 1] not in ("", ","):
            raise InvalidQuery(f"{text} is no list of fields.", "Write for instance category,size.")
        names.append(_value(name).text)
        end = name.end()
    if len(names) > MAX_FACETS:
        raise InvalidQuery(f"{len(names)} fields are to be counted; the limit is {MAX_FACETS}.")
    return names


def name_text(field: str) -> str:
    """Return a field's name as clauses and lists of fields write it, in quotes where needed."""
    bare = _NAME.fullmatch(field)
    return field if bare and bare["bare"] == field.strip() == field else _quoted(field)


def equal_clause(field: str, value: str | int | float | bool) -> str | None:
    """Return the clause that images with a value pass, such as ``category="hot dog"``.

    None if it would be longer than a clause may be.
    """
    written = _quoted(value) if isinstance(value, str) else repr(value)
    if isinstance(value, bool):
        written = written.lower()
    elif isinstance(value, str) and (bare := _VALUE.fullmatch(value)):
        plain = _Value(value, is_quoted=False)
        if bare["bare"] == value and plain.number is None and plain.boolean is None:
            written = value
    clause = f"{name_text(field)}={written}"
    return clause if len(clause) <= MAX_LENGTH else None


def _quoted(text: str) -> str:
    doubled = text.replace('"', '""')
    return f'"{doubled}"'


def require_fields(index: MetadataIndex, clauses: Sequence[Clause]) -> None:
    """Raise what :func:`passing` raises.

    That is :class:`~indexer.errors.InvalidQuery` for a field that no image has, or that never has
    the kind of value that is asked for, and :class:`~indexer.errors.NoMetadataIndex`; for words
    also :class:`~indexer.errors.MissingDependency`.
    """
    for clause in clauses:
        _names_of(index, clause)


def passing(index: MetadataIndex, clauses: Sequence[Clause], ids: Ids) -> Ids:
    """Return those of ``ids`` (n,) that pass all clauses, in their order."""
    for clause in clauses:
        names = _names_of(index, clause)
        if clause.phrases:
            found = [index.words.ids([phrase], names) for phrase in clause.phrases]
        else:
            found = [index.ids(name, clause.ranges) for name in names]
        ids = ids[np.isin(ids, np.concatenate(found), invert=clause.excludes)]
    return ids


def allowed_ids(index: MetadataIndex, allowed: Allowed, ids: Ids) -> Ids:
    """Return those of ``ids`` (n,) with this key prefix and these metadata, in their order.

    Raises :class:`~indexer.errors.NoMetadataIndex`.
    """
    if allowed.key_prefix:
        ids = ids[np.isin(ids, index.ids("key", _prefixes("key", allowed.key_prefix)))]
    for name, value in allowed.metadata.items():
        if isinstance(value, str):
            ranges = [Range("text", form, form) for form in normal_forms(value)]
        else:  # in JSON's filters true equals 1
            ranges = [Range("number", value, value), Range("boolean", value, value)]
        found = [
            index.ids(f"metadata.{form}" if form in OWN_FIELDS else form, ranges)
            for form in normal_forms(name)
        ]
        ids = ids[np.isin(ids, np.concatenate(found))]
    return ids


def fields_named(index: MetadataIndex, name: str) -> list[Field]:
    """Return the fields of this name, whose letters may be composed or decomposed.

    Raises :class:`~indexer.errors.InvalidQuery` if there is none, and
    :class:`~indexer.errors.NoMetadataIndex`.
    """
    index.require()
    found = [field for field in index.fields if field.name in normal_forms(name)]
    if not found:
        known = list(dict.fromkeys(field.name for field in index.fields))
        shown, more = ", ".join(known[:SHOWN_FIELDS]), ""
        if len(known) > SHOWN_FIELDS:
            more = f" and {len(known) - SHOWN_FIELDS:,} more"
        raise InvalidQuery(
            f"No image has a field {name}.",
            f"Fields: {shown}{more}." if known else "No image is indexed.",
        )
    return found


def _names_of(index: MetadataIndex, clause: Clause) -> set[str]:
    """Return the names of a clause's field in the index."""
    fields = fields_named(index, clause.field)
    if clause.phrases:
        index.words.require()
        return _with_words(index, clause, {field.name for field in fields})
    held = [field.kind for field in fields]
    if {wanted.kind for wanted in clause.ranges}.isdisjoint(held):
        quotes = " In double quotes a value is text." if "text" in held else ""
        raise InvalidQuery(
            f"{clause.text}: {clause.field} holds {' and '.join(KINDS[kind] for kind in held)}.",
            f"Compare it with {' or '.join(KINDS[kind] for kind in held)}.{quotes}",
        )
    return {field.name for field in fields}


def _with_words(index: MetadataIndex, clause: Clause, names: set[str]) -> set[str]:
    """Return those of the names of a clause's field whose texts are searched for words."""
    searched = index.words.fields
    found = names.intersection(searched)
    if not found:
        raise InvalidQuery(
            f"{clause.text}: {clause.field} has no texts that are searched for words.",
            f"Words are searched in {', '.join(searched[:SHOWN_FIELDS]) or 'captions and the like'}"
            "; compare other texts by = or ^=.",
        )
    return found


def _clause(text: str) -> Clause:
    if len(text) > MAX_LENGTH:
        raise InvalidQuery(
            f"A clause has {len(text):,} characters; the limit is {MAX_LENGTH:,}.",
            "Divide it, or use ^= with the beginning of the value.",
        )
    name = _NAME.match(text)
    sign = _SIGN.match(text, name.end()) if name else None
    if name is None or sign is None:
        raise InvalidQuery(f"{text} is no filter.", HINT)
    field, operator = _value(name).text, sign.group()
    items = _items(text, sign.end())
    if operator == "~":
        return Clause(text.strip(), field, (), phrases=_phrases(text, items))
    if operator not in ("=", "!=", "^=") and len(items) > 1:
        raise InvalidQuery(f"{text}: {operator} takes one value.", "Lists go with =, !=, ^= and ~.")
    ranges = [wanted for item in items for wanted in _ranges(text, field, operator, *item)]
    return Clause(text.strip(), field, tuple(ranges), operator == "!=")


def _items(text: str, start: int) -> list[list[_Value]]:
    """Return what a clause lists after its operator: values, or the two ends of a range."""
    items: list[list[_Value]] = [[]]
    while True:
        value = _VALUE.match(text, start)
        if value is None:
            raise InvalidQuery(
                f"{text}: a value is missing after {text[:start].strip()}.",
                'An empty text is "". A value with quotes stands in quotes: "a ""red"" bus".',
            )
        items[-1].append(_value(value))
        start = value.end()
        if start == len(text):
            return items
        if text[start] == ",":
            items.append([])
            start += 1
        elif text.startswith("..", start) and len(items[-1]) == 1:
            start += 2
        else:
            raise InvalidQuery(
                f"{text}: a value with spaces, quotes or two dots stands in double quotes.",
                'Write for instance category="hot dog",cat.',
            )


def _phrases(text: str, items: Sequence[Sequence[_Value]]) -> tuple[str, ...]:
    """Return the words and phrases that a clause lists after ``~``."""
    if any(len(item) > 1 for item in items):
        raise InvalidQuery(f"{text}: ~ takes words.", "Ranges go with = and !=.")
    phrases = tuple(item[0].text for item in items)
    if not all(map(has_word, phrases)):
        raise InvalidQuery(
            f"{text}: there is a value without a letter or digit.",
            'Write for instance caption~surf, caption~"surf board",surfer.',
        )
    return phrases


def _value(match: re.Match[str]) -> _Value:
    """Return a value or a name as it was written, without its quotes."""
    quoted = match["quoted"]
    if quoted is None:
        return _Value(match["bare"].strip(), is_quoted=False)
    return _Value(quoted.replace('""', '"'), is_quoted=True)


def _ranges(
    text: str, field: str, operator: str, value: _Value, end: _Value | None = None
) -> list[Range]:
    """Return the values that an item of a clause asks for."""
    if operator == "^=" and end is None:
        return _prefixes(field, value.text)
    if operator in ("=", "!="):
        return _equal(field, value) if end is None else [_between(text, value, end)]
    if end is not None:
        raise InvalidQuery(f"{text}: {operator} takes one value.", "Ranges go with = and !=.")
    kind, bound = _ordered(value)
    if operator.startswith(">"):
        return [Range(kind, low=bound, excludes_low=operator == ">")]
    return [Range(kind, high=bound, excludes_high=operator == "<")]


def _equal(field: str, value: _Value) -> list[Range]:
    forms = spellings(value.text) if field in PATHS else normal_forms(value.text)
    ranges = [Range("text", form, form) for form in forms]
    if value.number is not None:
        ranges.append(Range("number", value.number, value.number))
    if value.boolean is not None:
        ranges.append(Range("boolean", value.boolean, value.boolean))
    return ranges


def _prefixes(field: str, text: str) -> list[Range]:
    forms = spellings(text) if field in PATHS else normal_forms(text)
    return [Range("text", form, form + LAST, excludes_high=True) for form in forms]


def _between(text: str, low: _Value, high: _Value) -> Range:
    """Return a range that includes its ends: of numbers if both are, else of texts."""
    if low.number is not None and high.number is not None:
        ends, is_empty = Range("number", low.number, high.number), low.number > high.number
    else:
        ends, is_empty = Range("text", low.text, high.text), low.text > high.text
    if is_empty:
        raise InvalidQuery(
            f"{text}: {low.text} is above {high.text}.", "Write the lower end first: licence=4..5."
        )
    return ends


def _ordered(value: _Value) -> tuple[Kind, str | int | float]:
    """Return what a value is compared as: a number if it is one, else a text, by its letters."""
    return ("text", value.text) if value.number is None else ("number", value.number)
