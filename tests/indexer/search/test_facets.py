"""Facets: which fields are counted without being asked for, and the clauses of their values."""

from pathlib import Path
from typing import Any

import pytest

from indexer.search import equal_clause, name_text, parse_filter, parse_names
from indexer.search.facets import telling_fields
from indexer.store import NewImage, Store, Version, Writer, open_writer
from indexer.vector_index import flat_file
from tests.stores import DIM, publish
from tests.vectors import photo_like

NAMES = ["category", "count.hot dog", "a=b", 'say "x"', "a,b", " x", "a~b", '"', "é", ""]
VALUES = [
    "dog", "hot dog", "a,b", 'a "red" bus', "", " dog", "4", "1e3", "true", "a..b", "=x", "x=y",
    "val2017/", "~", "Málaga", 4, -7, 0.25, 1e-9, 1e300, 2**63 - 1, True, False,
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES)
def test_the_clause_of_a_value_asks_for_that_value(value: str | int | float | bool) -> None:
    for name in filter(None, NAMES):
        (clause,) = parse_filter([equal_clause(name, value)])
        assert clause.field == name
        assert (type(value), value) in [(type(one.low), one.low) for one in clause.ranges]
        if isinstance(value, str):
            assert {one.kind for one in clause.ranges} == {"text"}


def test_names_are_quoted_only_where_they_must_be() -> None:
    assert parse_names(",".join(map(name_text, NAMES))) == NAMES
    assert [name_text(name) for name in NAMES[:3]] == ["category", "count.hot dog", '"a=b"']
    assert equal_clause("category", "hot dog") == 'category="hot dog"'
    assert equal_clause("licence", 4) == "licence=4"


def described(number: int) -> dict[str, Any]:
    """The metadata of one of 40 images: what is telling, and what is not."""
    fields = {
        "category": ["cat", f"kind {number % 10}"],
        "split": "val" if number % 4 else "train",
        "licence": number % 5,
        "licence_name": "ABCDE"[number % 5],
        "crowd": number % 3 == 0,
        "caption": f"The picture {number}",
        "dataset": "pets",
        "width": 640,
        "height": number % 2,
        "score": number / 40,
        "stars": number % 6,
    }
    if number < 20:
        fields["half"] = "ab"[number % 2]
    if number < 19:
        fields["rare"] = "ab"[number % 2]
    return fields


def add(writer: Writer, numbers: range) -> Version:
    images = [
        NewImage(
            key=f"{'left' if n % 8 < 3 else 'right'}/{n}.jpg", size=1000 + n, mtime_ns=2,
            sha256="ab", format="JPEG" if n % 8 else "PNG", width=640 if n % 2 else 480, height=480,
            metadata=described(n),
        )
        for n in numbers
    ]  # fmt: skip
    writer.commit(
        images, flat_file(photo_like(len(images), dim=DIM)), (), dim=DIM, fingerprint="e1"
    )
    return publish(writer)


def test_the_telling_fields_have_few_values_that_images_share(tmp_path: Path) -> None:
    """Texts first, more values first; not texts of one image or of all, measures, rare fields.

    The licence stands for its name, which divides the images alike.
    """
    with open_writer(Store(tmp_path)) as writer:
        for numbers in (range(36), range(36, 40)):
            version = add(writer, numbers)
    assert len(version.manifest.layers) == 2
    index = version.catalogue.metadata
    assert telling_fields(index, 40) == [
        "category", "licence", "half", "split", "folder", "format", "crowd", "stars",
    ]  # fmt: skip
    assert telling_fields(index, 41)[2] == "split"  # 20 of 41 are less than half
    assert index.spread("category", 11) is not None
    assert index.spread("category", 10) is None
    assert sorted(index.spread("split", 2) or ()) == [10, 30]
    assert telling_fields(index, 40 * 100) == []


def test_numbers_with_many_values_are_measures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(Store(tmp_path)) as writer:
        index = add(writer, range(40)).catalogue.metadata
    monkeypatch.setattr("indexer.search.facets.MAX_NUMBERS", 6)
    assert "stars" in telling_fields(index, 40)
    monkeypatch.setattr("indexer.search.facets.MAX_NUMBERS", 5)
    assert "stars" not in telling_fields(index, 40)


def test_a_field_without_common_values_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_writer(Store(tmp_path)) as writer:
        index = add(writer, range(40)).catalogue.metadata
    monkeypatch.setattr("indexer.search.facets.COMMON", 1)
    monkeypatch.setattr("indexer.search.facets.MIN_COMMON", 0.2)
    assert telling_fields(index, 40)[:2] == ["category", "licence"]
    monkeypatch.setattr("indexer.search.facets.MIN_COMMON", 0.21)  # the licences are a fifth each
    assert telling_fields(index, 40) == [
        "category", "half", "split", "folder", "format", "crowd", "licence", "stars",
    ]  # fmt: skip
