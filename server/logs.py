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


def logging_settings() -> dict[str, Any]:
    """Return the settings of :mod:`logging` for a server: JSON for machines, text for people.

    Where stderr is a terminal a line is short, and requests that succeed are not logged at all.
    """
    person = sys.stderr.isatty()
    text = {"format": "%(levelname)s: %(message)s"}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"server": text if person else {"()": JsonFormatter}},
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


def seconds_since_begin() -> float:
    """Return how long the request has been worked on."""
    return time.perf_counter() - float(g.get("began", time.perf_counter()))


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if WELL_FORMED.fullmatch(given) else secrets.token_hex(8)
    g.began = time.perf_counter()


def _answered(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    failed = response.status_code >= 500
    if failed or not request.path.startswith(QUIET):
        fields = {
            "method": request.method,
            "path": request.path,
            "status": response.status_code,
            "ms": round(seconds_since_begin() * 1000, 3),
            "client": request.remote_addr,
        }
        level = logging.WARNING if failed else logging.INFO
        text = "%s %s %d"
        args = (request.method, request.path, response.status_code)
        logger.log(level, text, *args, extra={"fields": fields})
    return response
