"""Connections that collect the next request without blocking, within limits."""

import re
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import TConn

from server.load import Limits, load
from server.refusals import Refusal
from server.sending import MIN_PROGRESS, SendingSocket

MAX_CHUNK = 1 << 16

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)


class Connection(TConn):  # type: ignore[misc]  # gunicorn has no types
    """A connection that knows what has arrived of the next request, and what waits to be sent."""

    sock: SendingSocket

    def __init__(self, cfg: Any, sock: socket.socket, *addresses: Any, limits: Limits) -> None:
        super().__init__(cfg, SendingSocket(sock, limits), *addresses)
        self.limits = limits
        self.inbox = bytearray()
        self.held = 0  # bytes that count in Load.held_bytes
        self.length: int | None = None
        self.is_unread = False
        self.in_lobby = False
        self.answered: Future[Any] | None = None
        """The answer, once it has been made, while it waits to be sent."""
        self._taken_before = 0
        self.renew_timeout()

    def init(self) -> None:
        """Make the parser if needed; the socket is never waited for."""
        super().init()
        self.sock.setblocking(False)

    def renew_timeout(self) -> None:
        """Let the time begin that the client has for its request, or to take its answer."""
        self.timeout = time.monotonic() + self.limits.request_timeout_s

    def send_waiting(self) -> bool:
        """Send what the client takes now; True if nothing waits any more. Never blocks."""
        is_sent = self.sock.send_waiting()
        if self.sock.taken_bytes - self._taken_before >= MIN_PROGRESS:
            self._taken_before = self.sock.taken_bytes
            self.renew_timeout()
        return is_sent

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
        """Answer with a refusal, if the client takes it. Never blocks."""
        with suppress(OSError):
            self.sock.send(refusal.answer(self.client and self.client[0]))

    def close(self, graceful: bool = False) -> None:
        """Close at once. Gunicorn would wait in the event loop for the client to close first."""
        self.inbox.clear()
        self.forget_answered()
        self.sock.abandon()
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
