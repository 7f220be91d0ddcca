"""Values of a table as metadata: what JSON and a catalogue can hold, and what is passed over."""

import sys
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any

from indexer.datasets.base import Listing
from indexer.datasets.tables.rows import BAD_ROWS
from indexer.text import storable

KEPT_TEXTS = 10_000
SHORT = 100
"""Columns repeat texts: so many short ones are kept, each of them once."""


def plain_values(values: Mapping[str, Any], place: str, listing: Listing) -> dict[str, Any]:
    """Return values as JSON has them; what it cannot hold becomes None and is passed over."""
    plain = dict[str, Any]()
    for name, value in values.items():
        try:
            plain[name] = _plain(value)
        except TypeError as error:
            plain[name] = None
            listing.pass_over(f"table values that are {error}", f"{place}: {name}")
    return plain


def _plain(value: Any) -> Any:
    """Return a value as JSON has it. Raises :class:`TypeError` with the name of another type."""
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if value is None or isinstance(value, float | str):
        return value
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    raise TypeError(type(value).__name__)


def usable(values: dict[str, Any], what: str, listing: Listing) -> dict[str, Any]:
    """Return the values that say something, as a catalogue can hold them."""
    repairs = set[str]()
    try:
        values = storable(values, repairs)
    except ValueError as error:
        listing.pass_over(BAD_ROWS, f"{what} ({error})")
        return {}
    for repair in sorted(repairs):
        listing.pass_over(f"table values with {repair}", what)
    return {
        sys.intern(name): _shared(value)
        for name, value in values.items()
        if name and value not in (None, "")
    }


def _shared(value: Any) -> Any:
    """Return a value whose texts share their memory with equal ones that came before."""
    if isinstance(value, list):
        return [_shared(one) for one in value]
    return _kept(value) if isinstance(value, str) and len(value) <= SHORT else value


@lru_cache(KEPT_TEXTS)
def _kept(text: str) -> str:
    return text
