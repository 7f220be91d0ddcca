"""How much the server takes on at once: slots, and a WSGI layer that refuses what finds none.

Gunicorn's threads queue without an end. There are a few more of them than there are slots, so that
one is always free to refuse at once what comes beyond, and to answer whoever watches the server.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from flask import Flask, request
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.wsgi import ClosingIterator

from indexer.config import ServerConfig
from indexer.errors import LookalikeError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SPARE_THREADS = 8
"""Threads beside those that answer: they refuse what comes beyond, and answer the probes."""

ALWAYS_OPEN = ("/healthz", "/readyz")
"""Whoever watches the server may ask these without a key, by any name, as often as they like."""

WATCHED = (*ALWAYS_OPEN, "/metrics")
"""These take no slot."""

FORM_OVERHEAD_BYTES = 128 * 1024
"""Beside the image a form carries its own framing and short fields; the page's own form carries the
feature of an upload, 22 kB for 4096 dimensions, and a small picture of it."""

BEYOND = "lookalike.beyond_capacity"
"""In the environment of a request that found no slot."""

CHUNK = 1 << 16


def max_request_bytes(server: ServerConfig) -> int:
    """Return how long the body of a request may be."""
    return server.max_upload_bytes + FORM_OVERHEAD_BYTES


class Overloaded(LookalikeError):
    """More is asked of the server at the same time than it takes on."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("The server is busy.", "Try again in a second.")


class Slots:
    """A number of slots, each for one request at a time. Safe between threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self.taken = 0
        """How many are taken at the moment."""

    def take(self, wait_s: float = 0) -> bool:
        """Take a slot, waiting for one as long as is said; False if there is none."""
        with self._changed:
            is_free = self._changed.wait_for(lambda: self.taken < self._count, wait_s)
            self.taken += is_free
            return is_free

    def give_back(self) -> None:
        """Give a slot back that was taken."""
        with self._changed:
            self.taken -= 1
            self._changed.notify()

    @contextmanager
    def slot(self, wait_s: float = 0) -> Iterator[None]:
        """Hold a slot during the block. Raises :class:`Overloaded` if there is none."""
        if not self.take(wait_s):
            raise Overloaded
        try:
            yield
        finally:
            self.give_back()


class SlotLayer:
    """WSGI layer: a request has a slot until its answer is sent; those that watch need none.

    One that finds none goes on to the application, marked, which refuses it as it words, logs and
    counts every error.
    """

    def __init__(self, app: "WSGIApplication", slots: Slots) -> None:
        self._app = app
        self._slots = slots

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"] in WATCHED:
            return self._app(environ, start_response)
        if not self._slots.take():
            environ[BEYOND] = True
            return self._app(environ, start_response)
        try:
            answer = self._app(environ, start_response)
        except BaseException:
            self._slots.give_back()
            raise
        return ClosingIterator(answer, [self._slots.give_back])


def register(app: Flask, slots: Slots) -> None:
    """Refuse at once what comes beyond the slots."""
    app.wsgi_app = SlotLayer(app.wsgi_app, slots)  # type: ignore[method-assign]
    app.before_request(_refuse_beyond_capacity)


def _refuse_beyond_capacity() -> None:
    if BEYOND in request.environ:
        _drop_body()
        raise Overloaded


def _drop_body() -> None:
    """Read what the client sends: a connection that is closed before loses the answer."""
    with suppress(RequestEntityTooLarge, ClientDisconnected):
        while request.stream.read(CHUNK):
            pass
