"""A lock that threads get in the order in which they came."""

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Turns:
    """Threads take turns, first come, first served.

    A common lock may go to the thread that has just released it, again and again. Threads that read
    neighbouring rows would come to theirs when what was read with them is long forgotten.
    """

    def __init__(self) -> None:
        self._line: deque[threading.Lock] = deque()
        self._changing = threading.Lock()

    def __len__(self) -> int:
        """Return how many threads wait or have their turn."""
        return len(self._line)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until the threads that came before are done, then hold the turn for the block."""
        own = threading.Lock()
        own.acquire()
        with self._changing:
            self._line.append(own)
            if self._line[0] is own:
                own.release()
        try:
            with own:
                yield
        finally:
            with self._changing:
                had_turn = self._line[0] is own
                self._line.remove(own)
                if had_turn and self._line:
                    self._line[0].release()
