"""Slots, and the WSGI middleware that gives one to each request.

Gunicorn queues requests without a limit when all its threads are busy. There are a few more threads
than slots, so that one is always free to refuse a request at once or to answer a probe.
"""

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Flask, request
from werkzeug.wsgi import ClosingIterator

from indexer.errors import LookalikeError
from server.admission import PROBE_PATHS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

SPARE_THREADS = 8
"""Threads beside those with a slot: they refuse requests and answer probes."""

OVERFLOW = "lookalike.overflow"
"""Key in the WSGI environment of a request that found no free slot."""


class Overloaded(LookalikeError):
    """Every slot is taken."""

    code = "overloaded"

    def __init__(self) -> None:
        super().__init__("The server is busy.", "Try again in a second.")


class Slots:
    """A fixed number of slots. Safe between threads."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._changed = threading.Condition()
        self.taken = 0
        """How many slots are taken at the moment."""

    def acquire(self, wait_s: float = 0) -> bool:
        """Take a slot, waiting up to ``wait_s`` seconds for one; return False if none is free."""
        with self._changed:
            is_free = self._changed.wait_for(lambda: self.taken < self._count, wait_s)
            self.taken += is_free
            return is_free

    def release(self) -> None:
        """Free a slot that was taken."""
        with self._changed:
            self.taken -= 1
            self._changed.notify()

    @contextmanager
    def hold(self, wait_s: float = 0) -> Iterator[None]:
        """Hold a slot during the block. Raises :class:`Overloaded` if none is free in time."""
        if not self.acquire(wait_s):
            raise Overloaded
        try:
            yield
        finally:
            self.release()


class SlotMiddleware:
    """WSGI middleware: a request holds a slot until its answer is sent. Probes need none.

    A request that finds no slot is marked and passed on: the application refuses it, so that the
    error has the same shape, log line and metrics as every other.
    """

    def __init__(self, app: "WSGIApplication", slots: Slots) -> None:
        self._app = app
        self._slots = slots

    def __call__(
        self, environ: "WSGIEnvironment", start_response: "StartResponse"
    ) -> Iterable[bytes]:
        """Answer a request."""
        if environ["PATH_INFO"] in PROBE_PATHS:
            return self._app(environ, start_response)
        if not self._slots.acquire():
            environ[OVERFLOW] = True
            return self._app(environ, start_response)
        try:
            answer = self._app(environ, start_response)
        except BaseException:
            self._slots.release()
            raise
        return ClosingIterator(answer, [self._slots.release])


def register(app: Flask, slots: Slots) -> None:
    """Give a slot to each request, and refuse at once those that find none."""
    app.wsgi_app = SlotMiddleware(app.wsgi_app, slots)  # type: ignore[method-assign]
    app.before_request(_refuse_overflow)


def _refuse_overflow() -> None:
    if OVERFLOW in request.environ:
        raise Overloaded
