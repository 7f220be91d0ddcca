"""A catalogue that is damaged, and one that only cannot be used now, raise different errors."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from indexer.errors import StoreCorrupt
from indexer.store import RunRow, Store, open_writer
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.own_catalogue import OwnCatalogue
from tests.stores import commit

RUN = RunRow("2026-01-01", 1.0, 4, 3, 1, 0, "found 4")


@contextmanager
def locked(store: Store) -> Iterator[None]:
    """Lock the catalogue from another connection."""
    with closing(sqlite3.connect(store.catalogue, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


def test_a_locked_catalogue_is_not_taken_for_a_damaged_one(published: Store) -> None:
    with closing(sqlite3.connect(published.catalogue)) as other:
        other.execute("PRAGMA journal_mode = DELETE")
    catalogue = OwnCatalogue.open(published.catalogue)
    catalogue._pool.first.execute("PRAGMA busy_timeout = 0")
    with locked(published), pytest.raises(OSError, match="cannot be read: database is locked"):
        catalogue.counts()
    assert catalogue.counts().found == 4


def test_a_catalogue_that_cannot_be_written_now_is_an_error_of_the_system(
    published: Store,
) -> None:
    with open_writer(published) as writer:
        writer.catalogue._db.execute("PRAGMA busy_timeout = 0")
        with locked(published):
            with pytest.raises(OSError, match="cannot be written: database is locked"):
                commit(writer, ["e"])
            with pytest.raises(OSError, match="cannot be written: database is locked"):
                writer.catalogue.add_run(RUN)
        writer.catalogue.add_run(RUN)
        assert writer.catalogue.last_run() == RUN


def test_a_catalogue_without_its_tables_is_damaged(published: Store) -> None:
    with open_writer(published) as writer:
        writer.catalogue._db.execute("DROP TABLE runs")
        for use in (lambda: writer.catalogue.add_run(RUN), writer.catalogue.last_run):
            with pytest.raises(StoreCorrupt, match="no such table"):
                use()


def test_damage_met_while_writing_is_an_error_of_the_store(published: Store) -> None:
    content = published.catalogue.read_bytes()
    published.catalogue.write_bytes(content[:4096] + b"\xff" * (len(content) - 4096))
    path = re.escape(str(published.catalogue))
    with closing(CatalogueWriter(published.catalogue)) as catalogue:
        for _ in range(2):
            with pytest.raises(StoreCorrupt, match=f"{path} cannot be written: .*malformed"):
                catalogue.add_run(RUN)
