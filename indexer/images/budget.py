"""How many pixels are decoded at the same time, in all threads of the process together."""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

PIXELS_AT_ONCE = 200_000_000
"""Eight photographs of 24 megapixels, or two of the largest images that the settings allow.

Decoding takes 8 bytes of memory for each pixel of most formats, up to 20 for WebP and AVIF: 1.6 to
4 GB in all.
"""

MAX_HELD_S = 60.0
"""Nothing takes that long: a share held longer belongs to a thread that hangs."""


class Budget:
    """Pixels that threads share. Safe between threads; first come, first served.

    It never blocks for good: an image of more pixels than the budget waits until it is alone, and
    a share counts for :data:`MAX_HELD_S` seconds, since a thread can hang in a decoder.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._shares: dict[object, tuple[int, float]] = {}
        """The pixels of each holder, and since when it holds them."""
        self._first_in_line = threading.Lock()
        self._released = threading.Condition()

    @property
    def used(self) -> int:
        """How many pixels are being decoded."""
        since = time.monotonic() - MAX_HELD_S
        return sum(pixels for pixels, start in list(self._shares.values()) if start > since)

    @contextmanager
    def hold(
        self, pixels: int, waiting: AbstractContextManager[object] | None = None
    ) -> Iterator[None]:
        """Hold a share during the block. ``waiting`` is entered while it is not free yet."""
        share, holder = min(pixels, self._pixels), object()
        with waiting or nullcontext(), self._first_in_line, self._released:
            # The timeout is for shares of threads that hang: nobody releases them.
            while self.used + share > self._pixels:
                self._released.wait(timeout=1)
            self._shares[holder] = share, time.monotonic()
        try:
            yield
        finally:
            with self._released:
                del self._shares[holder]
                self._released.notify_all()


DECODING = Budget(PIXELS_AT_ONCE)
"""The budget of this process."""
