"""Connections to SQLite files, each used by one thread at a time."""

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from indexer.errors import StoreCorrupt
from indexer.store.files import REBUILD_HINT
from indexer.store.records import FORMAT

IMMUTABLE = "mode=ro&immutable=1"
"""URI options for a file that never changes: SQLite takes no locks and writes no files."""

MAX_IDLE = 8
"""Idle connections that are kept; more threads at once open more, which are then closed."""

DAMAGE = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
"""SQLite's error codes of a file that is damaged, or lacks a table or a column."""


@contextmanager
def translated_errors(path: Path, action: str) -> Iterator[None]:
    """Turn SQLite's errors about a catalogue that cannot be opened, ``read`` or ``written``.

    Damage, or a missing file, raises :class:`StoreCorrupt`. What has another cause, such as a full
    disk, a lock or a missing permission, raises :class:`OSError`. Errors in the use of SQLite, such
    as a violated constraint, are raised as they are.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        message = f"{path} cannot be {action}: {error}."
        is_missing = code == sqlite3.SQLITE_CANTOPEN and not path.exists()
        if isinstance(error, sqlite3.OperationalError) and code not in DAMAGE and not is_missing:
            raise OSError(message) from error
        raise StoreCorrupt(message, REBUILD_HINT) from error


@contextmanager
def translated_values(path: Path) -> Iterator[None]:
    """Raise :class:`StoreCorrupt` for values in a catalogue that no build has written."""
    try:
        yield
    except (TypeError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise StoreCorrupt(f"{path} holds a damaged value: {reason}") from error


class ConnectionPool:
    """Lends connections that ``connect`` opens. Safe between threads.

    Each thread has a connection to itself while it reads. A connection shared between threads
    returns rows of other statements on Python 3.12 and later, as its statement cache is not locked
    (https://github.com/python/cpython/issues/118172), and it makes every read wait for the longest.
    The first connection is opened at once, so that errors show when the file is opened. It can
    still read files that are removed later.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self.connect = connect
        """Opens one more connection."""
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
        connection = self._acquire()
        try:
            yield connection
        finally:
            self._release(connection)

    def close(self) -> None:
        """Close the idle connections."""
        for connection in self.__dict__.get("_idle", ()):  # missing if the first connect failed
            connection.close()

    def _acquire(self) -> sqlite3.Connection:
        with self._returned:
            self._lent += 1
            if self._idle:
                return self._idle.pop()
        try:
            return self.connect()
        except BaseException as error:
            with self._returned:
                self._lent -= 1
                self._returned.notify_all()
                # For instance, the files were removed.
                if isinstance(error, sqlite3.OperationalError):
                    self._returned.wait_for(lambda: self._idle or not self._lent)
                    if self._idle:
                        self._lent += 1
                        return self._idle.pop()
            raise

    def _release(self, connection: sqlite3.Connection) -> None:
        with self._returned:
            self._lent -= 1
            is_kept = len(self._idle) < MAX_IDLE
            if is_kept:
                self._idle.append(connection)
            self._returned.notify_all()
        if not is_kept:
            connection.close()


def uri(path: Path, options: str) -> str:
    """Return the SQLite URI of a file with these options."""
    return f"{path.absolute().as_uri()}?{options}"


def connect(path: Path, options: str) -> sqlite3.Connection:
    """Connect to a catalogue file. Raises :class:`StoreCorrupt` if it has another format."""
    connection = sqlite3.connect(
        uri(path, options), uri=True, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA temp_store = MEMORY")  # not every process may write files
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
