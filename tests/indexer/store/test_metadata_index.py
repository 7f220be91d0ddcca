"""The index of metadata says what the JSON of the rows says, in every version."""

import random
import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexer.store.layers
from indexer.errors import InvalidQuery, NoMetadataIndex, StoreCorrupt
from indexer.search.filters import allowed_ids, fields_named
from indexer.search.queries import Allowed
from indexer.store import Field, MetadataIndex, NewImage, Range, Store, Version, Writer, open_writer
from indexer.store.metadata_index import SELECT_FIELDS, select_range
from indexer.store.metadata_schema import MAX_TEXT, OWN_FIELDS
from indexer.vector_index import flat_file
from tests.stores import DIM, image, publish, skip


def add(writer: Writer, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Commit images with these keys and metadata."""
    images = [
        NewImage(key, 7, 2, sha256="ab", format="JPEG", width=640, height=480, metadata=values)
        for key, values in metadata.items()
    ]
    vectors = flat_file(np.ones((len(images), DIM), np.float32))
    writer.commit(images, vectors, [skip("bad.jpg")], dim=DIM, fingerprint="e1")


def update(writer: Writer, metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Change the metadata of images."""
    with writer.catalogue.transaction():
        writer.catalogue.update_metadata(metadata.items())


def kind_of(value: object) -> str:
    if isinstance(value, bool):
        return "boolean"
    return "text" if isinstance(value, str) else "number"


def values_of(row: NewImage) -> set[tuple[str, str, Any]]:
    """The field, the kind and the value of everything that an image can be found by."""
    found: list[tuple[str, Any]] = [
        ("key", row.key), ("folder", row.key.rpartition("/")[0]), ("width", row.width),
        ("height", row.height), ("format", row.format), ("size", row.size),
    ]  # fmt: skip
    for name, value in row.metadata.items():
        name = f"metadata.{name}" if name in OWN_FIELDS else name
        found += [(name, one) for one in (value if isinstance(value, list) else [value])]
    return {
        (name, kind_of(value), value)
        for name, value in found
        if isinstance(value, str | int | float)
    }


def assert_like_the_rows(version: Version) -> None:
    """Compare every field, every value and every count with the JSON of the rows."""
    index = version.catalogue.metadata
    rows = {row.id: values_of(row) for row in version.catalogue.rows("indexed")}
    fields = Counter(pair for values in rows.values() for pair in {v[:2] for v in values})
    assert {field[:2]: field.images for field in index.fields} == fields
    rows = {
        image_id: {value for value in values if len(str(value[2])) <= MAX_TEXT}
        for image_id, values in rows.items()
    }
    values = {value for values in rows.values() for value in values}
    for name, kind, value in sorted(values, key=repr)[:: max(1, len(values) // 80)]:
        having = [image_id for image_id, found in rows.items() if (name, kind, value) in found]
        found = index.ids(name, [Range(kind, value, value)])  # type: ignore[arg-type]
        assert sorted(found.tolist()) == having
    for name in {name for name, *_ in values}:
        expected = {value[1:] for value in values if value[0] == name}
        members = {(kind_of(value), value): ids for value, ids in index.members([name])}
        assert members.keys() == expected
        for of_kind, ids in members.items():
            assert ids.tolist() == [i for i, found in rows.items() if (name, *of_kind) in found]
    some = np.array([image_id for image_id in rows if image_id % 3], np.int64)
    for among, ids in ((None, rows.keys()), (some, some.tolist())):
        for name in {name for name, *_ in values}:
            counts = Counter(v[1:] for i in ids for v in rows[i] if v[0] == name)
            facet = index.facet([name], among)
            assert facet.others == max(len(counts) - 100, 0)
            expected = sorted(((-n, *value) for value, n in counts.items()))[:100]
            assert [(-one.count, kind_of(one.value), one.value) for one in facet.values] == expected


def some_metadata(choice: random.Random) -> dict[str, Any]:
    words = ["dog", "cat", "hot dog", "M\u00e1laga", "", "7", "true", 'a "red" bus', "x" * 1001]
    pool: dict[str, Any] = {
        "category": [choice.choice(words) for _ in range(choice.randrange(4))],
        "licence": choice.randrange(4),
        "area": [choice.random(), 1e300, -0.1],
        "mixed": [1, 1.0, "1", True, None, ["dog"], {"a": 1}],
        "iscrowd": choice.random() < 0.5,
        "width": choice.choice([640, "wide"]),
        "caf\u00e9 \"'[]$.": choice.choice(words),
        "nested": {"dog": 1},
        "nothing": None,
        f"count.{choice.randrange(9)}": choice.randrange(9),
    }
    return {name: pool[name] for name in choice.sample(sorted(pool), choice.randrange(len(pool)))}


def test_after_any_changes_it_says_what_the_rows_say(store: Store) -> None:
    choice = random.Random(4)  # noqa: S311
    keys = [f"{folder}{n:03}.jpg" for n in range(24) for folder in ("", "a/", "a/b/")]
    seen = set()
    with open_writer(store) as writer:
        add(writer, {key: some_metadata(choice) for key in keys})
        for changes in (0, 9, 1, 3, 2, 30, 1):
            some = choice.sample(keys, changes)
            update(writer, {key: some_metadata(choice) for key in some})
            if changes == 2:
                add(writer, {key: some_metadata(choice) for key in (some[0], "new.jpg")})
            if changes == 3:
                with writer.catalogue.transaction():
                    writer.catalogue.remove(some[:2])
            version = publish(writer)
            seen.add(len(version.manifest.layers))
            assert_like_the_rows(version)
    assert seen == {1, 2, 3}
    assert version.problems() == []


def test_a_publish_writes_what_changed(store: Store) -> None:
    """The metadata of one image of 3,000 takes three pages of 4 kB and the empty tables."""
    choice = random.Random(5)  # noqa: S311

    def described() -> dict[str, Any]:
        return {
            "caption": [" ".join(choice.choices(["red", "bus", "dog"], k=9)) for _ in range(5)],
            "category": choice.choices(["dog", "cat", "person"], k=2),
            "area": [choice.random() for _ in range(10)],
        }

    def written(writer: Writer, count: int) -> int:
        update(writer, {f"{n:05}.jpg": described() for n in range(count)})
        before = set(writer.catalogue.layers())
        return sum(one.file.bytes for one in {*publish(writer).manifest.layers} - before)

    with open_writer(store) as writer:
        add(writer, {f"{n:05}.jpg": described() for n in range(3000)})
        everything = written(writer, 0)
        one, hundred = written(writer, 1), written(writer, 100)
    assert everything > 2_000_000
    assert one < 80_000
    assert hundred < one + everything / 3000 * 200


@pytest.mark.parametrize("count", [1, 3])
def test_it_is_an_index_that_answers(store: Store, count: int) -> None:
    with open_writer(store) as writer:
        add(writer, {f"{n:04}": {"licence": n} for n in range(1000)})
        version = publish(writer)
        for size in (60, 3)[: count - 1]:
            update(writer, {f"{n:04}": {"licence": -n - size} for n in range(size)})
            version = publish(writer)
    assert len(version.manifest.layers) == count
    ask = version.catalogue._query
    plan = [row[3] for row in ask(f"EXPLAIN QUERY PLAN {SELECT_FIELDS}")]
    of_images = [step for step in plan if "images" in step]
    assert all("USING INTEGER PRIMARY KEY (rowid=?)" in step for step in of_images), plan
    assert len(of_images) == 7 * (count - 1)  # only the rows of older layers that are hidden
    for wanted, bounds in {
        Range("number", 4, 4): "value>? AND value<?",
        Range("number", low=4, excludes_low=True): "value>?",
        Range("text", high="b"): "value<?",
    }.items():
        statement, values = select_range("licence", wanted)
        plan = [row[3] for row in ask(f"EXPLAIN QUERY PLAN {statement}", values)]
        searches = [step for step in plan if step.startswith("SEARCH")]
        postings = [
            step for step in searches if f"USING PRIMARY KEY (field=? AND {bounds})" in step
        ]
        assert len(postings) == count, plan
        assert not [step for step in plan if step.startswith("SCAN")], plan


def test_other_layers_than_those_with_an_index_are_written_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(store) as writer:
        with monkeypatch.context() as older:
            older.setattr(indexer.store.layers, "write_index", lambda connection: None)
            add(writer, {f"{n:03}": {"licence": n} for n in range(100)})
            index = publish(writer).catalogue.metadata
        assert (index.exists, index.fields) == (False, ())
        for use in (
            lambda: index.ids("key", []),
            lambda: index.facet([], None),
        ):
            with pytest.raises(NoMetadataIndex, match="older Lookalike") as refused:
                use()
            assert "lookalike index" in refused.value.hint
        update(writer, {"000": {"licence": 7}})
        version = publish(writer)
    assert [layer.id for layer in version.manifest.layers] == ["00000002"]
    assert_like_the_rows(version)


def test_fields_of_many_values_are_not_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(store) as writer:
        add(writer, {f"{n:03}": {"licence": n % 5} for n in range(20)})
        index = publish(writer).catalogue.metadata
    monkeypatch.setattr("indexer.store.metadata_index.MAX_FACET_VALUES", 20)
    assert len(index.facet(["key"], None).values) == 20
    monkeypatch.setattr("indexer.store.metadata_index.MAX_FACET_VALUES", 19)
    with pytest.raises(InvalidQuery, match="key has more than 19 different values"):
        index.facet(["key"], None)


def test_what_was_found_lately_is_kept_up_to_a_limit(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(store) as writer:
        add(writer, {f"{n:03}": {"licence": n} for n in range(20)})
        publish(writer)
    catalogue = store.open_published().catalogue
    monkeypatch.setattr("indexer.store.metadata_index.RECENT_IDS", 25)

    def reads(high: int) -> int:
        statements: list[str] = []
        catalogue._pool.first.set_trace_callback(statements.append)
        found = catalogue.metadata.ids("licence", [Range("number", 0, high)])
        assert sorted(found.tolist()) == [*range(1, high + 2)]
        return len(statements)

    catalogue.metadata.ids("key", [])
    assert [reads(high) for high in (9, 11, 9, 11)] == [1, 1, 0, 0]
    assert [reads(high) for high in (4, 11, 9)] == [1, 0, 1]  # 9 went for 4, as 11 was asked later
    assert [reads(high) for high in (19, 11, 19)] == [1, 1, 1]


@pytest.mark.parametrize("damaged", ["x'0102'", "'text'", "7"])
def test_a_value_that_no_build_has_written_is_damage(store: Store, damaged: str) -> None:
    with open_writer(store) as writer:
        add(writer, {"a": {"licence": 1}})
        publish(writer)
    with closing(sqlite3.connect(store.layers / "00000001.sqlite")) as layer, layer:
        layer.execute(f"UPDATE postings SET ids = {damaged}")  # noqa: S608
    index = store.open_published().catalogue.metadata
    for use in (
        lambda: index.ids("licence", [Range("number")]),
        lambda: index.facet(["licence"], None),
    ):
        with pytest.raises(StoreCorrupt, match="holds a damaged value"):
            use()


def test_an_empty_version_has_the_tables_and_no_field(store: Store) -> None:
    with open_writer(store) as writer:
        version = publish(writer)
    assert version.catalogue.metadata.fields == []
    assert version.catalogue.metadata.ids("key", [Range("text")]).tolist() == []
    with pytest.raises(InvalidQuery, match="has a field key") as refused:
        fields_named(version.catalogue.metadata, "key")
    assert refused.value.hint == "No image is indexed."


def test_the_fields_of_every_image_come_first_then_the_most_frequent(store: Store) -> None:
    with open_writer(store) as writer:
        add(writer, {"a": {"z": 1, "b": True}, "c": {"z": "dog"}, "d": {"z": 2, "width": 3}})
        fields = publish(writer).catalogue.metadata.fields
    assert {field.name for field in fields[:6]} == set(OWN_FIELDS)
    assert fields[6:] == [
        Field("z", "number", 2),
        Field("b", "boolean", 1),
        Field("metadata.width", "number", 1),
        Field("z", "text", 1),
    ]


def allowed(index: MetadataIndex, prefix: str = "", **metadata: Any) -> list[int]:
    every = np.sort(index.ids("key", [Range("text")]))
    return allowed_ids(index, Allowed(prefix, metadata), every).tolist()


def test_a_filter_matches_composed_and_decomposed_letters(store: Store) -> None:
    """Names and captions from a Mac are decomposed; people type composed letters."""
    nfc, nfd = (unicodedata.normalize(form, "M\u00e1laga") for form in ("NFC", "NFD"))
    keys = [f"{nfd}/{nfc}/1.jpg", f"{nfc}/{nfd}/2.jpg", "Malaga/3.jpg", "a\\4.jpg", "a/5.jpg"]
    with open_writer(store) as writer:
        add(writer, dict(zip(keys, ({nfd: nfd}, {nfc: nfc}, {}, {}, {}), strict=True)))
        index = publish(writer).catalogue.metadata
    for typed in (nfc, nfd):
        assert allowed(index, f"{typed}/{typed}/") == [1, 2]
        assert allowed(index, typed[:-1]) == [1, 2]
        assert allowed(index, **{typed: typed}) == [1, 2]
    assert allowed(index, "a/") == [5]
    assert allowed(index, "a\\") == [4, 5]


def test_a_filter_matches_a_value_of_a_list(store: Store) -> None:
    """As the categories of a COCO image. Lists in lists and objects are not searched."""
    with open_writer(store) as writer:
        add(
            writer,
            {
                "a": {"is": ["dog", "Ma\u0301laga", 7]},
                "b": {"is": "dog", "width": 7},
                "c": {"is": ["cat"], "was": ["dog", True]},
                "d": {"is": [["dog"], {"dog": "dog"}, []], "was": 1},
                "e": {"is": {"x": "dog"}},
                "f": {"is": []},
            },
        )
        index = publish(writer).catalogue.metadata
    for value, found in (("dog", [1, 2]), ("M\u00e1laga", [1]), (7, [1]), ("cat", [3])):
        assert allowed(index, **{"is": value}) == found
    for value in ("do", "[]", '["cat"]', 8):
        assert allowed(index, **{"is": value}) == []
    assert allowed(index, **{"is": "cat", "was": "dog"}) == [3]
    assert allowed(index, was=1) == allowed(index, was=True) == [3, 4]
    assert (allowed(index, width=7), allowed(index, width=640)) == ([2], [])


def test_what_an_image_is_found_by_is_not_that_of_skipped_files(published: Store) -> None:
    version = published.open_published()
    skipped = {row.id for row in version.catalogue.rows("skipped")}
    assert skipped
    assert not skipped & {*version.catalogue.metadata.ids("key", [Range("text")]).tolist()}
    assert image("a").metadata == {"caption": "é"}


def test_a_version_that_is_no_longer_used_is_freed(store: Store, tmp_path: Path) -> None:
    import weakref

    with open_writer(store) as writer:
        add(writer, {"a": {"b": 1}})
        publish(writer)
    version = store.open_published()
    assert len(version.catalogue.metadata.fields) == 7
    freed = weakref.ref(version.catalogue)
    del version
    assert freed() is None
