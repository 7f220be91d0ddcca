"""Suspects and outliers: wrong labels are found first, and what is far from everything."""

import csv
import io
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import indexer.analysis.suspects
from indexer.analysis import find_outliers, find_suspects, make_graph
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery, NoGraph
from indexer.store import NewImage, Store, open_writer
from indexer.vector_index import flat_file
from indexer.vector_index.base import Vectors
from tests.conftest import ROOT
from tests.stores import DIM, publish
from tests.vectors import unit

COREL = ROOT.parent / "shared" / "corel1k"


def labelled(
    folder: Path, vectors: Vectors, labels: Sequence[object], monkeypatch: pytest.MonkeyPatch
) -> Config:
    """Publish images with labels, None for none, and make their graph."""
    dim = vectors.shape[1]
    monkeypatch.setattr("tests.stores.DIM", dim)
    images = [
        NewImage(f"{n}.jpg", 1, 1, f"{n}", "JPEG", 1, 1, {} if label is None else {"label": label})
        for n, label in enumerate(labels)
    ]
    with open_writer(Store(folder)) as writer:
        writer.commit(images, flat_file(vectors), [], dim=dim, fingerprint="e1")
        publish(writer)
    config = Config(store=folder)
    make_graph(config)
    return config


def three_kinds(count: int = 120) -> tuple[Vectors, list[str]]:
    """Return vectors around three centres, and the letter of the centre of each."""
    random = np.random.default_rng(2)
    kinds = random.integers(0, 3, count)
    centres = np.eye(DIM)[:3]
    return unit(centres[kinds] + random.normal(0, 0.1, (count, DIM))), ["abc"[n] for n in kinds]


def test_wrong_labels_are_found_with_the_right_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, labels = three_kinds()
    right = {n: labels[n] for n in (3, 40, 77)}
    for n in right:
        labels[n] = {"a": "b", "b": "c", "c": "a"}[labels[n]]
    config = labelled(tmp_path, vectors, labels, monkeypatch)
    found = find_suspects(config, by="label")
    assert {int(one.key.split(".")[0]): one.suggested for one in found.suspects} == right
    assert all(one.margin > 0.5 for one in found.suspects)
    assert (found.judged, found.found, found.by) == (120, 3, "label")
    monkeypatch.setattr(indexer.analysis.suspects, "BLOCK_VOTES", 50)
    assert find_suspects(config, by="label") == found
    first = find_suspects(config, by="label", top=1)
    assert first.suspects == found.suspects[:1]
    assert first.summary.endswith("their neighbours, 1 listed")


def test_images_without_labels_neither_vote_nor_are_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, labels = three_kinds()
    given: list[object] = [label if n % 3 else None for n, label in enumerate(labels)]
    given[1] = "x"
    found = find_suspects(labelled(tmp_path, vectors, given, monkeypatch), by="label")
    assert [(one.key, one.labels, one.suggested) for one in found.suspects] == [
        ("1.jpg", ["x"], labels[1])
    ]
    assert found.suspects[0].margin == pytest.approx(1)
    assert found.judged == 80


def test_of_several_labels_the_one_with_the_most_votes_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, labels = three_kinds()
    several: list[object] = [[label, "all"] for label in labels]
    several[5] = "rare"
    several[6] = ["rare", labels[6]]
    found = find_suspects(labelled(tmp_path, vectors, several, monkeypatch), by="label")
    assert found.suspects[0].key == "5.jpg"
    assert found.suspects[0].suggested in {labels[5], "all"}
    assert "6.jpg" not in [one.key for one in found.suspects if one.margin > 0.3]


def test_labels_that_tell_nothing_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, _ = three_kinds(20)
    config = labelled(tmp_path, vectors, ["same"] * 20, monkeypatch)
    with pytest.raises(InvalidQuery, match="the same label"):
        find_suspects(config, by="label")
    with pytest.raises(InvalidQuery, match="one folder"):
        find_suspects(config)
    for find in (find_suspects, find_outliers):
        with pytest.raises(ConfigError, match="--top is 0"):
            find(config, top=0)


def auc(is_wrong: np.ndarray, rank: np.ndarray) -> float:
    """Return the chance that a wrong label is ranked before a right one."""
    return float((rank[is_wrong][:, np.newaxis] < rank[~is_wrong]).mean())


@pytest.mark.skipif(not COREL.is_dir(), reason=f"{COREL}, a benchmark, is not at hand")
def test_five_percent_of_changed_labels_come_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content, random = np.load(COREL / "vgg16_fc1.npz"), np.random.default_rng(0)
    labels = content["labels"].copy()
    changed = random.choice(1000, 50, replace=False)
    labels[changed] = (labels[changed] + random.integers(1, 10, 50)) % 10
    config = labelled(tmp_path, content["features"], labels.tolist(), monkeypatch)
    found = find_suspects(config, by="label", top=1000)
    rank = np.full(1000, 1000)  # those that are not suspect come last
    rank[[int(one.key.split(".")[0]) for one in found.suspects]] = np.arange(len(found.suspects))
    assert auc(np.isin(np.arange(1000), changed), rank) > 0.95


def test_what_is_far_from_everything_is_an_outlier(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors, labels = three_kinds()
    vectors[9] = -vectors[9]
    config = labelled(tmp_path, vectors, labels, monkeypatch)
    found = find_outliers(config, top=5)
    assert found.outliers[0].key == "9.jpg"
    assert found.outliers[0].distance > 3 * found.median
    distances = np.sort(np.linalg.norm(vectors - vectors[9], axis=1))[1:11]
    assert found.outliers[0].distance == pytest.approx(distances.mean(), rel=1e-5)
    assert [one.distance for one in found.outliers] == sorted(
        (one.distance for one in found.outliers), reverse=True
    )


@pytest.mark.parametrize("count", [1, 2])
def test_the_smallest_collections(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    opposite = np.outer([1, -1], np.eye(DIM)[0])
    config = labelled(tmp_path, unit(opposite[:count]), ["a", "b"][:count], monkeypatch)
    assert len(find_outliers(config).outliers) == count
    if count == 2:
        assert find_suspects(config, by="label").found == 0  # so far away none has a vote


def test_the_command_line(
    demo_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = demo_config.model_copy(update={"store": tmp_path / "copy"})
    shutil.copytree(demo_config.store, config.store)
    store = f"--store={config.store}"
    for find in (find_suspects, find_outliers):
        with pytest.raises(NoGraph):
            find(config)
    make_graph(config)
    assert main(["suspects", store]) == 0
    assert "of 40 images have another folder than most" in capsys.readouterr().out
    assert main(["suspects", store, "--csv", "--top", "2"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 2
    assert rows[0].keys() == {"id", "key", "labels", "suggested", "margin"}
    assert main(["outliers", store, "--top", "3"]) == 0
    assert "the 3 of 40 images with the greatest" in capsys.readouterr().out
    assert main(["outliers", store, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["outliers"]) == 40
