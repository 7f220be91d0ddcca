"""The gunicorn worker: threads only ever get requests that have arrived completely.

Gunicorn's own threaded worker reads a request in the thread that will answer it, so a few clients
that send a byte a second hold all threads, and whatever comes meanwhile waits in a queue that has
no end. Here the event loop collects a request without blocking, within a time limit and a budget of
memory, and hands it to a thread afterwards. When all threads are busy and enough requests wait for
one, a further one goes to the lobby: one thread beside the others that refuses it at once, with the
documented error (:mod:`server.admission`), and still answers health checks.
"""

import json
import re
import selectors
import socket
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import TConn, ThreadWorker

MAX_HEAD_BYTES = 64 * 1024

MAX_CHUNK = 1 << 16
FORM_OVERHEAD_BYTES = 128 * 1024
"""Beside the image a form carries its own framing and short fields; the page's own form carries the
feature of an upload, 22 kB for 4096 dimensions, and a small picture of it."""
LINGER_S = 2.0
"""How long a client has to read the answer to a request that was refused before its end."""

LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*(?=\r\n)", re.IGNORECASE)
CHUNKED = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
EXPECTS = re.compile(rb"\r\nexpect:[ \t]*100-continue[ \t]*(?=\r\n)", re.IGNORECASE)

TOO_SLOW = (
    "408 Request Timeout",
    "request_timeout",
    "The request took too long to arrive.",
    "Send a smaller image, or raise server.request_timeout_s.",
)
TOO_LONG = (
    "431 Request Header Fields Too Large",
    "header_too_large",
    "The head of the request is too long.",
    "Send fewer or shorter header fields.",
)
TOO_MUCH = (
    "503 Service Unavailable",
    "overloaded",
    "The server is busy.",
    "Try again in a second.",
)

_here = threading.local()


def in_lobby() -> bool:
    """Tell whether this thread is there to refuse what comes beyond capacity."""
    return bool(getattr(_here, "lobby", False))


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
    timed_out: int = 0
    """Requests that took too long to arrive, since the start."""
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

    def refuse(self, status: str, code: str, message: str, hint: str) -> None:
        """Answer from the event loop, in the shape of every error, if the client takes it."""
        body = json.dumps({"error": {"code": code, "message": message, "hint": hint}})
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nRetry-After: 1\r\n"
        head += f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        with suppress(OSError):
            self.sock.send((head + body).encode("ascii"))

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


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's threaded worker, with requests collected in the event loop and a bounded queue."""

    limits: Limits
    """Set by :func:`worker_class`."""

    def init_process(self) -> None:
        """Make the lobby's thread beside the pool."""
        self.lobby = ThreadPoolExecutor(1, "lobby", initializer=_enter_lobby)
        self.lingering: list[Connection] = []
        super().init_process()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait in the event loop for its request."""
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        self.nr_conns += 1
        name = listener.getsockname()
        conn = Connection(self.cfg, sock, address, name, limits=self.limits)
        self._await_request(conn)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Begin to collect the next request of a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        conn.timeout = time.monotonic() + self.limits.request_timeout_s
        self._await_request(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Hand a complete request to a thread, or to the lobby if too many wait already."""
        with load.lock:
            conn.in_lobby = load.working >= self.cfg.threads + self.limits.waiting
            load.working += not conn.in_lobby
        pool = self.lobby if conn.in_lobby else self.tpool
        pool.submit(self.handle, conn).add_done_callback(
            lambda future: self.method_queue.defer(self.finish_request, conn, future)
        )

    def handle(self, conn: Connection) -> Any:
        """Answer a request, in a thread."""
        try:
            return super().handle(conn)
        finally:
            if not conn.in_lobby:
                with load.lock:
                    load.working -= 1

    def handle_request(self, req: Any, conn: Connection) -> Any:
        """Answer a request; a body that nobody reads is the last thing on its connection."""
        if conn.is_unread:
            req.force_close()
        return super().handle_request(req, conn)

    def finish_request(self, conn: Connection, future: "Future[Any]") -> None:
        """Keep the connection for the next request, which may be here already, or close it."""
        conn.forget_answered()
        keep = not future.cancelled() and not future.exception() and future.result()
        if not keep and not future.cancelled():
            self._linger(conn)
            return
        super().finish_request(conn, future)
        if conn.inbox and conn in self.keepalived_conns:
            self.on_client_socket_readable(conn, conn.sock)

    def murder_pending(self) -> None:
        """Close the connections whose time is up."""
        now = time.monotonic()
        for conn in [conn for conn in self.pending_conns if conn.timeout < now]:
            load.timed_out += 1
            self._drop(conn, TOO_SLOW)
        if not self.alive:  # stopping: those that have not begun to ask have lost nothing
            for conn in [conn for conn in self.pending_conns if not conn.inbox]:
                self._drop(conn)
        for conn in [conn for conn in self.lingering if conn.timeout < now]:
            self._forget(conn)

    def _await_request(self, conn: Connection) -> None:
        conn.sock.setblocking(False)
        self.pending_conns.append(conn)
        load.receiving += 1
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        self._receive(conn, conn.sock)

    def _receive(self, conn: Connection, _: socket.socket) -> None:
        """Collect what has arrived; hand the request over when it is complete."""
        alive = conn.receive()
        if conn.is_complete():
            self._stop_waiting(conn)
            conn.hand_over()
            self.enqueue_req(conn)
        elif not alive:
            self._drop(conn)
        elif conn.length is None and len(conn.inbox) > MAX_HEAD_BYTES:
            self._drop(conn, TOO_LONG)
        elif load.held_bytes > self.limits.total_bytes:
            self._drop(conn, TOO_MUCH)

    def _stop_waiting(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)
        load.receiving -= 1

    def _drop(self, conn: Connection, refusal: tuple[str, str, str, str] | None = None) -> None:
        self._stop_waiting(conn)
        if refusal:
            conn.refuse(*refusal)
            self._linger(conn)
        else:
            self.nr_conns -= 1
            conn.close()

    def _linger(self, conn: Connection) -> None:
        """Close for writing, and wait in the event loop until the client has read the answer.

        To close at once would destroy the answer on its way if the client is still sending.
        """
        try:
            conn.sock.shutdown(socket.SHUT_WR)
            conn.sock.setblocking(False)
            self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._drain, conn))
        except (OSError, ValueError):
            self.nr_conns -= 1
            conn.close()
            return
        conn.timeout = time.monotonic() + LINGER_S
        self.lingering.append(conn)

    def _drain(self, conn: Connection, sock: socket.socket) -> None:
        try:
            if sock.recv(MAX_CHUNK):
                return
        except BlockingIOError:
            return
        except OSError:
            pass
        self._forget(conn)

    def _forget(self, conn: Connection) -> None:
        self.poller.unregister(conn.sock)
        self.lingering.remove(conn)
        self.nr_conns -= 1
        conn.close()


def worker_class(limits: Limits) -> type[Worker]:
    """Return the worker with its limits, as gunicorn makes it without asking for any."""
    return type("LimitedWorker", (Worker,), {"limits": limits})


def _enter_lobby() -> None:
    _here.lobby = True
