"""COCO's JSON: the fields that are used of it, and records that do not fit them.

A file is split into its records without a look into them; then one record after the other is
decoded, without its polygons. So a file takes little more memory than its size, and a bad record
costs that record. Format: https://cocodataset.org/#format-data
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw, Struct
from tqdm import tqdm

from indexer.datasets.base import BAR_DELAY_S, Listing
from indexer.text import NOT_FINITE, NOT_TEXT, decode, parse_json, storable

Id = int | float | str | None
"""An id as tools write it. See :func:`comparable`."""

Side = Annotated[int, Meta(ge=0, lt=2**31)]
"""Pixels of a picture's width or height."""

NULL = Raw(b"null")
"""The value of a field that is not there."""

MAX_DIGITS = 100
"""Longer numbers written as text stay text: Python refuses to read thousands of digits."""


class Sentence(Struct, gc=False):
    """A caption, as Karpathy's files have them in their images."""

    raw: str | None = None


class Image(Struct, gc=False):
    """A record of ``images``: COCO's, LVIS's without ``file_name``, or Karpathy's."""

    id: Id = None
    cocoid: Id = None
    file_name: str | None = None
    filename: str | None = None
    filepath: str | None = None
    coco_url: str | None = None
    flickr_url: str | None = None
    width: Side | None = None
    height: Side | None = None
    license: Id = None
    date_captured: Id = None
    split: str | None = None
    sentences: list[Sentence] | None = None


class Segment(Struct, gc=False):
    """What an annotation says of a thing; a panoptic one has several, in ``segments_info``."""

    id: Id = None
    category_id: Id = None
    bbox: list[float] | None = None
    area: Annotated[float, Meta(ge=0)] | None = None
    iscrowd: bool | int | None = None


class Annotation(Segment, gc=False):
    """A record of ``annotations``, without its polygons, which most of a file consists of."""

    image_id: Id = None
    caption: str | None = None
    segments_info: list[Segment] | None = None


class Named(Struct, gc=False):
    """A record of ``categories`` or ``licenses``."""

    id: Id = None
    name: str | None = None
    supercategory: str | None = None


R = TypeVar("R", bound=Struct)


def split_file(data: bytes, label: str, listing: Listing) -> dict[str, Raw]:
    """Return the fields of a JSON object in UTF-8, undecoded.

    NaN, infinity and half characters are no JSON, but Python and others write them: they are
    replaced and counted. ``label`` names the file. Raises :class:`ValueError`, which says what is
    wrong.
    """
    try:
        try:
            return _fields(data)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:
            if (repaired := _repaired(data, label, listing)) is None:
                decode(data)  # its error says what is wrong with the text
                raise
        del data
        return _fields(repaired)
    except msgspec.ValidationError:
        raise ValueError("it is no JSON object") from None
    except msgspec.DecodeError as error:
        problem = str(error).removeprefix("JSON is malformed: ")
        raise ValueError(f"invalid JSON: {problem}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def split_list(value: Raw) -> list[Raw] | None:
    """Return the values of a list, undecoded; none for null. Return None for anything else."""
    try:
        return msgspec.json.decode(value, type=list[Raw] | None) or []
    except msgspec.ValidationError:
        return None


def records(
    name: str, values: list[Raw], kind: type[R], listing: Listing
) -> Iterator[tuple[str, R]]:
    """Yield the records of a list, each with its place; one that is no object is empty."""
    decoder = msgspec.json.Decoder(kind)
    bar = tqdm(
        values, f"Reading {name}", unit="record", leave=False, disable=None, delay=BAR_DELAY_S
    )
    for number, value in enumerate(bar):
        place = f"{name}[{number}]"
        try:
            yield place, decoder.decode(value)
        except ValueError:
            yield place, _what_fits(bytes(value), place, kind, listing)


def comparable(value: Id) -> int | str | None:
    """Return an id as a number, else as text, or None if it is neither or a broken number.

    Some tools write numbers in one list and text in the other.
    """
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if value and value.isdecimal() and len(value) < MAX_DIGITS and str(int(value)) == value:
        return int(value)
    return value or None


def _fields(data: bytes | bytearray) -> dict[str, Raw]:
    return msgspec.json.decode(data, type=dict[str, Raw])


def _what_fits(data: bytes, place: str, kind: type[R], listing: Listing) -> R:
    """Return a record with those of its values that have the right type."""
    repairs = set[str]()
    try:
        record = storable(parse_json(data), repairs)
    except ValueError as error:
        listing.pass_over("records that cannot be read", f"{place} ({error})")
        return kind()
    for repair in repairs:
        listing.pass_over(repair, place)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind) if isinstance(record, Mapping) else ():
        if (value := record.get(field.name)) is None:
            continue
        for strict in (True, False):  # a number may be written as text
            with suppress(msgspec.ValidationError):
                values[field.name] = msgspec.convert(value, field.type, strict=strict)
                break
        else:
            listing.pass_over("values that COCO does not have there", f"{place}.{field.name}")
    return kind(**values)


_TOKEN = re.compile(
    rb"""(?:[^"NI-]++|-(?!I)|"[^"\\]*+")++"""  # as much as there is without an escape
    rb"""|(?P<text>"[^"\\]*+(?:\\.[^"\\]*+)*+")|(?P<number>-?Infinity|NaN)""",
    re.DOTALL,
)
_ESCAPE = re.compile(  # two halves of a character, one half, or another escape
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(?P<half>u[dD][89a-fA-F]..)|.)", re.DOTALL
)


def _repaired(data: bytes, label: str, listing: Listing) -> bytearray | None:
    """Return a text with the numbers and characters replaced that JSON has not, if there are any.

    It is looked through only if it cannot be read as it is.
    """
    repaired, end = bytearray(), 0
    for match in _TOKEN.finditer(data):
        if found := _replacement(match):
            heading, replacement = found
            listing.pass_over(heading, f"{label}: byte {match.start():,}")
            repaired += memoryview(data)[end : match.start()]
            repaired += replacement
            end = match.end()
    if not end:
        return None
    repaired += memoryview(data)[end:]
    return repaired


def _replacement(token: re.Match[bytes]) -> tuple[str, bytes] | None:
    """Return what is wrong with a token and what replaces it, or None for nothing."""
    if token["number"]:
        return NOT_FINITE, b"null"
    if text := token["text"]:
        right = _ESCAPE.sub(lambda escape: rb"\ufffd" if escape["half"] else escape[0], text)
        if right != text:
            return f"texts with {NOT_TEXT}", right
    return None
