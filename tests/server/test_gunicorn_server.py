"""How many clients may be connected to the server, so that it does not run out of files."""

import resource
import sqlite3
from contextlib import closing

import pytest

from indexer.store.connections import MAX_IDLE
from server import gunicorn_server


def test_the_numbers_are_those_of_the_catalogue() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        attached = connection.getlimit(sqlite3.SQLITE_LIMIT_ATTACHED)
    assert 1 + attached == gunicorn_server.CATALOGUE_FILES
    assert 2 * MAX_IDLE == gunicorn_server.IDLE_CATALOGUES


@pytest.mark.parametrize(("files", "connections"), [(1024, 308), (256, 49), (65536, 1000)])
def test_files_are_left_for_a_catalogue_in_every_thread(
    files: int, connections: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert gunicorn_server._max_connections(40) == connections
