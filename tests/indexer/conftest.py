"""Fixtures of the library's tests: stores that need no encoder."""

from pathlib import Path

import pytest

from indexer.store import Store, open_writer
from tests.stores import commit, publish


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """A store that does not exist yet."""
    return Store(tmp_path / "store")


@pytest.fixture
def published(store: Store) -> Store:
    """A store with two segments and a skipped file, published."""
    with open_writer(store) as writer:
        commit(writer, ["a", "b"], ["c"])
        commit(writer, ["d"])
        publish(writer)
    return store
