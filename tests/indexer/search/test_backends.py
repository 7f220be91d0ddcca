"""Where a version is searched: here, unless the settings say on a cluster."""

import sys

import pytest

from indexer.config import Config, SearchConfig
from indexer.errors import MissingDependency
from indexer.search.backends import LocalBackend, open_backend
from indexer.store import Store


def test_searches_are_local_by_default(published: Store) -> None:
    backend = open_backend(Config(store=published.folder))
    assert isinstance(backend, LocalBackend)
    opened = backend.open(published.open_published())
    assert (len(opened.vectors), list(opened.by_mode), opened.replicas) == (3, ["exact"], None)


def test_without_ray_the_error_names_the_extra(
    published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    modules = ("vector_index.ray_shards", "vector_index.replicas", "executors.ray")
    for name in (f"indexer.{module}" for module in modules):
        monkeypatch.delitem(sys.modules, name, raising=False)
    config = Config(store=published.folder, search=SearchConfig(backend="ray"))
    with pytest.raises(MissingDependency) as error:
        open_backend(config).open(published.open_published())
    assert "pip install 'lookalike[ray]'" in error.value.hint
