"""How much may be asked at once, and how often.

Beyond capacity a request is refused at once with 503 and Retry-After: a queue that grows only makes
everybody wait for answers nobody wants any more.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, current_app, g, request
from flask_limiter import Limiter

from indexer.config import ServerConfig
from indexer.errors import LookalikeError
from indexer.search import Answer, Query, Searcher, Selection
from server import keys
from server.load import ALWAYS_OPEN, WATCHED, in_lobby
from server.metrics import metrics


class Overloaded(LookalikeError):
    """More is asked of the server at the same time than it takes on."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("The server is busy.", "Try again in a second.")


class Admission:
    """The places for queries that are encoded, which take a core each. Safe between threads."""

    def __init__(self, max_encoding: int) -> None:
        self._places = threading.BoundedSemaphore(max_encoding)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place during the block. Raises :class:`Overloaded` if there is none."""
        if not self._places.acquire(blocking=False):
            raise Overloaded
        try:
            yield
        finally:
            self._places.release()


def register(app: Flask, server: ServerConfig) -> None:
    """Check keys, rates and capacity before each request."""
    app.extensions["admission"] = Admission(server.max_encoding)
    app.before_request(_refuse_beyond_capacity)
    keys.register(app, server.api_keys)
    if server.rate_limit:
        limiter = Limiter(
            _client,
            app=app,
            application_limits=[server.rate_limit],
            storage_uri="memory://",
            headers_enabled=True,
        )
        limiter.request_filter(lambda: request.path in ALWAYS_OPEN)


def find(
    searcher: Searcher,
    query: Query,
    selection: Selection | None = None,
    *,
    preview_side: int | None = None,
) -> Answer:
    """Search, as the searcher does, within the server's capacity, and count the stages.

    Raises :class:`Overloaded` or an error of the search.
    """
    if query.is_encoded:
        with admission().place():
            answer = searcher.search(query, selection, preview_side=preview_side)
    else:
        answer = searcher.search(query, selection, preview_side=preview_side)
    metrics().observe(answer.timings_ms)
    return answer


def admission() -> Admission:
    """Return the places of the application that handles the request."""
    found: Admission = current_app.extensions["admission"]
    return found


def _refuse_beyond_capacity() -> None:
    if in_lobby() and request.path not in WATCHED:
        raise Overloaded


def _client() -> str:
    """Tell clients apart: by their key, else by their address."""
    return str(g.get("client") or request.remote_addr)
