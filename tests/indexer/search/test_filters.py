"""Filters: what may be written, what passes, and that as many results come as exist."""

import random
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from indexer.config import Config
from indexer.errors import InvalidQuery
from indexer.search import Query, Searcher, Selection, parse_names
from indexer.search.filters import parse_filter
from indexer.store import ImageRow, NewImage, Range, open_writer
from tests.vectors import photo_like

CATEGORIES = ("person", "dog", "hot dog", "cat", 'a "red" bus', "7", "Málaga")
FIELDS = ["category"] * 3 + [
    "licence", "area", "iscrowd", "captured", "key", "folder", "width", "size", "format", "rare",
]  # fmt: skip


def texts(*values: str) -> tuple[Range, ...]:
    return tuple(Range("text", value, value) for value in values)


@pytest.mark.parametrize(
    ("written", "field", "ranges"),
    [
        ("category=dog", "category", texts("dog")),
        (" category = dog , cat ", "category", texts("dog", "cat")),
        ('category="hot dog",cat', "category", texts("hot dog", "cat")),
        ('"a=b, ""c"""="a ""red"" bus, x"', 'a=b, "c"', texts('a "red" bus, x')),
        ("count.hot dog=2", "count.hot dog", (*texts("2"), Range("number", 2, 2))),
        ('licence="4"', "licence", texts("4")),
        ("licence=4..5", "licence", (Range("number", 4, 5),)),
        ("area=-1.5..+.5", "area", (Range("number", -1.5, 0.5),)),
        ("captured=2013..2014-05", "captured", (Range("text", "2013", "2014-05"),)),
        ('name="a..b"', "name", texts("a..b")),
        ('name="a b".."c"', "name", (Range("text", "a b", "c"),)),
        ('name=""', "name", texts("")),
        ("iscrowd=true", "iscrowd", (*texts("true"), Range("boolean", True, True))),
        ("width>=640", "width", (Range("number", low=640),)),
        ("width>640", "width", (Range("number", low=640, excludes_low=True),)),
        ("width<=640.5", "width", (Range("number", high=640.5),)),
        ("width<640", "width", (Range("number", high=640, excludes_high=True),)),
        ("captured>=2013-11", "captured", (Range("text", low="2013-11"),)),
        (f"id={2**63 - 1}", "id", (*texts(str(2**63 - 1)), Range("number", *[2**63 - 1] * 2))),
        (f"id={2**63}", "id", (*texts(str(2**63)), Range("number", *[2.0**63] * 2))),
        ("id=1e999", "id", texts("1e999")),
        ("id=nan", "id", texts("nan")),
        ("key=a\\b", "key", texts("a\\b", "a/b")),
        (
            "key^=val/,x",
            "key",
            tuple(Range("text", p, f"{p}\U0010ffff", excludes_high=True) for p in ("val/", "x")),
        ),
    ],
)  # fmt: skip
def test_a_clause_is_read(written: str, field: str, ranges: tuple[Range, ...]) -> None:
    (clause,) = parse_filter([written])
    assert (clause.field, clause.ranges, clause.excludes) == (field, ranges, False)
    assert clause.text == written.strip()


def test_words_and_phrases_are_read() -> None:
    (clause,) = parse_filter([' caption ~ surf, "surf board" ,"7"'])
    assert clause.text == 'caption ~ surf, "surf board" ,"7"'
    assert (clause.field, clause.phrases) == ("caption", ("surf", "surf board", "7"))
    assert (clause.ranges, clause.excludes) == ((), False)


def test_not_equal_excludes_what_equal_finds() -> None:
    (equal,), (other,) = parse_filter(["a=b,4..5"]), parse_filter(["a!=b,4..5"])
    assert (equal.ranges, equal.excludes, other.ranges, other.excludes) == (
        other.ranges, False, other.ranges, True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("written", "problem"),
    [
        ("", "is no filter"),
        ("category", "is no filter"),
        ("=dog", "is no filter"),
        ("category==dog", "value is missing"),
        ("category=", "value is missing after category="),
        ("category=dog,", "value is missing after category=dog,"),
        ("category=hot dog", "double quotes"),
        ('category="hot dog', "value is missing"),
        ('category="hot"dog', "double quotes"),
        ("licence=4..", "value is missing"),
        ("licence=4..5..6", "double quotes"),
        ("licence=..5", "value is missing"),
        ("licence=5..4", "5 is above 4"),
        ("area=.5..1e-2,2", ".5 is above 1e-2"),
        ("name=b..a", "b is above a"),
        ("width=>640", "value is missing after width="),
        ("width>=4..5", "takes one value"),
        ("width>=4,5", "takes one value"),
        ("key^=a..b", "takes one value"),
        ("caption~", "value is missing"),
        ("caption~surf board", "double quotes"),
        ("caption~surf..board", "~ takes words"),
        ('caption~dog,"!"', "without a letter or digit"),
        ("a=" + "x" * 999, "1,001 characters"),
    ],
)
def test_what_is_no_clause_is_refused(written: str, problem: str) -> None:
    with pytest.raises(InvalidQuery, match=problem) as refused:
        parse_filter([written])
    assert refused.value.hint


def test_the_length_and_the_number_of_clauses_are_limited() -> None:
    assert len(parse_filter(["a=" + "x" * 998] * 16)) == 16
    with pytest.raises(InvalidQuery, match="17 clauses; the limit is 16"):
        parse_filter(["a=b"] * 17)


def test_names_of_fields_are_read_and_refused() -> None:
    assert parse_names('category, licence,"a,b",count.hot dog') == [
        "category", "licence", "a,b", "count.hot dog",
    ]  # fmt: skip
    for text in ("", ",", "category,", "category=dog", '"a"b'):
        with pytest.raises(InvalidQuery, match="no list of fields"):
            parse_names(text)
    assert len(parse_names("a," * 15 + "a")) == 16
    with pytest.raises(InvalidQuery, match="17 fields are to be counted; the limit is 16"):
        parse_names("a," * 16 + "a")


def described(choice: random.Random) -> dict[str, Any]:
    categories = choice.choices(CATEGORIES, weights=range(7, 0, -1), k=choice.randrange(4))
    found = {
        "category": categories,
        "licence": choice.choice([1, 2, 3, 4, 5, "4", 2.5]),
        "area": [round(choice.random(), 2) for _ in categories],
        "iscrowd": choice.random() < 0.2,
        "captured": f"2013-11-{choice.randrange(10, 30)}",
        "rare": choice.randrange(100),
    }
    return {name: found[name] for name in choice.sample(sorted(found), choice.randrange(3, 7))}


@pytest.fixture(scope="module")
def searcher(tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    """A version of 900 images in several layers, with both modes."""
    from indexer.build.derive import derive
    from indexer.config import IndexConfig
    from indexer.search import EncoderSpec
    from indexer.store import Store
    from indexer.vector_index import flat_file

    folder, choice = tmp_path_factory.mktemp("filters"), random.Random(3)  # noqa: S311
    spec = EncoderSpec(
        model="test", layer="none", weights="random:0", weights_sha256="0", dim=64,
        preprocessing="none",
    )  # fmt: skip
    index = IndexConfig(approximate="IVF8,SQ8")
    with open_writer(Store(folder / "store")) as writer:
        for start, count in ((0, 800), (800, 90), (890, 10)):
            keys = [
                f"{choice.choice(('train/a', 'train', 'val'))}/{start + n}.jpg"
                for n in range(count)
            ]
            images = [
                NewImage(
                    key, choice.randrange(10**5), 1, "ab", choice.choice(("JPEG", "PNG")),
                    choice.randrange(300, 700), choice.randrange(300, 700), described(choice),
                )
                for key in keys
            ]  # fmt: skip
            vectors = flat_file(photo_like(count, seed=start, dim=64))
            writer.commit(images, vectors, [], dim=64, fingerprint=spec.fingerprint)
            draft = writer.begin()
            derived = derive(draft, writer, index, 64)
            version = writer.publish(
                draft,
                derived.structures,
                fingerprint=spec.fingerprint,
                encoder=spec.model_dump(),
                dim=64,
                dataset=Config().dataset,
                index=index,
            )
    assert len(version.manifest.layers) == 3
    return Searcher(version, Config(store=folder / "store"))


def values_of(row: ImageRow, name: str) -> list[Any]:
    own = {
        "key": row.key, "folder": row.key.rpartition("/")[0], "width": row.width,
        "height": row.height, "format": row.format, "size": row.size,
    }  # fmt: skip
    value = own.get(name, row.metadata.get(name, []))
    return value if isinstance(value, list) else [value]


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


Check = Callable[[Any], bool]


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def words_of(value: object) -> str:
    """The words of a text without accents, each between blanks; nothing of another value."""
    letters = unicodedata.normalize("NFD", value) if isinstance(value, str) else ""
    return f" {re.sub(r'[^a-z0-9]+', ' ', letters.replace(chr(0x301), '').lower())} "


def random_clause(choice: random.Random) -> tuple[str, Callable[[ImageRow], bool]]:
    """A clause, and whether a row passes it: in plain Python, from the JSON alone."""
    name = choice.choice(FIELDS)
    operator = choice.choice(("=", "!=", "list", "..", ">=", "<", "<=", ">", "^=", "~"))
    if operator == "~" and name in ("category", "captured"):
        phrases = choice.sample(("dog", "Hot dog", "bus", "malaga", "7", "2013", "11 1"), 2)
        looked_for = [words_of(phrase) for phrase in phrases]
        says = lambda v: any(phrase in words_of(v) for phrase in looked_for)  # noqa: E731
        text = f"{name}~{','.join(map(quoted, phrases))}"
        return text, lambda row: any(map(says, values_of(row, name)))
    if operator in (">=", "<", "<=", ">") and name != "iscrowd":
        if name in ("captured", "key", "folder", "format", "category"):
            bound: Any = choice.choice(("2013-11-17", "train/a/5", "train", "JPEG", "dog"))
            written = choice.choice((bound, quoted(bound)))
            same = lambda value: isinstance(value, str)  # noqa: E731
        else:
            bound = choice.choice((2, 3.5, 0.25, 480, 50_000))
            written, same = str(bound), is_number
        compare: Check = {
            ">=": lambda v: v >= bound, "<": lambda v: v < bound,
            "<=": lambda v: v <= bound, ">": lambda v: v > bound,
        }[operator]  # fmt: skip
        text = f"{name}{operator}{written}"
        return text, lambda row: any(same(v) and compare(v) for v in values_of(row, name))
    if operator == ".." and name in ("licence", "area", "width", "size", "rare"):
        low, high = sorted(choice.choices((0, 0.3, 2, 4, 5, 20, 400, 500, 10**4, 10**5), k=2))
        inside = lambda v: is_number(v) and low <= v <= high  # noqa: E731
        return f"{name}={low}..{high}", lambda row: any(map(inside, values_of(row, name)))
    if operator == "^=" and name in ("category", "captured", "key", "folder", "format"):
        prefix = choice.choice(("train/", "train/a/1", "val", "2013-11-2", "hot", "d", ""))
        begins = lambda v: isinstance(v, str) and v.startswith(prefix)  # noqa: E731
        return f"{name}^={quoted(prefix)}", lambda row: any(map(begins, values_of(row, name)))
    pool: Mapping[str, Sequence[tuple[str, Any]]] = {
        "category": [(quoted(one), one) for one in CATEGORIES] + [("dog", "dog"), ("7", "7")],
        "licence": [("4", 4), ('"4"', "4"), ("2.5", 2.5), ("1", 1)],
        "area": [(str(n / 100), n / 100) for n in range(0, 100, 7)],
        "iscrowd": [("true", True), ("false", False)],
        "captured": [(f"2013-11-{n}", f"2013-11-{n}") for n in range(9, 30)],
        "key": [("train/7.jpg", "train/7.jpg"), ("val/100.jpg", "val/100.jpg")],
        "folder": [("train", "train"), ("train/a", "train/a"), ("val", "val")],
        "format": [("JPEG", "JPEG"), ("PNG", "PNG"), ("GIF", "GIF")],
    }
    numbers = [(str(n), n) for n in (400, 480, 55, 7)]
    some = choice.sample(list(pool.get(name, numbers)), 2 if operator == "list" else 1)

    def equals(value: object) -> bool:
        return any(
            (value == wanted and isinstance(value, bool) == isinstance(wanted, bool))
            or (is_number(wanted) and value == written)
            for written, wanted in some
        )

    sign = "!=" if operator == "!=" or choice.random() < 0.3 else "="
    text = f"{name}{sign}{','.join(written for written, _ in some)}"
    return text, lambda row: any(map(equals, values_of(row, name))) == (sign == "=")


def test_random_filters_equal_the_json_and_give_as_many_results_as_exist(
    searcher: Searcher,
) -> None:
    choice, k = random.Random(8), 30  # noqa: S311
    rows = list(searcher._version.catalogue.rows("indexed"))
    sizes = []
    for number in range(300):
        pairs = [random_clause(choice) for _ in range(choice.choice((1, 1, 2, 2, 3)))]
        filter_ = [text for text, _ in pairs]
        passing = [row.id for row in rows if all(passes(row) for _, passes in pairs)]
        assert searcher.collection.matching(filter_).tolist() == passing, filter_
        sizes.append(len(passing))
        for mode in ("exact", "approximate") if number % 5 == 0 else ():
            found = searcher.search(
                Query(image_id=choice.randrange(1, 900)),
                Selection(k=k, mode=mode, filter=filter_),  # type: ignore[arg-type]
            )
            ids = [hit.image.id for hit in found.hits]
            assert len(ids) == min(k, len(passing)), filter_
            assert set(ids) <= set(passing)
            if mode == "exact":
                features = searcher.collection.features(passing)
                nearest = np.sort(np.linalg.norm(features - found.vector, axis=1))[:k]
                np.testing.assert_allclose([hit.distance for hit in found.hits], nearest, atol=1e-5)
    assert np.mean([0 < size < 900 for size in sizes]) > 0.5


def test_a_missing_value_is_not_equal(searcher: Searcher) -> None:
    others = searcher.collection.matching(["category!=person"])
    assert any(
        "category" not in row.metadata for row in searcher.collection.images(others).values()
    )


def test_an_unknown_field_is_refused_with_those_that_are_known(searcher: Searcher) -> None:
    with pytest.raises(InvalidQuery, match="No image has a field colour") as refused:
        searcher.search(Query(image_id=1), Selection(filter=["colour=red"]))
    assert refused.value.hint.startswith("Fields: folder, format, height, key, size, width, ")
    assert {"category", "rare"} <= set(refused.value.hint.strip(".").replace(",", "").split())
    with pytest.raises(InvalidQuery, match="No image has a field colour"):
        searcher.search(Query(image_id=1), Selection(facets=["colour"]))


@pytest.mark.parametrize(
    ("written", "holds"),
    [
        ("captured>=2013", "captured holds text"),
        ("width=wide", "width holds numbers"),
        ("width>=wide", "width holds numbers"),
        ("iscrowd=1", "iscrowd holds true or false"),
        ("licence!=true", None),
    ],
)
def test_a_value_that_a_field_never_holds_is_refused(
    searcher: Searcher, written: str, holds: str | None
) -> None:
    if holds is None:
        assert len(searcher.collection.matching([written])) == len(searcher.collection)
        return
    with pytest.raises(InvalidQuery, match=holds):
        searcher.collection.matching([written])


@pytest.mark.parametrize("name", ["key", "width", "iscrowd"])
def test_words_are_searched_in_texts_of_the_metadata(searcher: Searcher, name: str) -> None:
    with pytest.raises(InvalidQuery, match=f"{name} has no texts") as refused:
        searcher.collection.matching([f"{name}~7"])
    assert "captured, category, licence" in refused.value.hint
    with pytest.raises(InvalidQuery, match="No image has a field colour"):
        searcher.collection.matching(["colour~red"])


def test_a_wrong_filter_is_refused_before_the_image_is_encoded(
    searcher: Searcher, photos: list[Path]
) -> None:
    with pytest.raises(InvalidQuery, match="is no filter"):
        searcher.search(Query(image=photos[0].read_bytes()), Selection(filter=["dog"]))
    assert not searcher.encoder_is_loaded


def test_facets_count_all_images_that_pass(searcher: Searcher) -> None:
    selection = Selection(k=3, filter=["category=dog"], facets=["category", "format"])
    answer = searcher.search(Query(image_id=5), selection)
    rows = searcher.collection.images(searcher.collection.matching(["category=dog"])).values()
    for name, facet in answer.facets.items():
        counts = {v: sum(v in values_of(row, name) for row in rows) for v in (*CATEGORIES, "PNG")}
        shown = {one.value: one.count for one in facet.values}
        assert {v: n for v, n in counts.items() if n} == {
            v: n for v, n in shown.items() if v in counts
        }
        assert sorted(shown.values(), reverse=True) == list(shown.values())
        assert facet.others == 0
    everything = searcher.collection.facets(["rare", "key"])
    assert (len(everything["key"].values), everything["key"].others) == (100, 800)
