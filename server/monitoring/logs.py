"""Logs: one line of JSON per event, each with the id of the request that caused it.

The id comes from ``X-Request-Id`` if a proxy sends a well-formed one, else it is made here; it is
returned in the same header, so that an error somebody saw can be found in the log.
"""

import json
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from flask import Flask, Response, g, has_request_context, request

logger = logging.getLogger(__name__)

WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,64}")
QUIET = ("/healthz", "/readyz", "/metrics", "/static/")
"""Requests that are not worth a line each unless they fail."""


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, request id, extra ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback becomes a field of it."""
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if has_request_context() and "request_id" in g:
            entry["request_id"] = g.request_id
        entry |= getattr(record, "fields", {})
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, ensure_ascii=False)


class TextFormatter(logging.Formatter):
    """A record as one line for people, with the id of its request where it has one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, and a traceback below it. Nothing in it can move a cursor."""
        asked = f" (request {g.request_id})" if has_request_context() and "request_id" in g else ""
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.getMessage())
        line = f"{record.levelname}: {message}{asked}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def logging_settings() -> dict[str, Any]:
    """Return the settings of :mod:`logging` for a server: JSON for machines, text for people.

    Where stderr is a terminal a line is short, and requests that succeed are not logged at all.
    """
    person = sys.stderr.isatty()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"server": {"()": TextFormatter if person else JsonFormatter}},
        "handlers": {
            "server": {
                "class": "logging.StreamHandler",
                "formatter": "server",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": "WARNING", "handlers": ["server"]},
        "loggers": {
            "server": {"level": "WARNING" if person else "INFO"},
            "gunicorn.error": {"level": "WARNING", "handlers": ["server"], "propagate": False},
        },
    }


def register(app: Flask) -> None:
    """Give every request an id, and log it when it has been answered."""
    app.before_request(_begin)
    app.after_request(_answered)


def when_made(response: Response, act: Callable[[float], None]) -> None:
    """Call ``act`` with the seconds an answer took: now, or at the end of one that is streamed."""
    began = float(g.get("began", time.perf_counter()))
    if response.is_streamed and not response.direct_passthrough:  # a file has no end we hear of
        response.call_on_close(lambda: act(time.perf_counter() - began))
    else:
        act(time.perf_counter() - began)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if WELL_FORMED.fullmatch(given) else secrets.token_hex(8)
    g.began = time.perf_counter()


def _answered(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    failed = response.status_code >= 500
    if failed or not request.path.startswith(QUIET):
        fields = {
            "request_id": g.request_id,
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "client": request.remote_addr,
        }
        if g.get("key"):
            fields["key"] = g.key.name
        level = logging.WARNING if failed else logging.INFO
        what = (request.method, request.path, response.status_code)

        def log(seconds: float) -> None:
            timed = {**fields, "ms": round(seconds * 1000, 3)}
            logger.log(level, "%s %s %d", *what, extra={"fields": timed})

        when_made(response, log)
    return response
