"""Logs: one line of JSON for each event, with the id of the request that caused it.

The id is that of the request's ``X-Request-Id`` if it is well-formed, else a new one. The answer
has it in the same header, so that an error a user reports can be found in the log.
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

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
UNLOGGED_PATHS = ("/healthz", "/readyz", "/metrics", "/static/")
"""Requests to these paths are logged only if they fail."""


class JsonFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time, level, logger, message, request id, ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line; a traceback becomes its field ``exception``."""
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
    """Formats a record as a line of text, with the id of its request if it has one."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line and a traceback below it, with control characters escaped."""
        suffix = f" (request {g.request_id})" if has_request_context() and "request_id" in g else ""
        message = "".join(c if c.isprintable() else repr(c)[1:-1] for c in record.getMessage())
        line = f"{record.levelname}: {message}{suffix}"
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def logging_settings() -> dict[str, Any]:
    """Return a configuration for :mod:`logging.config`: JSON, or text if stderr is a terminal.

    On a terminal, requests that succeed are not logged.
    """
    is_terminal = sys.stderr.isatty()
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"server": {"()": TextFormatter if is_terminal else JsonFormatter}},
        "handlers": {
            "server": {
                "class": "logging.StreamHandler",
                "formatter": "server",
                "stream": "ext://sys.stderr",
            }
        },
        "root": {"level": "WARNING", "handlers": ["server"]},
        "loggers": {
            "server": {"level": "WARNING" if is_terminal else "INFO"},
            "gunicorn.error": {"level": "WARNING", "handlers": ["server"], "propagate": False},
        },
    }


def register(app: Flask) -> None:
    """Give every request an id, and log it when its answer is complete."""
    app.before_request(_start_request)
    app.after_request(_log_request)


def call_when_complete(response: Response, act: Callable[[float], None]) -> None:
    """Call ``act`` with the request's duration in seconds: now, or when a streamed answer ends."""
    start = float(g.get("started_at", time.perf_counter()))
    # The end of a file is not signalled.
    if response.is_streamed and not response.direct_passthrough:
        response.call_on_close(lambda: act(time.perf_counter() - start))
    else:
        act(time.perf_counter() - start)


def _start_request() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if REQUEST_ID.fullmatch(given) else secrets.token_hex(8)
    g.started_at = time.perf_counter()


def _log_request(response: Response) -> Response:
    response.headers["X-Request-Id"] = g.request_id
    failed = response.status_code >= 500
    if failed or not request.path.startswith(UNLOGGED_PATHS):
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
        summary = (request.method, request.path, response.status_code)

        def log(seconds: float) -> None:
            timed = {**fields, "ms": round(seconds * 1000, 3)}
            logger.log(level, "%s %s %d", *summary, extra={"fields": timed})

        call_when_complete(response, log)
    return response
