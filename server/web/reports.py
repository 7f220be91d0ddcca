"""What the pages of reports share: the report, or why there is none; addresses; downloads."""

import csv
import json
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from typing import Generic, TypeVar
from urllib.parse import urlencode

from flask import Response, current_app, request

from indexer.analysis import Duplicates, Evaluation, Leaks, Outliers, Reports, SavedReport, Suspects
from indexer.errors import InvalidQuery, StoreCorrupt
from indexer.search import ImageRow, Searcher
from indexer.tables import csv_row
from server.current_index import current_index
from server.web.exports import BYTE_ORDER_MARK, download
from server.web.page_state import parse_int

Findings = TypeVar("Findings", Duplicates, Leaks, Suspects, Outliers, Evaluation)
Thing = TypeVar("Thing")

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class View:
    """What of a report a page shows, as its address says."""

    kind: str = ""
    """Only groups of this kind."""
    label: str = ""
    suggested: str = ""
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


def ask(kind: type[Findings], searcher: Searcher, verb: str) -> Asked[Findings]:
    """Return the last report of an analysis, which the command ``lookalike VERB`` makes."""
    try:
        return Asked(reports().get(kind, searcher), False, command(verb))
    except StoreCorrupt as error:
        current_app.logger.warning("%s %s", error.message, error.hint)
        return Asked(None, True, command(verb))


def require(kind: type[Findings], name: str) -> Findings:
    """Return what an analysis found last. Raises InvalidQuery without a sound report."""
    try:
        saved = reports().get(kind, current_index().searcher())
    except StoreCorrupt:
        saved = None
    if saved is None:
        raise InvalidQuery(f"There is no report of {name}.", "The page says how to make one.")
    return saved.found


def reports() -> Reports:
    """Return the reports of the application that handles the request."""
    own: Reports = current_app.extensions["reports"]
    return own


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


def as_csv(rows: Iterable[Iterable[object]], name: str) -> Response:
    """Return rows as a table to save."""
    text = StringIO()
    csv.writer(text).writerows(map(csv_row, rows))
    return download(f"{BYTE_ORDER_MARK}{text.getvalue()}", "text/csv", f"{name}.csv")


def as_json(content: object, name: str) -> Response:
    """Return JSON to save."""
    return download(json.dumps(content), "application/json", f"{name}.json")
