"""What the worker takes on, and what it is busy with. Knows nothing of gunicorn."""

import threading
from dataclasses import dataclass, field

from indexer.config import ServerConfig

FORM_OVERHEAD_BYTES = 128 * 1024
"""Beside the image a form carries its own framing and short fields; the page's own form carries the
feature of an upload, 22 kB for 4096 dimensions, and a small picture of it."""

UPLOADS_IN_MEMORY = 16
"""How many of the largest uploads the worker holds at once, and as many bytes of answers."""

ALWAYS_OPEN = ("/healthz", "/readyz")
"""Whoever watches the server may ask these without a key, by any name, as often as they like."""

WATCHED = (*ALWAYS_OPEN, "/metrics")
"""These are answered however busy the threads are."""

_here = threading.local()


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a worker takes on."""

    waiting: int
    """Requests that may wait for a thread."""
    request_bytes: int
    """A longer body is not collected: the application refuses it by its length alone."""
    total_bytes: int
    """What all requests that are not answered yet may take together; so may unsent answers."""
    request_timeout_s: float
    """Seconds a request has to arrive, and seconds a client has to take a piece of an answer."""

    @classmethod
    def of(cls, server: ServerConfig) -> "Limits":
        """Return the limits of a configuration."""
        largest = max_request_bytes(server)
        return cls(
            waiting=server.max_waiting,
            request_bytes=largest,
            total_bytes=UPLOADS_IN_MEMORY * largest,
            request_timeout_s=server.request_timeout_s,
        )


def max_request_bytes(server: ServerConfig) -> int:
    """Return how long the body of a request may be."""
    return server.max_upload_bytes + FORM_OVERHEAD_BYTES


@dataclass(slots=True)
class Load:
    """What the worker is busy with at the moment; read by the metrics."""

    working: int = 0
    """Requests that are being answered or wait for a thread."""
    receiving: int = 0
    """Connections whose request has not arrived completely."""
    sending: int = 0
    """Connections whose client has not taken its answer completely."""
    held_bytes: int = 0
    """What has arrived of all requests that are not answered yet."""
    unsent_bytes: int = 0
    """What waits for clients to take it."""
    cut_off: int = 0
    """Answers that clients did not take in time, since the start."""
    lock: threading.Lock = field(default_factory=threading.Lock)


load = Load()
"""The load of this process, which has one worker."""


def in_lobby() -> bool:
    """Tell whether this thread is there to refuse what comes beyond capacity."""
    return bool(getattr(_here, "lobby", False))


def enter_lobby() -> None:
    """Make this thread one that refuses what comes beyond capacity."""
    _here.lobby = True
