"""gunicorn's threaded worker, in which idle connections keep nobody out and probes do not wait."""

import errno
import selectors
import socket
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from heapq import merge
from itertools import islice
from typing import Any

from gunicorn.workers.gthread import TConn, ThreadWorker

from server.admission import PROBE_PATHS

FILES_TO_FREE = 8
"""How many idle connections are closed when files run out: a request opens a few."""

CLOSE_WITHIN_S = 2.0
"""How long a client has to close its side of a connection."""

PROBE_THREADS = 2
PROBE_BYTES = 4096
"""The longest head of a probe: longer ones wait like other requests."""

NO_FILES_PAUSE_S = 0.05
"""How long to wait if files have run out and no connection is idle."""

PROBES = tuple(f"get {path} ".encode() for path in PROBE_PATHS)


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """A worker that closes the connections that have been idle longest when it needs room.

    Stock gunicorn stops to accept connections instead, so that as many idle clients as it has
    connections shut everybody out until their time is over. It also lets a thread wait up to five
    seconds for the first byte of a new connection; here the poller waits. Health checks and metrics
    have threads of their own: hundreds of requests may be waiting for the others.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.max_keepalived = self.worker_connections  # gunicorn's keeps some free for others
        self._is_out_of_files = False
        self._closing: deque[TConn] = deque()
        """Connections that wait for their clients to close them, too."""

    def get_thread_pool(self) -> ThreadPoolExecutor:
        """Start the threads for all other requests, and those for probes."""
        self._probe_pool = ThreadPoolExecutor(PROBE_THREADS, "probe")
        pool: ThreadPoolExecutor = super().get_thread_pool()
        return pool

    def accept(self, listener: socket.socket) -> None:
        """Accept all connections that wait, as many as there are files for.

        gunicorn accepts one in each turn of its loop; with hundreds of clients that is slow.
        """
        try:
            before = -1
            while before < self.nr_conns < self.worker_connections:
                before = self.nr_conns
                super().accept(listener)  # nothing happens if none waits
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            self._is_out_of_files = True

    def enqueue_req(self, conn: TConn) -> None:
        """Give a connection to a thread; a new one only once it has sent something."""
        if _is_probe(conn):
            handled = self._probe_pool.submit(self.handle, conn)
            handled.add_done_callback(partial(self._finish_later, conn))
            return
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.set_timeout()
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def finish_request(self, conn: TConn, handled: Future[Any]) -> None:
        """Keep a connection or begin to close it, when a thread is done with it."""
        if handled.cancelled() or handled.exception() or handled.result():
            super().finish_request(conn, handled)
        else:
            self._begin_to_close(conn)

    def _finish_later(self, conn: TConn, handled: Future[Any]) -> None:
        self.method_queue.defer(self.finish_request, conn, handled)

    def wait_for_and_dispatch_events(self, timeout: float) -> None:
        """Handle what has happened, then make room.

        Not before all events are handled: one may be that of a connection to be closed.
        """
        super().wait_for_and_dispatch_events(timeout)
        if self._is_out_of_files:
            self._is_out_of_files = False
            if not self._close_idle(FILES_TO_FREE):
                time.sleep(NO_FILES_PAUSE_S)
        elif self.nr_conns >= self.worker_connections:
            self._close_idle(1)
        while self._closing and self._closing[0].timeout <= time.monotonic():
            self._close(self._closing.popleft())

    def _begin_to_close(self, conn: TConn) -> None:
        """Close a connection once its client has read the answer (RFC 9112, 9.6).

        gunicorn waits in its loop, so that a client which does not close stops it for two seconds.
        """
        try:
            conn.sock.setblocking(False)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:  # it is gone
            self._close(conn)
            return
        conn.timeout = time.monotonic() + CLOSE_WITHIN_S
        self._closing.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._read_rest, conn))

    def _read_rest(self, conn: TConn, _: socket.socket) -> None:
        try:
            is_closed = not conn.sock.recv(1 << 16)
        except OSError:
            is_closed = True
        if is_closed:
            self._closing.remove(conn)
            self._close(conn)

    def _close(self, conn: TConn) -> None:
        with suppress(KeyError, ValueError, OSError):  # if it was not registered, or is closed
            self.poller.unregister(conn.sock)
        self.nr_conns -= 1
        conn.close()

    def _cap_keepalive(self, deadline: float) -> None:
        """Close idle connections by a deadline, as a worker that stops does; new ones as well."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    def _close_idle(self, count: int) -> int:
        """Close the connections that have been idle longest; return how many, up to ``count``."""
        queues = (self._closing, self.pending_conns, self.keepalived_conns)
        by_age = merge(*queues, key=lambda conn: conn.timeout)
        idle = list(islice(filter(_is_silent, by_age), count))
        for conn in idle:
            next(queue for queue in queues if conn in queue).remove(conn)
            self._close(conn)
        return len(idle)


def _is_silent(conn: TConn) -> bool:
    """Tell whether nothing has arrived that is not handled yet."""
    return _arrived(conn, 1) is None


def _is_probe(conn: TConn) -> bool:
    """Tell whether a whole request has arrived that is a probe, without a body to wait for."""
    head = (_arrived(conn, PROBE_BYTES) or b"").lower()
    return (
        head.startswith(PROBES)
        and head.endswith(b"\r\n\r\n")
        and b"\ncontent-length" not in head
        and b"\ntransfer-encoding" not in head
    )


def _arrived(conn: TConn, size: int) -> bytes | None:
    """Return the first bytes that wait to be read; None if there are none yet."""
    try:
        arrived: bytes = conn.sock.recv(size, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    except OSError:
        return b""  # whoever reads it finds out
    return arrived
