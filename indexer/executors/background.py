"""An iterator that runs in a thread of its own."""

import threading
from collections.abc import Generator
from contextlib import suppress
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Generic, Self, TypeVar

from indexer.executors.base import SHUTDOWN_SECONDS

Item = TypeVar("Item")

POLL_SECONDS = 0.1
"""How often a thread that waits looks whether it should end."""


class Background(Generic[Item]):
    """Runs a generator in a thread, up to ``ahead`` items ahead of the consumer.

    At the end of the block the generator is closed, after its present item. It is not waited for
    if that takes long.
    """

    def __init__(self, items: Generator[Item], ahead: int) -> None:
        self._items = items
        self._found: Queue[Item | _Ended] = Queue(ahead)
        self._ended: _Ended | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="background", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._thread.join(SHUTDOWN_SECONDS)

    def get(self, seconds: float | None = None) -> Item | None:
        """Return the next item; None if there are no more, or none within the time.

        Without a time limit, it raises what the generator has raised.
        """
        if self._ended is None:
            try:
                found = self._found.get(seconds is None or seconds > 0, seconds)
            except Empty:
                return None
            if not isinstance(found, _Ended):
                return found
            self._ended = found
        if self._ended.error and seconds is None:
            raise self._ended.error
        return None

    def _run(self) -> None:
        try:
            for item in self._items:
                self._put(item)
                if self._closing.is_set():
                    break
            self._items.close()
        except BaseException as error:  # noqa: BLE001 -- raised in the consumer
            self._put(_Ended(error))
        else:
            self._put(_Ended())

    def _put(self, item: "Item | _Ended") -> None:
        while not self._closing.is_set():
            with suppress(Full):
                self._found.put(item, timeout=POLL_SECONDS)
                return


class _Ended:
    """What comes after the last item: an error, or nothing."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
