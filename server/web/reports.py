"""What the pages of reports share: the report, or why there is none; addresses; downloads."""

import shlex
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar
from urllib.parse import urlencode

from flask import current_app, request

from indexer.analysis import (
    Duplicates,
    Evaluation,
    Findings,
    Leaks,
    Reports,
    SavedReport,
    Suspects,
)
from indexer.errors import InvalidQuery, StoreCorrupt
from indexer.search import ImageRow, Searcher
from server.api.reports import reports
from server.current_index import current_index
from server.web.page_state import parse_int

Thing = TypeVar("Thing")

NAMING: tuple[tuple[type[Any], str, str], ...] = (
    (Duplicates, "Has duplicates", "/collection/duplicates"),
    (Suspects, "Its label is suspect", "/collection/suspects"),
    (Leaks, "Is in two splits", "/collection/leaks"),
)
"""What the page of an image says of the reports that name it."""

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class View:
    """What of a report a page shows, as its address says."""

    kind: str = ""
    """Only groups of this kind."""
    label: str = ""
    suggested: str = ""
    labels: str = ""
    """``all`` to choose from all labels, not only from the most frequent ones."""
    sort: str = ""
    image: int | None = None
    """Only what is about this image."""
    page: int = 1

    @classmethod
    def parse(cls) -> "View":
        """Read the request's address. Raises :class:`~indexer.errors.InvalidQuery`."""
        fields = request.args
        image, page = fields.get("image"), fields.get("page")
        number = parse_int("page", page) if page else 1
        if not 1 <= number <= 10**9:
            raise InvalidQuery(
                f"page is {number}; pages are numbered from 1.", "Begin with page=1."
            )
        return cls(
            kind=fields.get("kind", ""),
            label=fields.get("label", ""),
            suggested=fields.get("suggested", ""),
            labels=fields.get("labels", ""),
            sort=fields.get("sort", ""),
            image=parse_int("image", image) if image else None,
            page=number,
        )

    def url(self, path: str, **changes: object) -> str:
        """Return the address of a path for this view with some fields changed."""
        changed = replace(self, **changes)  # type: ignore[arg-type]
        pairs = [(name, getattr(changed, name)) for name in self.__slots__]
        shown = [(name, value) for name, value in pairs if value not in ("", None)]
        shown = [pair for pair in shown if pair != ("page", 1)]
        return f"{path}?{urlencode(shown)}" if shown else path


@dataclass(frozen=True, slots=True)
class Asked(Generic[Findings]):
    """A report that a page asked for, or why it has none; and the command that makes it."""

    saved: SavedReport[Findings] | None
    is_damaged: bool
    command: str


def ask(kind: type[Findings], searcher: Searcher) -> Asked[Findings]:
    """Return the last report of an analysis, or why there is none."""
    try:
        saved = reports().get(kind, searcher)
    except StoreCorrupt as error:
        current_app.logger.warning("%s %s", error.message, error.hint)
        return Asked(None, True, command(Reports.command(kind)))
    verb = _again(saved.found) if saved else Reports.command(kind)
    return Asked(saved, False, command(verb))


def _again(found: Any) -> str:
    """Return the verb that makes a report again as it was made."""
    match found:
        case Duplicates():
            sides = [f"--reference {shlex.quote(clause)}" for clause in found.reference]
            sides += [f"--new {shlex.quote(clause)}" for clause in found.new]
            return " ".join(["duplicates", *sides, *_within(found)])
        case Leaks():
            between = ["leaks", "--between", *map(shlex.quote, found.between)]
            return " ".join([*between, *_by(found, "split"), *_within(found)])
        case Suspects():
            return " ".join(["suspects", *_by(found, "folder")])
        case Evaluation():
            return " ".join(["evaluate", *_by(found, "folder")])
    return Reports.command(type(found))


def _by(found: Leaks | Suspects | Evaluation, default: str) -> list[str]:
    return [] if found.by == default else ["--by", shlex.quote(found.by)]


def _within(found: Duplicates | Leaks) -> list[str]:
    return [] if found.limit.is_suggested else ["--within", f"{found.limit.within:.6g}"]


def naming(image_id: int) -> list[tuple[str, str]]:
    """Return the lists that an image is in: what to call it there, and the address of the page."""
    named = []
    for kind, label, path in NAMING:
        with suppress(StoreCorrupt, OSError):
            if reports().names(kind, image_id):
                named.append((label, f"{path}?image={image_id}"))
    return named


def command(verb: str) -> str:
    """Return a command for the index of this server.

    It names the folder of the index only where none but users of this machine see the page.
    """
    config = current_index().config
    is_local = config.server.host in LOOPBACK and not config.server.proxies
    place = f" --store {shlex.quote(str(config.store.absolute()))}" if is_local else ""
    return f"lookalike {verb}{place}"


def here(note: str) -> str:
    """Return a note of a report with its command for the index of this server."""
    return note.replace("lookalike graph", command("graph"))


def day(image: ImageRow) -> str:
    """Return the day on which a file was changed; nothing if it is not known."""
    try:
        return datetime.fromtimestamp((image.mtime_ns or 0) / 1e9, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):  # a date that no calendar has
        return ""


def on_page(things: Sequence[Thing], view: View, per_page: int) -> Sequence[Thing]:
    """Return those that are on a page."""
    return things[(view.page - 1) * per_page : view.page * per_page]
