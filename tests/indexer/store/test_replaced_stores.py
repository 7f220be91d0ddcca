"""Another store in the place of one that is open: the two are never mixed."""

import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lookalike
from indexer.build import build
from indexer.config import Config
from indexer.errors import StoreUnavailable
from indexer.store import Store, Writer, open_writer
from tests.conftest import Reindex, small_config
from tests.stores import commit, publish


def make(folder: Path, *keys: str) -> Store:
    store = Store(folder)
    with open_writer(store) as writer:
        commit(writer, keys)
        publish(writer)
    return store


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_open_version_reads_the_rows_of_its_own_store(tmp_path: Path) -> None:
    """Both have a version 1 of a layer 1, and more threads read than connections are open."""
    store = make(tmp_path / "store", "old a", "old b")
    catalogue = store.open_published().catalogue
    shutil.rmtree(store.folder)
    make(tmp_path / "new", "new a", "new b").folder.rename(store.folder)
    with ThreadPoolExecutor(4) as pool, catalogue._pool.connection():
        waiting = [pool.submit(catalogue.get, 1) for _ in range(8)]
    assert {each.result().key for each in waiting} == {"old a"}  # type: ignore[union-attr]
    assert store.open_published().catalogue.get(1).key == "new a"  # type: ignore[union-attr]


def test_an_opened_index_of_the_python_api_stays_what_it_was(
    reindex: Reindex, config: Config, images: Path, tmp_path: Path
) -> None:
    reindex()
    index = lookalike.open(config.store)
    keys = index.keys(index.vectors()[0])
    fewer = tmp_path / "fewer"
    shutil.copytree(images, fewer)
    first = sorted(fewer.rglob("*.jpg"))[0]
    shutil.rmtree(first.parent)
    build(small_config(fewer, tmp_path / "other"))
    config.store.rename(tmp_path / "aside")
    (tmp_path / "other").rename(config.store)
    assert index.keys(index.vectors()[0]) == keys
    assert next(result.key for result in index.search(1)) == keys[0]
    assert lookalike.open(config.store).keys([1]) == [keys[1]]


STEPS: dict[str, Callable[[Writer], object]] = {
    "commit": lambda writer: commit(writer, ["late"]),
    "begin": lambda writer: writer.begin(),
    "publish": publish,
    "collect garbage": lambda writer: writer.collect_garbage(1),
}


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize("step", STEPS)
def test_a_build_changes_nothing_in_a_store_that_takes_the_place_of_its_own(
    tmp_path: Path, step: str, *, new: bool
) -> None:
    store, other = make(tmp_path / "store", "a"), make(tmp_path / "other", "b")
    with open_writer(store) as writer:
        commit(writer, ["c"])
        store.folder.rename(tmp_path / "aside")
        if new:
            other.folder.rename(store.folder)
        before = contents(store.folder)
        with pytest.raises(StoreUnavailable, match="was removed or replaced"):
            STEPS[step](writer)
        assert contents(store.folder) == before
        assert store.folder.exists() is new
    with open_writer(Store(tmp_path / "aside")) as writer:  # what was committed is kept there
        assert writer.notes == []
        publish(writer)
        assert writer.catalogue.counts().indexed == 2
