"""Tables in text: CSV with commas, semicolons or tabs, and JSON Lines."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from indexer.datasets.base import Listing
from indexer.datasets.tables.rows import BAD_ROWS, Row, key_column
from indexer.text import decode, encoding_of, is_text, parse_json

DELIMITERS = (",", ";", "\t")
"""Spreadsheets write semicolons where a comma stands before decimals."""

HEAD_BYTES = 65_536
"""How much of a file shows its encoding."""

SAFE_DIGITS = 18
"""A number of so many digits has less than 64 bits."""

NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
"""A number as JSON writes it; 007 is text."""

WORDS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def read_csv(path: Path, listing: Listing) -> Iterator[Row]:
    """Yield the rows of a CSV file; a line that cannot be read is passed over.

    Raises :class:`ValueError` if its first line does not name the columns, or if its encoding is
    not what its beginning says.
    """
    with _open(path) as file:
        names, delimiter, above = _header(file)
        column = names.index(key_column([name for name in names if name]))
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        for cells, problem in _records(reader, len(names)):
            place = f"{path.name}: line {above + reader.line_num}"
            if problem:
                listing.pass_over(BAD_ROWS, f"{place} ({problem})")
                continue
            values = dict(zip(names, map(_value, cells), strict=True))
            del values[names[column]]
            yield Row(place, cells[column].strip(), values)


def read_json_lines(path: Path, listing: Listing) -> Iterator[Row]:
    """Yield the rows of a file with a JSON object in each line; other lines are passed over.

    Raises :class:`ValueError` if its first object does not name an image, if no line is an object,
    or if its encoding is not what its beginning says.
    """
    column = None
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            place = f"{path.name}: line {number}"
            if line.isspace():
                continue
            try:
                values = parse_json(line.encode("utf-8", "surrogateescape"))
                if not isinstance(values, dict):
                    raise ValueError("it is no JSON object")
            except ValueError as error:
                listing.pass_over(BAD_ROWS, f"{place} ({error})")
                continue
            column = column or key_column(list(values))
            key = values.pop(column, None)
            yield Row(place, key if isinstance(key, str) else "", values)
    if column is None:
        raise ValueError("none of its lines is a JSON object")


def _open(path: Path) -> TextIO:
    """Open a text in any encoding that its first bytes name; invalid bytes become surrogates."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    encoding, errors = encoding_of(head), "surrogatepass"
    if encoding.startswith("utf-8"):
        decode(head, keep_invalid=True)  # its error says that it has no byte order mark
        errors = "surrogateescape"
    return path.open(encoding=encoding, errors=errors, newline="")


def _header(file: TextIO) -> tuple[list[str], str, int]:
    """Return the names of the columns, what separates them, and the number of their line.

    What separates them is what makes the most columns of it.
    """
    for number, line in enumerate(iter(file.readline, ""), 1):
        if line.strip():
            split = ((next(csv.reader([line], delimiter=d)), d) for d in DELIMITERS)
            names, delimiter = max(split, key=lambda found: len(found[0]))
            return [name.strip() for name in names], delimiter, number
    raise ValueError("it is empty")


def _records(reader: Iterator[list[str]], width: int) -> Iterator[tuple[list[str], str]]:
    """Yield the cells of each line, or what is wrong with it. Missing cells are empty."""
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield [], str(error)
            continue
        if len(cells) > width:
            yield [], f"it has {len(cells)} values for {width} columns"
        elif not is_text("".join(cells)):
            yield [], "it is not valid UTF-8"
        elif cells:
            yield cells + [""] * (width - len(cells)), ""


def _value(cell: str) -> str | float | bool:
    """Return what a cell says: a number, true or false, or a text."""
    text = cell.strip()
    if text in WORDS:
        return WORDS[text]
    number = NUMBER.fullmatch(text)
    if not number:
        return text
    if any(number.groups()):
        return float(text)
    # An integer beyond 64 bits is text, with all its digits.
    return int(text) if len(text) <= SAFE_DIGITS else parse_json(text.encode())
