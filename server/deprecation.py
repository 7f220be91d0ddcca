"""Routes that will go: announced in the OpenAPI document and in the headers of every answer."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import TypeVar

from flask import Flask, Response, current_app, request
from werkzeug.http import http_date

View = TypeVar("View", bound=Callable[..., object])

MARK = "deprecation"
"""The attribute of a view that carries its announcement."""


@dataclass(frozen=True, slots=True)
class Deprecation:
    """Since when a route is deprecated, when it goes if that is known, what to ask instead."""

    since: date
    sunset: date | None
    instead: str

    def headers(self) -> list[tuple[str, str]]:
        """Return what every answer says: RFC 9745, RFC 8594 and links."""
        headers = [("Deprecation", f"@{int(_midnight(self.since).timestamp())}")]
        if self.sunset:
            headers.append(("Sunset", http_date(_midnight(self.sunset))))
        links = {"/docs": "deprecation", self.instead: "successor-version"}
        return headers + [("Link", f'<{url}>; rel="{relation}"') for url, relation in links.items()]

    def __str__(self) -> str:
        """Say it in a sentence or two."""
        until = f" It answers until {self.sunset}." if self.sunset else ""
        return f"Deprecated since {self.since}; ask {self.instead} instead.{until}"


def deprecated(*, since: date, instead: str, sunset: date | None = None) -> Callable[[View], View]:
    """Announce that a route is deprecated. Stands below the decorator that registers the view."""

    def mark(view: View) -> View:
        setattr(view, MARK, Deprecation(since, sunset, instead))
        return view

    return mark


def deprecation_of(app: Flask, endpoint: str | None) -> Deprecation | None:
    """Return the announcement of the view behind an endpoint, if there is one."""
    return getattr(app.view_functions.get(endpoint or ""), MARK, None)


def register(app: Flask) -> None:
    """Add the headers to every answer of a deprecated route, errors included."""
    app.after_request(_announce)


def _announce(response: Response) -> Response:
    deprecation = deprecation_of(current_app, request.endpoint)
    if deprecation:
        response.headers.extend(deprecation.headers())
    return response


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)
