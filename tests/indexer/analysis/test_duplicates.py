"""Duplicates: real photographs saved again, identical files, and groups of made-up vectors."""

import csv
import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.analysis import find_duplicates, make_graph
from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ConfigError, NoGraph
from indexer.store import NewImage, Store, open_writer, read_report
from indexer.vector_index import flat_file
from indexer.vector_index.base import Vectors
from tests.conftest import DEMO_IMAGES, small_config
from tests.stores import DIM, publish
from tests.vectors import unit


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory, photos: list[Path]) -> Config:
    """A graph of twelve photographs, among them one in two sizes, one saved again, one copied."""
    folder = tmp_path_factory.mktemp("duplicates")
    images = folder / "images"
    images.mkdir()
    for photo in photos[3::21][:8]:
        shutil.copy(photo, images / f"{photo.parent.name}-{photo.name}")
    for name in ("categorization_colosseum", "explore_monuments_colosseum"):
        shutil.copy(DEMO_IMAGES / "monument" / f"{name}.jpg", images)
    first, second, *_ = sorted(images.glob("[!ce]*.jpg"))
    shutil.copy(first, images / "=copy.jpg")
    with Image.open(second) as image:
        image.save(images / "saved again.jpg", quality=60)
    config = small_config(images, folder / "store")
    build(config)
    make_graph(config)
    return config


def keys(config: Config, within: float | None = None) -> list[set[str]]:
    return [{one.key for one in g.images} for g in find_duplicates(config, within).groups]


def test_photographs_that_were_saved_again_or_copied_are_found(photographs: Config) -> None:
    found = find_duplicates(photographs)
    first, second = sorted(photographs.dataset.roots[0].glob("[!ce=s]*.jpg"))[:2]
    assert {frozenset(one.key for one in group.images) for group in found.groups} == {
        frozenset({"=copy.jpg", first.name}),
        frozenset({second.name, "saved again.jpg"}),
        frozenset({"categorization_colosseum.jpg", "explore_monuments_colosseum.jpg"}),
    }
    assert [g.kind for g in found.groups if first.name in {one.key for one in g.images}] == [
        "identical"
    ]
    for group in found.groups:
        best, other = group.images
        assert (best.distance, best.is_identical) == (0, True)
        sizes = [((one.width or 0) * (one.height or 0), one.bytes or 0) for one in (best, other)]
        assert sizes[0] >= sizes[1]
        assert other.distance <= found.limit.within
    assert found.limit.is_suggested
    assert "of which a third was taken" in found.notes[0]
    assert found.summary == "3 groups with 3 copies, 1 of them identical, among 12 images"


def test_none_may_be_found(photographs: Config) -> None:
    found = find_duplicates(photographs, 0)
    assert replace(found, groups=[]).summary == "no duplicates among 12 images"


def test_the_distance_decides(photographs: Config) -> None:
    assert [g.kind for g in find_duplicates(photographs, 0).groups] == ["identical"]
    everything = find_duplicates(photographs, 2)
    assert [len(group.images) for group in everything.groups] == [12]
    assert everything.limit.chance == 1
    for within in (-0.1, 2.1):
        with pytest.raises(ConfigError, match="--within"):
            find_duplicates(photographs, within)


def made_up(folder: Path, vectors: Vectors, contents: str) -> Config:
    images = [NewImage(f"{n}.jpg", 1, 1, one, "JPEG", 1, 1) for n, one in enumerate(contents)]
    with open_writer(Store(folder)) as writer:
        writer.commit(images, flat_file(vectors), [], dim=DIM, fingerprint="e1")
        publish(writer)
    config = Config(store=folder)
    make_graph(config, k=3)
    return config


def test_chains_are_one_group_and_identical_files_count_however_far_apart(tmp_path: Path) -> None:
    angles = np.array([0, 0.1, 0.2, 0.3, 1.5, 2.5, 3.0])
    vectors = np.zeros((7, DIM))
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    config = made_up(tmp_path, unit(vectors), "abcdeff")
    found = find_duplicates(config, 0.11)
    assert keys(config, 0.11) == [{"0.jpg", "1.jpg", "2.jpg", "3.jpg"}, {"5.jpg", "6.jpg"}]
    assert [group.kind for group in found.groups] == ["near", "identical"]
    assert [round(one.distance, 2) for one in found.groups[0].images] == [0, 0.1, 0.2, 0.3]
    assert found.crowded == 0
    assert keys(config, 0.09) == [{"5.jpg", "6.jpg"}]


def test_it_says_if_the_graph_may_have_too_few_neighbours(tmp_path: Path) -> None:
    vectors = np.repeat(unit(np.random.default_rng(1).normal(size=(2, DIM))), 6, axis=0)
    config = made_up(tmp_path, vectors, "abcdefghijkl")
    found = find_duplicates(config, 0.01)
    assert [len(group.images) for group in found.groups] == [6, 6]
    assert found.crowded == 12
    assert "lookalike graph --k" in found.notes[1]


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_collections(tmp_path: Path, count: int) -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(count, DIM)))
    assert keys(made_up(tmp_path, vectors, "ab"[:count])) == []


def test_boxes_that_overlap_in_one_picture_are_no_duplicates(
    boxes_config: Config, tmp_path: Path
) -> None:
    config = boxes_config.model_copy(update={"store": tmp_path / "copy"})
    shutil.copytree(boxes_config.store, config.store)
    make_graph(config)
    assert keys(config, 0.5) == []


def test_the_command_line(photographs: Config, capsys: pytest.CaptureFixture[str]) -> None:
    store = f"--store={photographs.store}"
    assert main(["duplicates", store]) == 0
    text = capsys.readouterr().out
    assert "explore_monuments_colosseum.jpg  256 x 167, 16,057 bytes" in text
    assert text.endswith("among 12 images; nothing was deleted\n")
    assert main(["duplicates", store, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 6
    assert {row["group"] for row in rows} == {"1", "2", "3"}
    assert any(row["key"] == "'=copy.jpg" for row in rows)  # no formula
    assert main(["duplicates", store, "--json", "--within", "0"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["groups"][0]["kind"] == "identical"
    saved = read_report(Store(photographs.store), "duplicates")
    assert saved is not None
    assert saved.found == report


def test_it_says_if_what_was_found_cannot_be_saved(
    published: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store = published
    make_graph(small_config(store.folder, store.folder))
    store.reports.rmdir()
    store.reports.touch()
    assert main(["duplicates", f"--store={store.folder}"]) == 0
    printed = capsys.readouterr()
    assert printed.out.endswith("nothing was deleted\n")
    assert "Not saved for the page: " in printed.err


def test_without_a_graph_it_says_how_to_make_one(
    demo_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(NoGraph):
        find_duplicates(demo_config)
    assert main(["duplicates", f"--store={demo_config.store}"]) == 1
    assert "Make it with: lookalike graph" in capsys.readouterr().err
