"""Sockets whose answers wait in memory, not in a thread, for clients that read slowly."""

import errno
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from server.load import Limits, load

logger = logging.getLogger(__name__)

HIGH_WATER = 4 << 20
"""Bytes of an answer that wait for its client, from which on a thread makes no more of them.

An answer that is made at once is never held up by it; one that is made while it is sent, such as a
zip file, is made no faster than its client reads."""

MIN_PROGRESS = 1 << 20
"""Bytes, or else all that waits, that a client has to take within ``request_timeout_s``."""


class SendingSocket(socket.socket):
    """A socket that takes answers at once: what its client does not, the event loop sends.

    ``sendall`` and ``close`` are called in threads, the other methods in the event loop. A thread
    waits only where it makes an answer while that is sent, at :data:`HIGH_WATER`.
    """

    def __init__(self, accepted: socket.socket, limits: Limits) -> None:
        super().__init__(fileno=accepted.detach())
        self.setblocking(False)
        self.needs_sending: Callable[[], None] = lambda: None
        """Called in a thread when something begins to wait."""
        self.waiting_bytes = 0
        self.taken_bytes = 0
        """How much the client has taken of what had to wait."""
        self._limits = limits
        self._waiting: deque[tuple[memoryview, int]] = deque()  # what is left of how many bytes
        self._changed = threading.Condition()
        self.is_abandoned = False
        """True once the client will not get the rest of its answer."""

    def sendall(self, data: bytes, flags: int = 0) -> None:  # type: ignore[override]
        """Send, or let wait for the event loop, all of ``data``.

        Raises :class:`BrokenPipeError` if the client has gone, has taken too long, or if more
        answers wait than the memory for them holds.
        """
        with self._changed:
            self._changed.wait_for(lambda: self.is_abandoned or self.waiting_bytes < HIGH_WATER)
            if self.is_abandoned:
                raise BrokenPipeError(errno.EPIPE, "The client reads too slowly")
            rest = memoryview(data)
            if not self._waiting:
                rest = rest[self._send_some(rest) :]
            if not rest:
                return
            if load.unsent_bytes + len(data) > self._limits.total_bytes:
                self._cut_off("too much waits for clients that read slowly")
                raise BrokenPipeError(errno.EPIPE, "Too much waits for clients that read slowly")
            begins = not self._waiting
            self._waiting.append((rest, len(data)))
            self.waiting_bytes += len(rest)
            _hold(len(data))
        if begins:
            self.needs_sending()

    def send_waiting(self) -> bool:
        """Send what the client takes now; True if nothing waits any more."""
        with self._changed:
            while self._waiting:
                first, size = self._waiting[0]
                try:
                    sent = self._send_some(first)
                except OSError:
                    self._give_up()
                    return True
                self.taken_bytes += sent
                self.waiting_bytes -= sent
                if sent < len(first):
                    self._waiting[0] = (first[sent:], size)
                    break
                self._waiting.popleft()
                _hold(-size)
            self._changed.notify_all()
            return not self._waiting

    def cut_off(self) -> None:
        """Give the client up that takes too long for its answer."""
        with self._changed:
            self._cut_off("the client takes too long")

    def abandon(self) -> None:
        """Forget what waits; a thread that would send more gets an error."""
        with self._changed:
            self._give_up()

    def close(self) -> None:
        """Give up only: gunicorn may call this in a thread, while the event loop waits for it."""
        self.abandon()

    def really_close(self) -> None:
        """Close, in the event loop, what it no longer waits for."""
        self.abandon()
        self.needs_sending = lambda: None  # it knows the connection, which knows this
        with suppress(OSError):
            super().close()

    def _cut_off(self, reason: str) -> None:
        with load.lock:
            load.cut_off += 1
        logger.info("answer cut off: %s", reason)
        self._give_up()

    def _give_up(self) -> None:
        self.is_abandoned = True
        _hold(-sum(size for _, size in self._waiting))
        self._waiting.clear()
        self.waiting_bytes = 0
        self._changed.notify_all()

    def _send_some(self, data: memoryview) -> int:
        """Return how many bytes the system takes without waiting. Raises OSError."""
        sent = 0
        while sent < len(data):
            try:
                sent += self.send(data[sent:])
            except BlockingIOError:
                break
        return sent


def _hold(size: int) -> None:
    """Count what is held of answers; a piece that is sent in part is held as a whole."""
    with load.lock:
        load.unsent_bytes += size
