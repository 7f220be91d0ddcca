"""Moving files, some at a time, with a progress bar in bytes."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from indexer.errors import LookalikeError

THREADS = 8
"""Files that are moved at the same time. The storage's library splits large ones further."""


class Stopped(LookalikeError):
    """A transfer ends because another one has failed."""

    code = "stopped"


class Progress:
    """Counts the bytes of files that are being moved. Safe between threads."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar = bar
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def stop(self) -> None:
        """End every transfer at its next piece."""
        self._stopped.set()

    @contextmanager
    def of_file(self, size: int) -> Iterator[Callable[[int], None]]:
        """Count a file of so many bytes; yields what to call with the size of each piece.

        At the end all of it counts: not every storage tells about pieces.
        """
        moved = 0

        def add(count: int) -> None:
            nonlocal moved
            if self._stopped.is_set():
                raise Stopped("Stopped.")
            moved += count
            with self._lock:
                self._bar.update(count)

        add(0)
        yield add
        add(size - moved)


def move(title: str, total: int, tasks: Iterable[Callable[[Progress], None]]) -> None:
    """Do tasks, some at a time, that move ``total`` bytes together.

    After an error the others end at their next piece, and the error is raised. After Ctrl-C they
    are not waited for: a piece may take minutes, and the process ends.
    """
    with tqdm(
        total=total, unit="B", unit_scale=True, desc=title, disable=None, delay=1, leave=False
    ) as bar:
        progress, pool = Progress(bar), ThreadPoolExecutor(THREADS)
        try:
            for done in as_completed([pool.submit(task, progress) for task in tasks]):
                done.result()
        except BaseException as error:
            progress.stop()
            is_waited_for = not isinstance(error, KeyboardInterrupt)
            pool.shutdown(wait=is_waited_for, cancel_futures=True)
            raise
        pool.shutdown()
