"""Stores of the same images side by side."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from indexer.analysis import evaluate
from indexer.analysis.evaluation.report import html
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import InvalidQuery, NoPublishedIndex
from indexer.store import NewImage, Store, open_writer
from indexer.vector_index import flat_file
from indexer.vector_index.base import Vectors
from tests.stores import DIM, publish
from tests.vectors import unit

IMAGES = 60
TAGS = [f"tag {n % 3}" for n in range(IMAGES)]


def store_of(folder: Path, vectors: Vectors, contents: Sequence[int]) -> Config:
    """Publish images with these contents, of which each has a vector and a tag."""
    images = [
        NewImage(f"{folder.name}/{n}.jpg", 1, 1, str(one), "JPEG", 1, 1, {"tag": TAGS[one]})
        for n, one in enumerate(contents)
    ]
    with open_writer(Store(folder)) as writer:
        writer.commit(images, flat_file(vectors[contents]), [], dim=DIM, fingerprint="e1")
        publish(writer)
    return Config(store=folder)


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    return unit(np.random.default_rng(21).normal(size=(IMAGES, DIM)))


@pytest.fixture(scope="module")
def better() -> Vectors:
    """Vectors of another encoder, whose first coordinates tell the tags apart."""
    random = np.random.default_rng(22).normal(size=(IMAGES, DIM))
    random[np.arange(IMAGES), np.arange(IMAGES) % 3] += 3
    return unit(random)


def test_each_store_scores_as_it_does_alone(
    tmp_path: Path, vectors: Vectors, better: Vectors
) -> None:
    first = store_of(tmp_path / "a", vectors, range(IMAGES))
    other = store_of(tmp_path / "b", better, np.random.default_rng(1).permutation(IMAGES).tolist())
    found = evaluate(first, by="tag", beside=[other.store])
    alone = evaluate(other, by="tag")
    (beside,) = found.beside
    assert (beside.store, beside.only, found.only) == ("b", 0, 0)
    for mine, theirs, difference, lone in zip(
        found.scores, beside.scores, beside.differences, alone.scores, strict=True
    ):
        assert theirs.mean.value == pytest.approx(lone.mean.value)
        assert difference.value == pytest.approx(lone.mean.value - mine.mean.value)
        assert 0 < difference.low < difference.value < difference.high
    assert beside.own_difference.value == pytest.approx(alone.own.value - found.own.value)
    assert evaluate(first, by="tag").scores == found.scores


def test_the_interval_of_a_difference_is_that_of_paired_queries(
    tmp_path: Path, vectors: Vectors
) -> None:
    first = store_of(tmp_path / "a", vectors, range(IMAGES))
    same = store_of(tmp_path / "b", vectors, range(IMAGES))
    (beside,) = evaluate(first, by="tag", beside=[same.store]).beside
    assert {*beside.differences, beside.own_difference} == {(0, 0, 0)}


def test_images_that_one_store_lacks_are_left_out_and_counted(
    tmp_path: Path, vectors: Vectors, better: Vectors
) -> None:
    first = store_of(tmp_path / "a", vectors, range(50))
    other = store_of(tmp_path / "b", better, range(10, IMAGES))
    third = store_of(tmp_path / "c", better, range(5, 45))
    found = evaluate(first, by="tag", beside=[other.store, third.store])
    common = evaluate(store_of(tmp_path / "d", vectors, range(10, 45)), by="tag")
    assert (found.images, found.queries, found.only) == (35, 35, 15)
    assert [one.only for one in found.beside] == [15, 5]
    assert [one.mean for one in found.scores] == [one.mean for one in common.scores]
    assert "15 others are not in all stores" in found.note
    assert "15 images that only it has were left out" in html(found, lambda *_: b"")


def test_files_with_equal_contents_are_as_many_as_each_store_has(
    tmp_path: Path, vectors: Vectors
) -> None:
    first = store_of(tmp_path / "a", vectors, [0, 0, 0, 1, 3, 4])
    other = store_of(tmp_path / "b", vectors, [4, 3, 1, 0, 0])
    found = evaluate(first, by="tag", beside=[other.store])
    assert (found.images, found.only, found.beside[0].only) == (5, 1, 0)


def test_stores_of_other_images_are_refused(tmp_path: Path, vectors: Vectors) -> None:
    first = store_of(tmp_path / "a", vectors, range(30))
    other = store_of(tmp_path / "b", vectors, range(30, IMAGES))
    with pytest.raises(InvalidQuery, match=r"No image of the index is in .*/b as well"):
        evaluate(first, by="tag", beside=[other.store])
    with pytest.raises(NoPublishedIndex, match=r"no index in .*/nowhere yet"):
        evaluate(first, by="tag", beside=[tmp_path / "nowhere"])


def test_the_command_line_prints_both_and_their_difference(
    tmp_path: Path, vectors: Vectors, better: Vectors, capsys: pytest.CaptureFixture[str]
) -> None:
    first = store_of(tmp_path / "a", vectors, range(IMAGES))
    other = store_of(tmp_path / "b", better, range(IMAGES))
    command = ["evaluate", f"--store={first.store}", "--by=tag", f"--beside={other.store}"]
    assert main(command) == 0
    text = capsys.readouterr().out
    assert "b: test None, version 00000001, the same images." in text
    assert "(+" in text
    assert main([*command, "--markdown"]) == 0
    assert "|  | first | b | difference |" in capsys.readouterr().out
