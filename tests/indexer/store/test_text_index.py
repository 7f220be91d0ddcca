"""The index of words finds what a reader of the texts finds, in every version."""

import random
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

import indexer.store.layers
import indexer.store.metadata_schema
from indexer.errors import MissingDependency, NoMetadataIndex, StoreCorrupt
from indexer.store import Store, TextIndex, Version, open_writer
from tests.indexer.store.test_metadata_index import add, update
from tests.stores import publish

VOCABULARY = ("dog", "red", "bus", "surf", "board", "beach")  # which are their own stems
QUERIES = (["dog"], ["dog", "red"], ["surf board"], ["surf board", "red"], ["board surf"], ["cat"])


def captions(choice: random.Random) -> dict[str, Any]:
    texts = [" ".join(choice.choices(VOCABULARY, k=choice.randrange(1, 8))) for _ in range(3)]
    pool: dict[str, Any] = {
        "caption": texts[:2], "title": texts[2], "category": choice.sample(VOCABULARY, 2),
        "url": "http://dog.example/red", "n": 7, "nested": {"caption": "dog"},
    }  # fmt: skip
    return {name: pool[name] for name in choice.sample(sorted(pool), choice.randrange(len(pool)))}


def texts_of(version: Version) -> list[tuple[int, str, str]]:
    """The image, the field and the words of every text, each between blanks."""
    return [
        (row.id, name, f" {text} ")
        for row in version.catalogue.rows("indexed")
        for name, value in row.metadata.items()
        for text in (value if isinstance(value, list) else [value])
        if isinstance(text, str) and "://" not in text
    ]


def assert_like_the_texts(version: Version) -> None:
    index, texts = version.catalogue.metadata.words, texts_of(version)
    assert list(index.fields) == sorted({name for _, name, _ in texts})
    for phrases in QUERIES:
        for names in (index.fields, ["caption"], ["nothing", "title"]):
            found = [
                (image_id, name)
                for image_id, name, text in texts
                if name in names and all(f" {phrase} " in text for phrase in phrases)
            ]
            images = sorted({image_id for image_id, _ in found})
            assert sorted(index.ids(phrases, names).tolist()) == images
            matches = index.best(phrases, names, 1000)
            assert matches.texts == Counter(name for _, name in found)
            assert (matches.images, sorted(matches.best)) == (len(images), images)


def test_after_any_changes_it_finds_what_the_texts_say(store: Store) -> None:
    choice = random.Random(4)  # noqa: S311
    keys = [f"{n:03}.jpg" for n in range(80)]
    seen = set()
    with open_writer(store) as writer:
        add(writer, {key: captions(choice) for key in keys})
        for changes in (0, 9, 1, 3, 30, 1):
            update(writer, {key: captions(choice) for key in choice.sample(keys, changes)})
            if changes == 3:
                with writer.catalogue.transaction():
                    writer.catalogue.remove(keys[:2])
            version = publish(writer)
            seen.add(len(version.manifest.layers))
            assert_like_the_texts(version)
    assert seen == {1, 2, 3}
    assert version.problems() == []


def opened(store: Store, metadata: Mapping[str, Mapping[str, Any]]) -> TextIndex:
    """Return the index of words of a version of images with these keys and metadata."""
    with open_writer(store) as writer:
        add(writer, metadata)
        return publish(writer).catalogue.metadata.words


@pytest.mark.parametrize(
    ("text", "phrase", "is_found"),
    [
        ("Two DOGS running", "dog", True),
        ("a dog", "dogs run", False),
        ("a man surfs", "surfing", True),
        ("a dog", "do", False),
        ("in Ma\u0301laga", "malaga", True),
        ("in Malaga", "M\u00e1laga", True),
        ("Stra\u00dfe", "stra\u00dfe", True),
        ("a surf-board", "surf board", True),
        ("a surfboard", "surf board", False),
        ("a surf on a board", "surf board", False),
        ("no. 7", "7", True),
        ("x" * 1001 + " dog", "dog", True),
        ("see http://dog.example", "dog", True),
        ("http://dog.example", "dog", False),
        ("\u72ac\u3068\u732b", "\u72ac\u3068\u732b", True),
    ],
)
def test_words_are_compared_as_people_do(
    store: Store, text: str, phrase: str, is_found: bool
) -> None:
    index = opened(store, {"a": {"caption": [text, "else"]}})
    assert index.ids([phrase], ["caption"]).tolist() == [1] * is_found


@pytest.mark.parametrize(
    "phrase",
    ['"', "dog\0", "NEAR(dog cat)", "caption : dog", "dog OR cat", "dog*", "^dog", "-dog", "{", ")",
     "dog' --", '" OR "dog', "dog + cat", "\ud7ff", "\U0010ffff", "dog " * 500, ""],
)  # fmt: skip
def test_nothing_in_a_phrase_is_syntax(store: Store, phrase: str) -> None:
    index = opened(store, {"a": {"caption": "a cat"}, "b": {"caption": 'near a dog, "cat"'}})
    is_there = phrase in ("dog\0", "dog*", "^dog", "-dog", "dog' --", "dog + cat")
    found = index.ids([phrase, "near"], ["caption"]).tolist()
    assert found == [2] * is_there
    assert index.best([phrase, "near"], ["caption"], 9).best == found


def test_the_best_images_say_it_more_often_and_in_fewer_words(store: Store) -> None:
    index = opened(
        store,
        {
            "a": {"caption": ["a very large and rather old brown dog lies on the grass", "grass"]},
            "b": {"caption": ["a dog", "a dog sleeps", "the dog"]},
            "c": {"caption": ["a dog", "a lawn"]},
            **{f"z{n}": {"caption": "nothing of it"} for n in range(20)},
        },
    )
    assert index.best(["dog"], ["caption"], 2) == ({"caption": 5}, 3, [2, 3])
    assert index.best(["dog"], ["caption"], 3).best == [2, 3, 1]
    assert index.best(["cat"], ["caption"], 3) == ({}, 0, [])


def test_of_many_images_an_even_sample_is_ranked(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = opened(store, {f"{n:03}": {"caption": "a dog"} for n in range(100)})
    monkeypatch.setattr("indexer.store.text_index.RANKED_IMAGES", 100)
    assert index.best(["dog"], ["caption"], 4).best == [1, 2, 3, 4]
    monkeypatch.setattr("indexer.store.text_index.RANKED_IMAGES", 99)
    assert index.best(["dog"], ["caption"], 4) == ({"caption": 100}, 100, [2, 4, 6, 8])


def test_a_publish_writes_the_words_that_changed(store: Store) -> None:
    """The texts are not stored twice, and those of one image take a few pages of 4 kB."""
    choice = random.Random(5)  # noqa: S311
    words = [f"{first}{second}" for first in VOCABULARY for second in VOCABULARY]

    def described() -> dict[str, Any]:
        return {"caption": [" ".join(choice.choices(words, k=10)) for _ in range(5)]}

    metadata = {f"{n:05}.jpg": described() for n in range(2000)}
    with open_writer(store) as writer:
        add(writer, metadata)
        (whole,) = publish(writer).manifest.layers
        update(writer, {"00000.jpg": described()})
        *_, small = publish(writer).manifest.layers
    text = sum(len(one) for values in metadata.values() for one in values["caption"])
    assert small.file.bytes < 120_000
    with closing(sqlite3.connect(store.layers / f"{whole.id}.sqlite")) as layer:
        assert layer.execute("SELECT text FROM words").fetchone() == (None,)
        ((held,),) = layer.execute("SELECT sum(length(block)) FROM words_data")
    assert held < text / 2


def test_it_is_an_index_that_answers(store: Store) -> None:
    with open_writer(store) as writer:
        add(writer, {f"{n:04}": {"caption": "a dog"} for n in range(1000)})
        publish(writer)
        update(writer, {"0000": {"caption": "a cat"}})
        version = publish(writer)
    index = version.catalogue.metadata.words
    statement = f"EXPLAIN QUERY PLAN SELECT image FROM {index._selected('image')}"  # noqa: S608
    plan = [row[3] for row in index._rows(statement, {"words": '"cat"', "fields": "[]"})]
    assert sum(".words VIRTUAL TABLE INDEX 0:M" in step for step in plan) == 2, plan
    assert sum(".texts USING INTEGER PRIMARY KEY" in step for step in plan) == 2, plan
    assert [step for step in plan if "SCAN" in step and ".words" not in step] == [
        "SCAN json_each VIRTUAL TABLE INDEX 1:"
    ] * 2


def test_layers_without_words_are_written_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(store) as writer:
        with monkeypatch.context() as older:
            older.setattr(indexer.store.metadata_schema, "write_words", lambda *_, besides: None)
            add(writer, {f"{n:03}": {"caption": "a dog"} for n in range(100)})
            metadata = publish(writer).catalogue.metadata
        assert metadata.exists
        assert metadata.words.fields == ()
        for use in (lambda: metadata.words.ids([], []), lambda: metadata.words.best([], [], 1)):
            with pytest.raises(NoMetadataIndex, match="older Lookalike") as refused:
                use()
            assert "lookalike index" in refused.value.hint
        update(writer, {"000": {"caption": "a cat"}})
        version = publish(writer)
    assert [layer.id for layer in version.manifest.layers] == ["00000002"]
    assert len(version.catalogue.metadata.words.ids(["dog"], ["caption"])) == 99


def test_without_fts5_everything_else_works(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_writer(store) as writer:
        with monkeypatch.context() as lacking:
            for module in ("metadata_schema", "text_schema", "text_index"):
                lacking.setattr(f"indexer.store.{module}.has_fts5", lambda connection: False)
            add(writer, {f"{n:03}": {"caption": "a dog"} for n in range(100)})
            first = publish(writer)
            assert len(first.catalogue.metadata.fields) == 7
            with pytest.raises(MissingDependency, match="lacks FTS5"):
                first.catalogue.metadata.words.require()
            update(writer, {"000": {"caption": "a cat"}})
            second = publish(writer)
            assert second.manifest.layers[0] == first.manifest.layers[0]  # not written again
        update(writer, {"001": {"caption": "a cat"}})
        words = publish(writer).catalogue.metadata.words
        assert sorted(words.ids(["cat"], ["caption"]).tolist()) == [1, 2]


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE texts SET image = 'text'",
        "UPDATE words_data SET block = x'00' WHERE id > 10",
        "DROP TABLE words_idx",
    ],
)
def test_damage_is_reported_as_such(store: Store, damage: str) -> None:
    opened(store, {"a": {"caption": "a dog"}})
    with closing(sqlite3.connect(store.layers / "00000001.sqlite")) as layer, layer:
        layer.execute(damage)
    index = store.open_published().catalogue.metadata.words
    for use in (
        lambda: index.ids(["dog"], ["caption"]),
        lambda: index.best(["dog"], ["caption"], 3),
    ):
        with pytest.raises(StoreCorrupt):
            use()
