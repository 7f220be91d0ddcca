"""The gunicorn worker: threads only ever get requests that have arrived completely.

Gunicorn's own threaded worker reads a request in the thread that will answer it, so a few clients
that send a byte a second hold all threads, and whatever comes meanwhile waits in a queue that has
no end. Here the event loop collects a request without blocking, within a time limit and a budget of
memory, and hands it to a thread afterwards. When all threads are busy and enough requests wait for
one, a further one goes to the lobby: one thread beside the others that refuses it at once, with the
documented error (:mod:`server.admission`), and still answers health checks. What a client does not
take of its answer at once waits in memory, and the event loop sends it (:mod:`server.sending`).

This builds on parts of gunicorn that may change with a major version, hence the bound on it in
``pyproject.toml``. Tests try it with real sockets: framing, slow clients, overload, signals.
"""

import errno
import logging
import selectors
import socket
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from server.connections import MAX_CHUNK, Connection
from server.load import Limits, enter_lobby, load
from server.refusals import TOO_MUCH, TOO_SLOW, UNEXPECTED, Refusal, refusal_of

logger = logging.getLogger(__name__)

LINGER_S = 2.0
"""How long a client has to read the answer to a request that was refused before its end."""


class Worker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn's threaded worker, with requests collected in the event loop and a bounded queue."""

    limits: Limits
    """Set by :func:`worker_class`."""

    def init_process(self) -> None:
        """Make the lobby's thread beside the pool."""
        self.lobby = ThreadPoolExecutor(1, "lobby", initializer=enter_lobby)
        self.answering: set[Connection] = set()
        self.sending: list[Connection] = []
        self.lingering: list[Connection] = []
        super().init_process()

    def run(self) -> None:
        """Serve until stopped; then let no thread wait for a client."""
        try:
            super().run()
        finally:
            for conn in self.answering:
                conn.sock.abandon()

    def accept(self, listener: socket.socket) -> None:
        """Accept a connection and wait in the event loop for its request.

        Where there are as many as there can be, the one goes that has taken longest to ask.
        """
        try:
            sock, address = listener.accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE) and self.pending_conns:
                self._drop(self.pending_conns[0])
            elif error.errno not in (errno.EAGAIN, errno.ECONNABORTED):
                logger.warning("cannot accept a connection: %s", error)
            return
        self.nr_conns += 1
        if self.nr_conns >= self.worker_connections and self.pending_conns:
            self._drop(self.pending_conns[0])
        name = listener.getsockname()
        conn = Connection(self.cfg, sock, address, name, limits=self.limits)
        conn.sock.needs_sending = lambda: self.method_queue.defer(self._begin_sending, conn)
        self._await_request(conn)

    def on_client_socket_readable(self, conn: Connection, client: socket.socket) -> None:
        """Begin to collect the next request of a connection that was kept alive."""
        self.poller.unregister(client)
        self.keepalived_conns.remove(conn)
        conn.expect_request()
        self._await_request(conn)

    def enqueue_req(self, conn: Connection) -> None:
        """Hand a complete request to a thread, or to the lobby if too many wait already.

        Those that watch the server do not wait at all.
        """
        with load.lock:
            waiting = 0 if conn.is_watching else self.limits.waiting
            conn.in_lobby = load.working >= self.cfg.threads + waiting
            load.working += not conn.in_lobby
        self.answering.add(conn)
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

    def _keepalive_after(self, conn: Connection, keepalive: Any) -> Any:
        """Keep what is to be kept: a body that nobody has read is no longer on the connection."""
        return keepalive

    def handle_error(self, req: Any, client: socket.socket, addr: Any, exc: Exception) -> None:
        """Answer a head that cannot be read, or what went wrong outside the application."""
        refusal = refusal_of(exc)
        cause = exc if refusal is UNEXPECTED else None
        with suppress(OSError):
            client.sendall(refusal.answer(addr and addr[0], cause))

    def finish_request(self, conn: Connection, future: "Future[Any]") -> None:
        """Keep the connection for the next request, which may be here already, or close it."""
        conn.forget_answered()
        if conn.sock.waiting_bytes:
            conn.answered = future
            return
        self.answering.discard(conn)
        if conn.sock.is_abandoned:
            self._stop_sending(conn)
            self.nr_conns -= 1
            conn.close()
            return
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
            self._drop(conn, TOO_SLOW if conn.inbox else None)  # browsers connect in advance
        if not self.alive:  # stopping: those that have not begun to ask have lost nothing
            for conn in [conn for conn in self.pending_conns if not conn.inbox]:
                self._drop(conn)
        for conn in [conn for conn in self.sending if conn.timeout < now]:
            conn.sock.cut_off()
            self._send(conn, conn.sock)
        for conn in [conn for conn in self.lingering if conn.timeout < now]:
            self._forget(conn)

    def _begin_sending(self, conn: Connection) -> None:
        """Send what waits for the client as it takes it; a thread may go on adding to it."""
        if conn in self.sending or not conn.sock.waiting_bytes:
            return
        conn.renew_timeout()
        self.sending.append(conn)
        load.sending += 1
        self.poller.register(conn.sock, selectors.EVENT_WRITE, partial(self._send, conn))

    def _send(self, conn: Connection, _: socket.socket) -> None:
        """Send what the client takes; then go on with a connection whose answer is complete."""
        if not conn.send_waiting():
            return
        self._stop_sending(conn)
        if conn.answered:
            answered, conn.answered = conn.answered, None
            self.finish_request(conn, answered)

    def _stop_sending(self, conn: Connection) -> None:
        if conn in self.sending:
            self.poller.unregister(conn.sock)
            self.sending.remove(conn)
            load.sending -= 1

    def _await_request(self, conn: Connection) -> None:
        conn.is_receiving = True
        self.pending_conns.append(conn)
        load.receiving += 1
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self._receive, conn))
        self._receive(conn, conn.sock)

    def _receive(self, conn: Connection, _: socket.socket) -> None:
        """Collect what has arrived; hand the request over when it is complete."""
        if not conn.is_receiving:
            return  # another one's event, of the same moment, has pushed it out
        alive = conn.receive()
        if conn.refusal:
            self._drop(conn, conn.refusal)
        elif conn.is_complete():
            self._stop_waiting(conn)
            conn.hand_over()
            self.enqueue_req(conn)
        elif not alive:
            self._drop(conn)
        elif load.held_bytes > self.limits.total_bytes:
            self._drop(max(self.pending_conns, key=lambda other: len(other.inbox)), TOO_MUCH)

    def _stop_waiting(self, conn: Connection) -> None:
        conn.is_receiving = False
        self.poller.unregister(conn.sock)
        self.pending_conns.remove(conn)
        load.receiving -= 1

    def _drop(self, conn: Connection, refusal: Refusal | None = None) -> None:
        self._stop_waiting(conn)
        if refusal:
            conn.refuse(refusal)
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
