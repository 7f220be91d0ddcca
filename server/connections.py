"""Connections that collect the next request without blocking, within limits."""

import re
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import TConn

from server.refusals import Refusal

MAX_CHUNK = 1 << 16
FORM_OVERHEAD_BYTES = 128 * 1024
"""Beside the image a form carries its own framing and short fields; the page's own form carries the
feature of an upload, 22 kB for 4096 dimensions, and a small picture of it."""

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker takes on."""

    waiting: int
    """Requests that may wait for a thread."""
    request_bytes: int
    """A longer body is not collected: the application refuses it by its length alone."""
    total_bytes: int
    """What all requests that are not answered yet may take together."""
    request_timeout_s: float
    """Seconds a request has to arrive, and seconds a client has to take a piece of an answer."""


@dataclass(slots=True)
class Load:
    """What the worker is busy with at the moment; read by the metrics."""

    working: int = 0
    """Requests that are being answered or wait for a thread."""
    receiving: int = 0
    """Connections whose request has not arrived completely."""
    held_bytes: int = 0
    """What has arrived of all requests that are not answered yet."""
    lock: threading.Lock = field(default_factory=threading.Lock)


load = Load()
"""The load of this process, which has one worker."""


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection that knows what has arrived of the next request."""

    def __init__(self, *args: Any, limits: Limits) -> None:
        super().__init__(*args)
        self.limits = limits
        self.inbox = bytearray()
        self.held = 0  # bytes that count in Load.held_bytes
        self.length: int | None = None
        self.is_unread = False
        self.in_lobby = False
        self.timeout = time.monotonic() + limits.request_timeout_s

    def init(self) -> None:
        """Make the parser if needed. A client that does not read its answer times out as well."""
        super().init()
        self.sock.settimeout(self.limits.request_timeout_s)

    def receive(self) -> bool:
        """Take what has arrived; False if the client has hung up. Never blocks."""
        while self.length is None or len(self.inbox) < self.length:
            try:
                data = self.sock.recv(MAX_CHUNK)
            except BlockingIOError:
                return True
            except OSError:
                return False
            if not data:
                return False
            self.inbox += data
            self._hold(len(data))
            if self.length is None:
                self._read_head()
        return True

    def is_complete(self) -> bool:
        """Tell whether a thread can take over."""
        if self.length is None:
            self._read_head()
        return self.length is not None and len(self.inbox) >= self.length

    def hand_over(self) -> None:
        """Give the request to the parser; what has arrived of the next one stays here."""
        assert self.length is not None
        super().init()
        self.parser.unreader.unread(bytes(self.inbox[: self.length]))
        del self.inbox[: self.length]
        self.length = None

    def forget_answered(self) -> None:
        """Count no longer what the request took that has been answered."""
        self._hold(len(self.inbox) - self.held)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, if the client takes it. Never blocks in the event loop."""
        with suppress(OSError):
            self.sock.send(refusal.answer(self.client and self.client[0]))

    def close(self, graceful: bool = False) -> None:
        """Close at once. Gunicorn would wait in the event loop for the client to close first."""
        self.inbox.clear()
        self.forget_answered()
        if graceful:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        util.close(self.sock)

    def _hold(self, size: int) -> None:
        self.held += size
        load.held_bytes += size

    def _read_head(self) -> None:
        """Set the length of the request, once its head is here."""
        end = self.inbox.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self.inbox[: end + 2])
        found = LENGTH.findall(head)
        body = int(found[0]) if found else 0
        if CHUNKED.search(head) or len(set(found)) > 1 or body > self.limits.request_bytes:
            body = 0
            self.is_unread = True  # the application, or gunicorn, refuses it by its head alone
        elif body and EXPECTS.search(head):
            with suppress(OSError):
                self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self.length = end + 4 + body
