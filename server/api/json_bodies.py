"""JSON of requests: bounded before it is parsed, parsed before it is validated.

Ten megabytes of ``[[],[],…]`` become 300 MB of Python lists, and an object of a million unknown
fields as many errors. Both hold the interpreter's lock, so that even health checks wait.
Therefore what the bytes contain is counted first, and large bodies are parsed two at a time.
"""

import json
import re
from contextlib import nullcontext
from itertools import accumulate
from typing import NamedTuple, TypeVar

from flask import request
from pydantic import BaseModel
from werkzeug.exceptions import BadRequest

from server.admission.capacity import capacity
from server.api.bodies import validate
from server.errors import API_HINT, BodyTooLarge, InvalidRequest

Model = TypeVar("Model", bound=BaseModel)


class JsonLimits(NamedTuple):
    """How large the JSON of a request may be."""

    bytes: int
    values: int
    """Numbers, texts, objects and lists, in all."""
    containers: int
    """Objects and lists."""


SEARCH_LIMITS = JsonLimits(500_000, 20_000, 100)
"""One search: a vector of 16,384 numbers of 25 characters, 64 examples, a filter of 16 texts."""

BATCH_LIMITS = JsonLimits(10_000_000, 500_000, 10_000)
"""A hundred searches, with vectors of 4,096 numbers: these have up to 9 MB."""

MAX_DEPTH = 8
"""Deepest nesting; a filter in a batch has five levels."""

MAX_FIELDS = 64
"""More fields than any object of a request can have."""

TEXT = re.compile(rb'"[^"\\]*+(?:\\.?[^"\\]*+)*+"?', re.DOTALL)
"""A text of JSON, or the rest of the body if the text does not end. Matching takes linear time."""

ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def json_model(model: type[Model], limits: JsonLimits) -> Model:
    """Return the model made of the JSON of the request.

    A body larger than that of one search is parsed in a slot. Raises BadRequest,
    :class:`~server.errors.BodyTooLarge`, :class:`~server.errors.InvalidRequest`, or
    :class:`~server.admission.slots.Overloaded` if no slot is free.
    """
    data = _read(limits.bytes)
    is_large = len(data) > SEARCH_LIMITS.bytes
    with capacity().large_bodies.hold() if is_large else nullcontext():
        _check_structure(data, limits)
        return validate(model, _parse(data))


def _read(limit: int) -> bytes:
    """Return the body. One that is too large is not read to its end."""
    limit = min(limit, request.max_content_length or limit)
    if (request.content_length or 0) > limit:
        raise BodyTooLarge(
            f"The JSON has {request.content_length:,} bytes; the limit is {limit:,}."
        )
    request.max_content_length = limit + 1  # a longer chunked body is cut there, without an error
    data = request.get_data()
    if len(data) > limit:
        raise BodyTooLarge(f"The JSON has more bytes than the limit of {limit:,}.")
    return data


def _check_structure(data: bytes, limits: JsonLimits) -> None:
    """Refuse JSON of too many values, or nested too deeply, without parsing it.

    Brackets and commas outside of texts are counted: each value follows one, except the outermost.
    """
    if data.count(b'"') > 2 * limits.values:  # two around each text, others inside
        raise _too_many("texts", limits.values)
    outside_texts = TEXT.sub(b"", data)
    brackets = outside_texts.translate(None, ALL_BUT_BRACKETS)
    steps = (1 if bracket in b"[{" else -1 for bracket in brackets[: 2 * limits.containers])
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise BadRequest(f"The JSON is nested too deeply: more than {MAX_DEPTH} levels.")
    containers = brackets.count(b"[") + brackets.count(b"{")
    if containers > limits.containers:
        raise _too_many("objects and lists", limits.containers)
    if containers + outside_texts.count(b",") > limits.values:
        raise _too_many("values", limits.values)


def _too_many(what: str, limit: int) -> InvalidRequest:
    return InvalidRequest(f"The JSON has more than {limit:,} {what}.", API_HINT)


def _parse(data: bytes) -> object:
    """Return the value of JSON in UTF-8 (RFC 8259, 8.1), without infinite recursion."""
    try:
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None


def _object(fields: list[tuple[str, object]]) -> dict[str, object]:
    """Return an object. One of many fields or with a field twice is refused.

    Validation makes an error for each unknown field: for a million of them it takes gigabytes.
    """
    if len(fields) > MAX_FIELDS:
        raise InvalidRequest(
            f"An object has {len(fields):,} fields; the limit is {MAX_FIELDS}.", API_HINT
        )
    found = dict(fields)
    if len(found) < len(fields):
        raise InvalidRequest("An object has a field more than once.", "Send it once.")
    return found
