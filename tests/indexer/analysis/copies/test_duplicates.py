"""Duplicates: real photographs saved again, identical files, and groups of made-up vectors."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from indexer.analysis import find_duplicates, graph, make_graph
from indexer.analysis.copies import confirmation
from indexer.analysis.copies.confirmation import Pictures
from indexer.build import build
from indexer.cli.parser import main
from indexer.cli.reports import save_for_page
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery, NoGraph
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
    kinds = {group.kind for group in found.groups if first.name in {g.key for g in group.images}}
    assert kinds == {"identical"}
    assert sorted(group.kind for group in found.groups) == ["identical", "same", "same"]
    words = {one.key: one.changes for one in found.copies}
    assert words["saved again.jpg"] == ["recompressed"]
    assert found.compared == 4
    for group in found.groups:
        best, other = group.images
        assert (best.distance, best.kind, other.kind) == (0, group.kind, group.kind)
        assert best.mtime is not None
        assert best.mtime.endswith("+00:00")
        sizes = [((one.width or 0) * (one.height or 0), one.bytes or 0) for one in (best, other)]
        assert sizes[0] >= sizes[1]
        assert other.distance <= found.limit.within
    assert found.limit.is_suggested
    assert "of which a third was taken" in found.notes[0]
    assert found.summary == (
        "3 groups with 3 copies, 1 of them identical, and 0 groups of similar pictures, among 12 "
        "images"
    )


def test_a_border_makes_no_copy_better_unless_it_shows_more(
    tmp_path: Path, photos: list[Path]
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name, photo in zip(("whole", "half"), photos[10::50], strict=False):
        with Image.open(photo) as image:
            ImageOps.expand(image, 20).save(images / f"{name} with border.jpg")
            divisor = 1 if name == "whole" else 2
            image.resize((image.width // divisor, image.height // divisor)).save(
                images / f"{name}.jpg"
            )
    config = small_config(images, tmp_path / "store")
    build(config)
    make_graph(config)
    groups = find_duplicates(config).groups
    assert {tuple(one.key for one in group.images) for group in groups} == {
        ("whole.jpg", "whole with border.jpg"),
        ("half with border.jpg", "half.jpg"),
    }


def test_none_may_be_found(photographs: Config) -> None:
    found = find_duplicates(photographs, 0)
    assert replace(found, groups=[]).summary == "no duplicates among 12 images"


def test_the_distance_decides(photographs: Config) -> None:
    everything = find_duplicates(photographs, 2)
    assert [(g.kind, len(g.images)) for g in everything.groups[3:]] == [("similar", 9)]
    copies = {one.key for one in everything.copies}
    assert len(copies) == 3
    assert not copies & {one.key for one in everything.groups[3].images}
    assert [g.kind for g in find_duplicates(photographs, 0).groups] == [
        g.kind for g in everything.groups[:3]
    ]
    assert everything.limit.chance == 1
    for within in (-0.1, 2.1):
        with pytest.raises(ConfigError, match="--within"):
            find_duplicates(photographs, within)


def made_up(folder: Path, vectors: Vectors, contents: str, names: Sequence[str] = ()) -> Config:
    """Make the graph of images with these contents; the field part is their folder."""
    given = dict(enumerate(names))
    images = [
        NewImage(key, 1, 1, one, "JPEG", 1, 1, {"part": key.partition("/")[0]})
        for key, one in ((given.get(n, f"{n}.jpg"), one) for n, one in enumerate(contents))
    ]
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
    assert keys(config, 0.11) == [{"5.jpg", "6.jpg"}, {"0.jpg", "1.jpg", "2.jpg", "3.jpg"}]
    assert [group.kind for group in found.groups] == ["identical", "similar"]
    assert [round(one.distance, 2) for one in found.groups[1].images] == [0, 0.1, 0.2, 0.3]
    assert found.crowded == 0
    assert keys(config, 0.09) == [{"5.jpg", "6.jpg"}]


def test_it_says_if_the_graph_may_have_too_few_neighbours(tmp_path: Path) -> None:
    vectors = np.repeat(unit(np.random.default_rng(1).normal(size=(2, DIM))), 6, axis=0)
    config = made_up(tmp_path, vectors, "abcdefghijkl")
    found = find_duplicates(config, 0.01)
    assert [len(group.images) for group in found.groups] == [6, 6]
    assert found.crowded == 12
    assert "lookalike graph --k" in found.notes[2]


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
    assert sorted(group["kind"] for group in report["groups"]) == ["identical", "same", "same"]
    saved = read_report(Store(photographs.store), "duplicates")
    assert saved is not None
    assert saved.found == report


def test_what_could_be_removed_is_written_to_a_file(
    photographs: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "remove.txt"
    everything = ["--within", "2", "--remove-list", str(file)]
    assert main(["duplicates", f"--store={photographs.store}", *everything]) == 0
    removed = file.read_text().splitlines()
    assert removed == [one.key for one in find_duplicates(photographs).copies]
    assert len(removed) == 3
    assert all((photographs.dataset.roots[0] / key).exists() for key in removed)
    assert capsys.readouterr().out.endswith("nothing was deleted\n")


def test_keys_that_contain_line_breaks_are_left_out_of_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = unit(np.random.default_rng(1).normal(size=(5, DIM)))
    config = made_up(tmp_path / "store", vectors, "aaabc", names=["1", "2\n3", "4\u2028 é"])
    file = tmp_path / "remove.txt"
    assert main(["duplicates", f"--store={config.store}", f"--remove-list={file}", "--json"]) == 0
    assert file.read_bytes() == "4\u2028 é\n".encode()
    assert "remove.txt: 1 keys that contain line breaks." in capsys.readouterr().err


def test_new_images_are_compared_only_with_a_reference(tmp_path: Path) -> None:
    angles = np.array([0, 0.5, 0.01, 0.02, 0.5, 0.52, 2])
    vectors = np.zeros((7, DIM))
    vectors[:, 0], vectors[:, 1] = np.cos(angles), np.sin(angles)
    names = ["old/0", "old/1", "new/2", "new/3", "new/4", "new/5", "new/6"]
    config = made_up(tmp_path, unit(vectors), "abcdbcc", names=names)
    found = find_duplicates(config, 0.1, reference=["part=old"], new=["part=new"])
    assert [(group.kind, [one.key for one in group.images]) for group in found.groups] == [
        ("identical", ["old/1", "new/4"]),
        ("similar", ["old/0", "new/2", "new/3"]),
        ("similar", ["old/1", "new/5"]),
    ]
    assert [one.key for one in found.copies] == ["new/4"]
    assert found.images == 7
    assert found.notes[0].startswith("Images with part=new were compared with those with part=old,")
    assert keys(config, 0)[0] == {"new/2", "new/5", "new/6"}  # without a reference
    with pytest.raises(InvalidQuery, match="one of both is missing"):
        find_duplicates(config, reference=["part=old"])


def test_without_opencv_only_identical_files_are_copies(
    photographs: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confirmation, "find_spec", lambda _name: None)
    found = find_duplicates(photographs)
    assert [group.kind for group in found.groups] == ["identical", "similar", "similar"]
    assert found.compared is None
    assert "pip install 'lookalike[geometry]'" in found.notes[1]


def test_pictures_that_cannot_be_read_are_unknown(photographs: Config, tmp_path: Path) -> None:
    root = tmp_path / "images"
    shutil.copytree(photographs.dataset.roots[0], root)
    (root / "saved again.jpg").write_bytes(b"no picture")
    config = photographs.model_copy(update={"store": tmp_path / "store"})
    shutil.copytree(photographs.store, config.store)
    dataset = config.dataset.model_copy(update={"root": root})
    photographs.dataset.roots[0].rename(away := tmp_path / "away")
    try:
        found = find_duplicates(config.model_copy(update={"dataset": dataset}))
        none = find_duplicates(config)
    finally:
        away.rename(photographs.dataset.roots[0])
    assert (found.compared, found.unread) == (4, 1)
    assert "1 of 4 pictures that were to be compared could not be read" in found.notes[1]
    assert found.notes[1].endswith(
        "The first: The image file saved again.jpg has changed since it was indexed."
    )
    assert sorted(group.kind for group in found.groups) == ["identical", "same", "similar"]
    unread = {
        one.key for g in found.groups for one in g.images if "could not be read" in one.changes
    }
    assert unread == {"saved again.jpg"}
    assert (none.compared, none.unread) == (4, 4)
    assert "No picture could be read" in none.notes[1]
    assert "dataset.root" in none.notes[1]
    assert "The first: The image file " in none.notes[1]


def test_each_picture_is_read_once_if_those_that_follow_need_it(
    photographs: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = Store(photographs.store).open_published()
    ids = [row.id for row in version.catalogue.page_by_key("indexed", offset=0, limit=12)]
    monkeypatch.setattr(confirmation, "PICTURES", 4)
    monkeypatch.setattr(confirmation, "PAIRS", 2)
    for pairs, read in ((list(pairwise(ids)), 12), ([(ids[0], other) for other in ids], 12)):
        with closing(Pictures(version, photographs)) as pictures:
            assert len([*pictures.fits(pairs)]) == len(pairs)
            assert pictures.read == read
    with closing(Pictures(version, photographs)) as pictures:
        assert len([*pictures.fits([*pairwise(ids), *pairwise(ids)])]) == 22
        assert 12 < pictures.read <= 24


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


def test_what_was_found_is_kept_although_its_version_is_gone(
    photographs: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    found = replace(find_duplicates(photographs), version="00000009")
    save_for_page(photographs, "duplicates", found)
    assert "Not saved for the page: " in capsys.readouterr().err


def test_a_missing_graph_is_made_first_like_the_one_before(
    published: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    config = small_config(published.folder, published.folder)
    with pytest.raises(NoGraph):
        find_duplicates(config)
    assert main(["outliers", f"--store={config.store}"]) == 0
    made = "has no neighbour graph. Making it: the 50 nearest others of every image, exact."
    printed = capsys.readouterr()
    assert f"Version 00000001 {made}" in printed.err
    assert "graph: all others of each of" in printed.err
    assert main(["outliers", f"--store={config.store}"]) == 0
    assert capsys.readouterr() == (printed.out, "")
    make_graph(config, k=2)
    with open_writer(published) as writer:
        publish(writer)
    assert main(["duplicates", f"--store={config.store}", "--json"]) == 0
    printed = capsys.readouterr()
    assert "Version 00000002 has no neighbour graph. Making it: the 2 nearest" in printed.err
    assert json.loads(printed.out)["version"] == "00000002"


def test_where_the_store_cannot_be_written_it_says_how_to_make_the_graph(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(graph, "is_writable", lambda _folder: False)
    for verb in (["duplicates"], ["suspects"], ["outliers"]):
        assert main([*verb, f"--store={demo_config.store}"]) == 1
        printed = capsys.readouterr()
        assert "Make it with: lookalike graph" in printed.err
        assert printed.out == ""
