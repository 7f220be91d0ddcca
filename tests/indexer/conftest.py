"""Fixtures of the library's tests: stores that need no encoder."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


@pytest.fixture
def row_group_reads(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """How often images of a row group were begun to be read, by its number."""
    from pyarrow import parquet

    counter = Counter[int]()
    real = parquet.ParquetFile.iter_batches

    def counted(self: Any, *arguments: Any, **options: Any) -> Iterator[Any]:
        counter.update(options.get("row_groups", ()))
        return real(self, *arguments, **options)  # type: ignore[no-any-return]

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", counted)
    return counter
