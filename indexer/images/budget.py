"""How many pixels are decoded at the same time, by all threads or all processes together."""

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

PIXELS_AT_ONCE = 200_000_000
"""Eight photographs of 24 megapixels, or two of the largest images that the settings allow.

Decoding takes 8 bytes of memory for each pixel of most formats, up to 20 for WebP, AVIF and HEIC:
1.6 to 4 GB in all.
"""

MAX_HELD_S = 60.0
"""Nothing takes that long: a share held longer belongs to a thread that hangs."""

MEGAPIXEL = 1_000_000

RETRY_S = 0.02
"""How often a process that is first in line looks for pixels that are free."""


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


class SharedBudget:
    """Pixels that processes of one thread each share; first come, first served.

    Every megapixel is a byte of a file, which a process locks while it uses it. The system releases
    the locks of a process that ends, however it ends. Images of less than a megapixel are not
    counted: there are never many of them at once.
    """

    def __init__(self, pixels: int, file: Path) -> None:
        self._megapixels = pixels // MEGAPIXEL
        self._file = file

    @contextmanager
    def hold(
        self, pixels: int, waiting: AbstractContextManager[object] | None = None
    ) -> Iterator[None]:
        """Hold a share during the block. ``waiting`` is entered while it is not free yet."""
        share = min(pixels // MEGAPIXEL, self._megapixels)
        if share == 0:
            yield
            return
        with self._file.open("wb") as file:  # closing it releases the locks
            with waiting or nullcontext():
                self._lock(file, share)
            yield

    def _lock(self, file: BinaryIO, share: int) -> None:
        """Lock as many bytes as the share has megapixels. Byte 0 is the first place in line."""
        fcntl.lockf(file, fcntl.LOCK_EX, 1, 0)
        free = set(range(1, self._megapixels + 1))
        while not self._lock_some(file, share, free):
            time.sleep(RETRY_S)
        fcntl.lockf(file, fcntl.LOCK_UN, 1, 0)

    def _lock_some(self, file: BinaryIO, share: int, free: set[int]) -> bool:
        """Lock bytes that are free, and tell whether those locked so far are enough."""
        for byte in sorted(free):
            with suppress(BlockingIOError):
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
                free.remove(byte)
            if self._megapixels - len(free) == share:
                return True
        return False


DECODING: Budget | SharedBudget = Budget(PIXELS_AT_ONCE)
"""The budget of this process."""


def share(file: Path) -> None:
    """Share the budget with the other processes that name this file. It need not exist."""
    global DECODING
    DECODING = SharedBudget(PIXELS_AT_ONCE, file)
