"""Counters of the work that a block of code does; unlike its time, they are the same every run."""

import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

STEPS = 10
"""SQLite reports after this many instructions of its virtual machine."""


@dataclass
class Work:
    """What a block of code did, in its thread and in those it started."""

    sql: int = 0
    """Instructions of SQLite's virtual machine: they grow with the rows that are read."""
    calls: int = 0
    """Calls of functions, those written in C included."""
    opened: int = 0
    """Files opened."""

    def per(self, count: int) -> "Work":
        """Return the work for each of ``count`` files."""
        return Work(*(value // count for value in (self.sql, self.calls, self.opened)))


_opened: list[tuple[Work, set[int | None]]] = []
"""What is being counted, and the threads that others had started before: they do not count."""


def _audit(event: str, _: object) -> None:
    if event == "open" and _opened:
        work, others = _opened[-1]
        work.opened += threading.get_ident() not in others


sys.addaudithook(_audit)  # it cannot be removed again


@contextmanager
def counted() -> Iterator[Work]:
    """Count the work of the block."""
    work, lock = Work(), threading.Lock()
    real = sqlite3.connect

    def connect(*arguments: Any, **options: Any) -> sqlite3.Connection:
        def step() -> None:
            work.sql += STEPS

        connection = real(*arguments, **options)
        connection.set_progress_handler(step, STEPS)
        return connection

    def call(_: object, event: str, __: object) -> None:
        if event in ("call", "c_call"):
            with lock:
                work.calls += 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", connect)
        others = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}
        _opened.append((work, others))
        threading.setprofile(call)
        sys.setprofile(call)
        try:
            yield work
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
            _opened.pop()
