"""Connections that collect the next request without blocking, within limits."""

import re
import socket
import time
from concurrent.futures import Future
from contextlib import suppress
from typing import Any

from gunicorn import http
from gunicorn.workers.gthread import TConn

from server.load import WATCHED, Limits, load
from server.refusals import HEAD_TOO_LONG, LENGTH_REQUIRED, LENGTH_UNCLEAR, Refusal
from server.sending import MIN_PROGRESS, SendingSocket

MAX_CHUNK = 1 << 16
MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 10.0
"""Seconds the head of a request has to arrive, or less if that is so for the whole request."""

LENGTH = re.compile(rb"\r\ncontent-length[ \t]*:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)", re.IGNORECASE)
DIGITS = re.compile(rb"[0-9]{1,18}")
TRANSFER = re.compile(rb"\r\ntransfer-encoding[ \t]*:", re.IGNORECASE)
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
        self.refusal: Refusal | None = None
        """Why the next request is refused without a thread."""
        self.is_watching = False
        """True if the request is one that is answered however busy the threads are."""
        self.is_unread = False
        self.is_receiving = False
        self.in_lobby = False
        self.answered: Future[Any] | None = None
        """The answer, once it has been made, while it waits to be sent."""
        self._head_bytes = 0
        self._searched = 0  # how much of the inbox holds no end of a head
        self._taken_before = 0
        self.expect_request()

    def init(self) -> None:
        """Do nothing where gunicorn would wait for the socket; there is a parser already."""
        self.sock.setblocking(False)

    def expect_request(self) -> None:
        """Let the time begin that the client has for the head of its next request."""
        self.timeout = time.monotonic() + min(HEAD_TIMEOUT_S, self.limits.request_timeout_s)

    def renew_timeout(self) -> None:
        """Let the time begin that the client has for the body, or to take some of its answer."""
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
        if self.length is None:
            self._read_head()  # it may have come with the request before
        while not self.refusal and (self.length is None or len(self.inbox) < self.length):
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
        return self.length is not None and len(self.inbox) >= self.length

    def hand_over(self) -> None:
        """Give the request to a parser of its own; what has arrived of the next one stays here.

        The parser gets bytes, not the socket: whatever it makes of the head, no thread waits for
        more than has arrived.
        """
        assert self.length is not None
        head = EXPECTS.sub(b"", bytes(self.inbox[: self._head_bytes]))  # answered here, when due
        with memoryview(self.inbox) as inbox:
            body = bytes(inbox[self._head_bytes : self.length])
        self.parser = http.get_parser(self.cfg, [head, body], self.client)
        self.initialized = True
        del self.inbox[: self.length]
        self.length, self._searched = None, 0

    def forget_answered(self) -> None:
        """Let go, and count no longer, what the request took that has been answered."""
        self.parser = http.get_parser(self.cfg, [], self.client)  # the one before holds it
        self._hold(len(self.inbox) - self.held)

    def refuse(self, refusal: Refusal) -> None:
        """Answer with a refusal, if the client takes it, and drop the request. Never blocks."""
        with suppress(OSError):
            self.sock.send(refusal.answer(self.client and self.client[0]))
        self.inbox.clear()
        self.forget_answered()

    def close(self, graceful: bool = False) -> None:
        """Close at once. Gunicorn would wait in the event loop for the client to close first."""
        self.inbox.clear()
        self.forget_answered()
        if graceful:
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
        self.sock.really_close()

    def _hold(self, size: int) -> None:
        self.held += size
        load.held_bytes += size

    def _read_head(self) -> None:
        """Set the length of the request, or why it is refused, once its head is here."""
        end = self.inbox.find(b"\r\n\r\n", max(self._searched - 3, 0))
        self._searched = len(self.inbox)
        if max(end, 0) > MAX_HEAD_BYTES or (end < 0 and len(self.inbox) > MAX_HEAD_BYTES):
            self.refusal = HEAD_TOO_LONG
        if end < 0 or self.refusal:
            return
        head = bytes(self.inbox[: end + 2])
        lengths = set(LENGTH.findall(head))
        length = lengths.pop() if len(lengths) == 1 else b"0"
        if TRANSFER.search(head):
            self.refusal = LENGTH_REQUIRED
        elif lengths or not DIGITS.fullmatch(length):
            self.refusal = LENGTH_UNCLEAR
        else:
            self._begin_body(head, end + 4, int(length))

    def _begin_body(self, head: bytes, head_bytes: int, length: int) -> None:
        target = head[: head.index(b"\r\n")].split(b" ")[1:2]
        path = target[0].partition(b"?")[0].decode("latin-1") if target else ""
        self.is_watching = path in WATCHED
        self.is_unread = length > self.limits.request_bytes
        if self.is_unread:  # the application refuses it by its length alone
            length = 0
        elif length:
            self.renew_timeout()
            if EXPECTS.search(head):
                with suppress(OSError):
                    self.sock.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._head_bytes = head_bytes
        self.length = head_bytes + length
