"""Connections to SQLite files, each used by one thread at a time."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import StoreCorrupt
from indexer.store.records import FORMAT

IMMUTABLE = "mode=ro&immutable=1"
"""How to open a file that never changes: without locks, also where nothing can be written."""

IDLE = 8
"""How many connections are kept for the next reads; a burst of threads may open more."""


class ConnectionPool:
    """Lends connections that ``connect`` opens. Safe between threads.

    A connection that several threads use at once returns rows of other statements on Python 3.12
    and later: its cache of statements is not protected (https://github.com/python/cpython/issues/118172).
    It also makes every read wait for the longest. Here a thread has a connection to itself for as
    long as it reads. The first one is opened at once, so that an error shows when the file is
    opened; it goes on reading files that are removed meanwhile.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._returned = threading.Condition()
        self.first = connect()
        """The connection that is opened with the pool."""
        self._idle = [self.first]
        self._lent = 0

    def __del__(self) -> None:
        self.close()

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection for the block. Raises :class:`sqlite3.Error`."""
        connection = self._taken()
        try:
            yield connection
        finally:
            self._give_back(connection)

    def close(self) -> None:
        """Close what nobody is reading from."""
        for connection in self.__dict__.get("_idle", ()):  # there is none if the first one failed
            connection.close()

    def _taken(self) -> sqlite3.Connection:
        with self._returned:
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self._connect()
        except BaseException as error:
            with self._returned:
                self._lent -= 1
                self._returned.notify_all()
                if isinstance(error, sqlite3.OperationalError):  # the files are gone, for instance
                    self._returned.wait_for(lambda: self._idle or not self._lent)
                    if self._idle:
                        self._lent += 1
                        return self._idle.pop()
            raise

    def _give_back(self, connection: sqlite3.Connection) -> None:
        with self._returned:
            self._lent -= 1
            is_kept = len(self._idle) < IDLE
            if is_kept:
                self._idle.append(connection)
            self._returned.notify_all()
        if not is_kept:
            connection.close()


def address(path: Path, options: str) -> str:
    """Return the address by which SQLite opens a file with some of its options."""
    return f"{path.absolute().as_uri()}?{options}"


def connected(path: Path, options: str) -> sqlite3.Connection:
    """Connect to a catalogue file. Raises :class:`StoreCorrupt` if it has another format."""
    connection = sqlite3.connect(
        address(path, options), uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        require_format(connection, path, "main")
    except BaseException:
        connection.close()
        raise
    return connection


def require_format(connection: sqlite3.Connection, path: Path, name: str) -> None:
    """Raise :class:`StoreCorrupt` unless a database of a connection has this format."""
    version = connection.execute(f"PRAGMA {name}.user_version").fetchone()[0]
    if version != FORMAT:
        raise StoreCorrupt(
            f"{path} has format {version}; this version of Lookalike reads format {FORMAT}.",
            "Index again into another store, or use the version that made it.",
        )
