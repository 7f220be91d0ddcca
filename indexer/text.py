"""Text from outside: its encoding, the spellings of a name, and what JSON may hold."""

import codecs
import json
import math
import os
import re
import unicodedata
from collections.abc import Callable, Iterator
from itertools import islice, product
from typing import Any

MAX_DEPTH = 100
"""Objects and lists within each other; SQLite refuses JSON that is nested much deeper."""

MAX_SPELLINGS = 64
"""How many spellings of a name are tried: they multiply with its folders."""

NOT_FINITE = "NaN or infinity, which became null"
NOT_TEXT = "half a character or a zero byte, which became U+FFFD"

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins like UTF-16's
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_UNTEXTUAL = re.compile("[\ud800-\udfff\0]")


def encoding_of(data: bytes) -> str:
    """Return the encoding that the byte order mark of a text names, or ``utf-8`` without one."""
    return next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8")


def decode(data: bytes, *, keep_invalid: bool = False) -> str:
    """Return a text in UTF-8, or in UTF-16 or UTF-32 with a byte order mark, without the mark.

    Windows' programs write a mark before UTF-8, too. With ``keep_invalid`` invalid bytes of UTF-8
    become surrogates, as in :func:`os.fsdecode`.

    Raises :class:`ValueError`, which says what is wrong with the text.
    """
    encoding = encoding_of(data)
    if encoding == "utf-8" and data.count(0) > data.count(b"\n") + 1:  # one alone may be a mistake
        raise ValueError(
            "it is full of zero bytes, like UTF-16 without a byte order mark; save it as UTF-8"
        )
    errors = "strict"
    if keep_invalid:
        errors = "surrogateescape" if encoding.startswith("utf-8") else "surrogatepass"
    try:
        return data.decode(encoding, errors)
    except UnicodeDecodeError as error:
        name = encoding.removesuffix("-sig").upper()
        raise ValueError(f"it is not valid {name} at byte {error.start:,}") from None


def as_utf8(data: bytes) -> bytes:
    """Return a text in UTF-8 without a byte order mark; one in UTF-8 is returned unchecked.

    Raises :class:`ValueError` as :func:`decode` does.
    """
    encoding = encoding_of(data)
    if encoding == "utf-8-sig":
        return data.removeprefix(codecs.BOM_UTF8)
    return data if encoding == "utf-8" else decode(data).encode()


def is_text(text: str) -> bool:
    """Tell whether a text is valid Unicode, without surrogates for invalid bytes."""
    return text.isascii() or escaped(text) == text


def escaped(text: str) -> str:
    """Return a text as valid Unicode, with hexadecimal escapes for invalid bytes and surrogates."""
    try:
        data = os.fsencode(text)
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        data = text.encode("utf-8", "surrogatepass")
    return data.decode("utf-8", "backslashreplace")


def printable(text: str) -> str:
    """Return a text with its control characters escaped: a terminal would obey them."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def composed(text: str) -> str:
    """Return a text with composed letters (NFC), for comparisons."""
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def normal_forms(text: str) -> list[str]:
    """Return a text, then its composed and its decomposed form where they differ from it.

    People type composed letters (NFC); names from a Mac are often decomposed (NFD).
    https://unicode.org/reports/tr15/
    """
    if text.isascii():
        return [text]
    forms = (text, composed(text), unicodedata.normalize("NFD", text))
    return list(dict.fromkeys(forms))


def spellings(name: str) -> list[str]:
    """Return a path as it is, then as it may be spelt elsewhere: a file can have any of them.

    Each folder may be composed or decomposed, and a backslash may separate them, as on Windows.
    """
    if name.isascii() and "\\" not in name:
        return [name]
    found = dict.fromkeys(_unicode_spellings(name))
    if "\\" in name:
        found |= dict.fromkeys(_unicode_spellings(name.replace("\\", "/")))
    return list(found)


def _unicode_spellings(name: str) -> Iterator[str]:
    parts = map(normal_forms, name.split("/"))
    return islice(map("/".join, product(*parts)), MAX_SPELLINGS)


def parse_json(
    data: bytes, object_hook: Callable[[dict[str, Any]], dict[str, Any]] | None = None
) -> Any:
    """Return the value of a JSON text; ``object_hook`` may replace each object.

    An integer beyond 64 bits becomes text, with all its digits: most readers of JSON would round
    it. NaN and infinity are floats here; :func:`storable` replaces them.

    Raises :class:`ValueError`, which says what is wrong with the text.
    """
    try:
        return json.loads(decode(data), object_hook=object_hook, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise ValueError(f"invalid JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def storable(value: Any, repairs: set[str], depth: int = 0) -> Any:
    """Return a value of JSON as a catalogue and an answer can hold it.

    What was replaced is added to ``repairs``: :data:`NOT_FINITE`, :data:`NOT_TEXT`. Raises
    :class:`ValueError` beyond :data:`MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise ValueError("it is nested too deeply")
    if isinstance(value, str):
        if value.isascii() and "\0" not in value:
            return value
        text = _UNTEXTUAL.sub("\ufffd", value)
        if text != value:
            repairs.add(NOT_TEXT)
        return text
    if isinstance(value, float) and not math.isfinite(value):
        repairs.add(NOT_FINITE)
        return None
    if isinstance(value, list):
        return [storable(item, repairs, depth + 1) for item in value]
    if isinstance(value, dict):
        return {
            storable(name, repairs, depth): storable(item, repairs, depth + 1)
            for name, item in value.items()
        }
    return value


def _integer(digits: str) -> int | str:
    if len(digits) < 19:
        return int(digits)
    if len(digits) > 20:
        return digits
    number = int(digits)
    return number if -(2**63) <= number < 2**63 else digits
