"""A version's catalogue: layers that are read as one table, and hold what changed."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from indexer.store import Catalogue, ImageRow, Store, Version, Writer, open_writer
from indexer.store.catalogue_writer import CatalogueWriter
from indexer.store.layers import GROWTH, layers_to_keep
from indexer.store.records import CatalogueLayer, FileRecord
from tests.stores import commit, damage, image, publish


def rows(version: Version) -> list[ImageRow]:
    return list(version.catalogue.rows())


def live_rows(writer: Writer) -> list[ImageRow]:
    """The rows of the build's catalogue, without segment and row, which versions lack."""
    return [replace(row, segment=None, row=None) for row in writer.catalogue.rows()]


def sizes(version: Version) -> list[int]:
    return [layer.rows for layer in version.manifest.layers]


def test_a_publish_writes_the_rows_that_changed(store: Store) -> None:
    with open_writer(store) as writer:
        commit(writer, [f"{n:04}" for n in range(1000)], [f"bad{n}" for n in range(10)])
        first = publish(writer)
        commit(writer, ["new", "0007"])
        second = publish(writer)
        assert (sizes(first), sizes(second)) == ([1010], [1010, 3])  # two new, one replaced
        assert second.manifest.layers[0] == first.manifest.layers[0]
        assert rows(second) == live_rows(writer)
        assert (second.problems(), first.problems()) == ([], [])


def test_moved_vectors_change_no_layer(store: Store) -> None:
    with open_writer(store) as writer:
        commit(writer, ["a", "b"])
        first = publish(writer)
        segment = writer.segment("00000001")
        writer.replace([segment.id], segment.ids, [segment.vectors_path.read_bytes()])
        second = publish(writer)
        assert [entry.id for entry in second.manifest.segments] == ["00000002"]
        assert second.manifest.layers == first.manifest.layers
        assert second.problems() == []


def test_small_layers_are_merged_so_that_few_remain(store: Store) -> None:
    with open_writer(store) as writer:
        commit(writer, [f"{n:04}" for n in range(600)])
        written = 0
        for number in range(60):
            before = {layer.id for layer in writer.catalogue.layers()}
            commit(writer, [f"new{number}"])
            version = publish(writer)
            writer.collect_garbage()
            new = [layer for layer in version.manifest.layers if layer.id not in before]
            written += sum(layer.rows for layer in new)
        assert rows(version) == live_rows(writer)
        kept = sizes(version)
        assert all(older >= GROWTH * newer for older, newer in pairwise(kept))
        assert written < 601 + 60 * 2 * GROWTH
        assert version.problems() == []


@pytest.mark.parametrize(
    ("old", "changes", "kept"),
    [
        ([], 5, []),
        ([80], 10, [80]),
        ([79], 10, []),
        ([1000, 100, 10], 1, [1000, 100, 10]),
        ([1000, 100, 10], 2, [1000, 100]),
        ([1000, 100, 10], 3, [1000]),  # 3 + 10 are more than an eighth of 100
        ([1000, 100, 10], 120, []),
    ],
)
def test_layers_less_than_eight_times_as_large_are_merged(
    old: list[int], changes: int, kept: list[int]
) -> None:
    file = FileRecord(bytes=0, sha256="")
    layers = [CatalogueLayer(id=str(n), rows=n, next_id=1, file=file) for n in old]
    assert [layer.rows for layer in layers_to_keep(layers, changes)] == kept


def test_a_publish_without_changes_writes_no_layer(published: Store) -> None:
    first = published.open_published()
    with open_writer(published) as writer:
        assert publish(writer).manifest.layers == first.manifest.layers


@pytest.mark.parametrize("how", ["missing", "truncated", "noted as damaged"])
def test_a_new_layer_is_not_put_on_a_damaged_one(published: Store, how: str) -> None:
    from indexer.store import Damage, update_damage

    path = published.layers / "00000001.sqlite"
    if how == "missing":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:100])
    else:
        damage(path)
        update_damage(published, damaged=Damage(layers=("00000001",)))
    with open_writer(published) as writer:
        commit(writer, ["new"])
        version = publish(writer)
        assert [layer.id for layer in version.manifest.layers] == ["00000002"]
        assert rows(version) == live_rows(writer)
    assert version.problems() == []


def test_a_damaged_layer_is_not_merged(store: Store) -> None:
    with open_writer(store) as writer:
        commit(writer, [f"{n:04}" for n in range(1000)])
        publish(writer)
        writer.catalogue.remove(["0001", "0002"])
        assert sizes(publish(writer)) == [1000, 2]
        damage(store.layers / "00000002.sqlite")
        writer.catalogue.remove(["0003"])
        version = publish(writer)
        assert [layer.id for layer in version.manifest.layers] == ["00000003"]
        assert rows(version) == live_rows(writer)
    assert version.problems() == []


def test_after_a_rollback_the_next_version_is_whole(published: Store) -> None:
    with open_writer(published) as writer:
        commit(writer, ["x"])
        publish(writer)
        writer.roll_back("00000001")
        commit(writer, ["y"])
        version = publish(writer)
        assert rows(version) == live_rows(writer)
    assert version.problems() == []


class Died(BaseException):
    """The build has died."""


def test_a_build_that_dies_before_it_records_the_layers_repeats_them(
    published: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise Died

    with open_writer(published) as writer:
        commit(writer, ["x"])
        writer.catalogue.remove(["a"])
        monkeypatch.setattr(writer.catalogue, "mark_published", die)
        with pytest.raises(Died):
            publish(writer)
    with open_writer(published) as writer:
        writer.collect_garbage()
        assert rows(published.open_published()) == live_rows(writer)
        commit(writer, ["y"])
        version = publish(writer)
        assert rows(version) == live_rows(writer)
    assert version.problems() == []


KEYS = st.sampled_from("abcdefgh")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("commit"), st.lists(KEYS, min_size=1, max_size=4, unique=True)),
        st.tuples(st.just("skip"), st.lists(KEYS, min_size=1, max_size=2, unique=True)),
        st.tuples(st.just("remove"), st.lists(KEYS, min_size=1, max_size=3, unique=True)),
        st.tuples(st.just("describe"), st.lists(KEYS, min_size=1, max_size=2, unique=True)),
        st.tuples(st.just("rename"), st.lists(KEYS, min_size=2, max_size=2, unique=True)),
        st.tuples(st.just("publish"), st.just([])),
        st.tuples(st.just("reopen"), st.just([])),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS)
def test_any_version_shows_the_catalogue_as_it_was_published(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, list[str]]]
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    seen: list[tuple[str, list[ImageRow]]] = []
    with open_writer(store) as writer:
        commit(writer, ["start"])
        for step, keys in [*steps, ("publish", [])]:
            take(writer, step, keys)
            if step == "publish":
                seen.append((publish(writer).id, live_rows(writer)))
        writer.collect_garbage()
        for name, expected in seen[-3:]:
            version = store.version(name)
            assert rows(version) == expected
            assert version.problems() == []
            indexed = [row for row in expected if row.status == "indexed"]
            in_order = sorted(indexed, key=lambda row: row.key)
            assert version.catalogue.page_by_key("indexed", offset=0, limit=100) == in_order
            assert version.catalogue.get_many(range(100)) == {row.id: row for row in expected}
            assert version.catalogue.counts() == version.manifest.counts


def take(writer: Writer, step: str, keys: list[str]) -> None:
    """Change the catalogue as builds do."""
    catalogue = writer.catalogue
    if step == "commit":
        commit(writer, keys)
    elif step == "skip":
        commit(writer, [], keys)
    elif step == "remove":
        with catalogue.transaction():
            catalogue.remove(keys)
    elif step == "describe":
        with catalogue.transaction():
            catalogue.update_metadata((key, {"n": len(keys)}) for key in keys)
    elif step == "rename":
        with catalogue.transaction():
            row = next((row for row in catalogue.rows("indexed") if row.key == keys[0]), None)
            if row:
                catalogue.rename(row.id, image(keys[1]))


def test_a_store_of_an_older_version_gets_the_column_of_boxes(store: Store) -> None:
    """Its layers stay as they are, and no row counts as changed."""
    with open_writer(store) as writer:
        commit(writer, ["a", "b"])
        before = rows(publish(writer))
    layer = store.layers / "00000001.sqlite"
    for path in (store.catalogue, layer):
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(
                "DROP TRIGGER IF EXISTS images_described; ALTER TABLE images DROP COLUMN box;"
                "CREATE TRIGGER IF NOT EXISTS images_described AFTER UPDATE OF key ON images "
                "BEGIN SELECT 1; END;"
                if path == store.catalogue
                else "ALTER TABLE images DROP COLUMN box;"
            )
    with closing(Catalogue.open_snapshot([layer])) as catalogue:
        assert list(catalogue.rows()) == before
    with closing(CatalogueWriter(store.catalogue)) as catalogue, catalogue.transaction():
        assert [row.box for row in catalogue.rows()] == [None, None]
        assert catalogue.update_metadata([("a", {"caption": "new"})]) == 1
        assert catalogue.changes_since(catalogue.next_id()) == 1, "the trigger was made again"
