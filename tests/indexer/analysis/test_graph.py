"""The neighbour graph of a store: equal to searches, extended, resumed, checked, removed."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

import indexer.analysis.graph
import indexer.store.graphs
import indexer.vector_index.neighbours
from indexer.analysis import make_graph, open_graph
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ConfigError, NoApproximateIndex, NoGraph, StoreBusy, StoreCorrupt
from indexer.maintenance import prune, status, verify
from indexer.store import Store, open_graphs, open_writer
from indexer.vector_index import flat_file
from indexer.vector_index.base import Vectors
from indexer.vector_index.opened import Indexes
from tests.conftest import ROOT
from tests.stores import DIM, damage, image, publish
from tests.vectors import unit

K = 5


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexer.vector_index.neighbours, "BLOCK", 100)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The settings of a store of 600 images in three segments, in which some occur twice."""
    config = Config(store=tmp_path / "store")
    fill(config, some_with_ties())
    return config


def some_with_ties() -> Vectors:
    vectors = unit(np.random.default_rng(0).normal(size=(600, DIM)))
    vectors[100:200] = vectors[300:400]
    return vectors


def fill(config: Config, vectors: Vectors) -> None:
    with open_writer(Store(config.store)) as writer:
        for number in range(3):
            commit(writer, vectors[number::3], f"{number}-")
        publish(writer)


def commit(writer: indexer.store.Writer, vectors: Vectors, prefix: str) -> None:
    images = [image(f"{prefix}{number}") for number in range(len(vectors))]
    writer.commit(images, flat_file(vectors), [], dim=DIM, fingerprint="e1")


def change(config: Config, *, new: int = 0, gone: Sequence[str] = (), prefix: str = "new-") -> None:
    """Publish a version with new images and without some others."""
    with open_writer(Store(config.store)) as writer:
        if new:
            seed = len(list(Store(config.store).segments.iterdir()))
            commit(writer, unit(np.random.default_rng(seed).normal(size=(new, DIM))), prefix)
        writer.catalogue.remove(gone)
        publish(writer)
        writer.collect_garbage()


def assert_like_searches(config: Config) -> None:
    """Check that the graph is what a search for each image finds."""
    store = Store(config.store)
    version = store.open_published()
    graph, exact = open_graph(store, version), Indexes.of(version).exact
    assert np.array_equal(graph.ids, exact.vectors.sorted_ids)
    for position, image_id in enumerate(graph.ids):
        query = exact.vectors.vectors(exact.vectors.rows(graph.ids[position : position + 1]))
        found = exact.search(query, graph.k + 1)
        others = found.ids[0] != image_id
        near = graph.neighbours[position]
        assert np.array_equal(graph.ids[near], found.ids[0][others][: graph.k])
        assert np.array_equal(graph.distances[position], found.distances[0][others][: graph.k])


def test_the_graph_is_what_searches_find(config: Config) -> None:
    report = make_graph(config, k=K)
    assert (report.images, report.new, report.gone, report.k) == (600, 600, 0, K)
    assert report.pairs == 600 * 599 // 2
    assert_like_searches(config)
    graph = open_graph(Store(config.store), Store(config.store).open_published())
    assert (len(graph), graph.neighbours.shape) == (600, (600, K))
    assert verify(config).problems == []


def test_nothing_is_done_twice(config: Config) -> None:
    make_graph(config, k=K)
    again = make_graph(config, k=K)
    assert (again.new, again.pairs, again.measured, again.searched) == (0, 0, 0, 0)
    assert "nothing has changed" in again.summary


def test_a_new_version_costs_what_has_changed(config: Config) -> None:
    make_graph(config, k=K)
    change(config, new=10, gone=["0-0", "1-5", "2-199"])
    with pytest.raises(NoGraph, match="Version 00000002"):
        open_graph(Store(config.store), Store(config.store).open_published())
    report = make_graph(config, k=K)
    assert (report.images, report.new, report.gone) == (607, 10, 3)
    assert report.pairs == 10 * 597 + 10 * 9 // 2
    assert report.measured < 400
    assert report.searched < 20
    assert_like_searches(config)


def test_a_version_of_the_same_images_compares_nothing(config: Config) -> None:
    make_graph(config, k=K)
    change(config)
    report = make_graph(config, k=K)
    assert (report.new, report.pairs, report.measured, report.searched) == (0, 0, 0, 0)
    assert_like_searches(config)


def test_the_newest_graph_outlives_its_version_for_the_next_to_begin_with(config: Config) -> None:
    make_graph(config, k=K)
    for number in range(4):
        change(config, new=1, prefix=f"{number}new-")
    store = Store(config.store)
    assert not (store.versions / "00000001").exists()
    assert make_graph(config, k=K).pairs == 4 * 600 + 6
    assert {folder.name for folder in store.graphs.iterdir() if folder.is_dir()} == {
        "00000001",
        "00000005",
    }
    change(config, new=1, prefix="last-")
    assert not (store.graphs / "00000001").exists()
    prune(config, 1)
    assert (store.graphs / "00000005").exists()
    assert_like_searches_after(config)


def assert_like_searches_after(config: Config) -> None:
    make_graph(config, k=K)
    assert_like_searches(config)


def test_ids_that_have_got_another_content_are_compared_again(
    config: Config, tmp_path: Path
) -> None:
    """As if a copy had been rolled back and indexed anew: version and ids are given again."""
    make_graph(config, k=K)
    other = Config(store=tmp_path / "other")
    vectors = some_with_ties()
    vectors[::50] = vectors[1::50][::-1]
    fill(other, vectors)
    shutil.copytree(Store(config.store).graphs, Store(other.store).graphs, dirs_exist_ok=True)
    with pytest.raises(NoGraph):
        open_graph(Store(other.store), Store(other.store).open_published())
    report = make_graph(other, k=K)
    assert 12 <= report.new < 120
    assert_like_searches(other)


def test_another_k_is_another_graph(config: Config) -> None:
    make_graph(config, k=K)
    assert make_graph(config, k=K + 1).new == 600
    assert_like_searches(config)
    with pytest.raises(ConfigError, match="--k is 0"):
        make_graph(config, k=0)
    with pytest.raises(ConfigError, match="--k is 1001"):
        make_graph(config, k=1001)


KILLED = """
import os, signal, sys
import indexer.analysis.graph, indexer.store.graphs, indexer.vector_index.neighbours
from pathlib import Path
from indexer.config import Config
indexer.vector_index.neighbours.BLOCK = 100
indexer.analysis.graph.SAVE_SECONDS = 0
indexer.analysis.graph.SAVE_SHARE = 1e9
left, write = int(sys.argv[2]), indexer.store.graphs.write_file
def count(*arguments):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return write(*arguments)
indexer.store.graphs.write_file = count
indexer.analysis.graph.make_graph(Config(store=Path(sys.argv[1])), k=5)
"""


@pytest.mark.parametrize(("writes", "saved"), [(2, 0), (4, 1), (9, 2), (17, 4)])
def test_a_killed_run_goes_on(config: Config, writes: int, saved: int) -> None:
    """The process is saving for the next time, or has saved nothing, when it is killed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(config.store), str(writes)], cwd=ROOT, check=False
    )
    assert done.returncode == -signal.SIGKILL
    report = make_graph(config, k=K)
    assert report.new == 600 - 100 * saved
    assert_like_searches(config)
    folders = {path.name for path in Store(config.store).graphs.iterdir() if path.is_dir()}
    assert folders == {"00000001"}


def test_a_run_that_was_stopped_goes_on_with_a_later_version(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.analysis.graph, "SAVE_SECONDS", 0)
    monkeypatch.setattr(indexer.analysis.graph, "SAVE_SHARE", 1e9)
    finish = indexer.store.graphs.GraphWriter.finish
    with monkeypatch.context() as patch:
        patch.setattr(indexer.store.graphs.GraphWriter, "finish", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            make_graph(config, k=K)
    assert indexer.store.graphs.GraphWriter.finish is finish
    change(config, new=7, gone=["0-1"])
    report = make_graph(config, k=K)
    assert (report.images, report.new, report.gone) == (606, 7, 1)
    assert_like_searches(config)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_one_process_at_a_time_makes_a_graph_and_builds_go_on_beside_it(config: Config) -> None:
    with open_graphs(Store(config.store)):
        with pytest.raises(StoreBusy, match="Another process is making"):
            make_graph(config, k=K)
        change(config, new=1)
    with open_writer(Store(config.store)):
        assert make_graph(config, k=K).images == 601


@pytest.mark.parametrize("name", ["ids", "near", "squared", "horizon"])
def test_damage_is_found_and_made_good(
    config: Config, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    make_graph(config, k=K)
    damage(Store(config.store).graphs / "00000001" / f"{name}.npy")
    assert main(["verify", "--store", str(config.store)]) == 1
    assert "Make it again with: lookalike graph" in capsys.readouterr().out
    assert make_graph(config, k=K).new == 600
    assert verify(config).problems == []
    assert_like_searches(config)


def test_files_that_are_not_what_their_record_says_are_refused(config: Config) -> None:
    make_graph(config, k=K)
    store = Store(config.store)
    folder = store.graphs / "00000001"
    (folder / "near.npy").write_bytes(b"")
    with pytest.raises(StoreCorrupt, match="0 bytes long") as caught:
        open_graph(store, store.open_published())
    assert "lookalike graph" in caught.value.hint
    assert status(config).graph is None
    (folder / "near.npy").unlink()
    (folder / "near.npy").symlink_to("/dev/zero")
    with pytest.raises(StoreCorrupt, match="no regular file"):
        open_graph(store, store.open_published())
    record = json.loads((folder / "graph.json").read_text())
    record["record"]["files"]["../x"] = record["record"]["files"].pop("near")
    (folder / "graph.json").write_text(json.dumps(record))
    with pytest.raises(StoreCorrupt, match="checksum"):
        open_graph(store, store.open_published())


def test_neighbours_out_of_range_are_refused(config: Config) -> None:
    store = Store(config.store)
    make_graph(config, k=K)
    graph = open_graph(store, store.open_published())
    near = np.full((600, K + indexer.vector_index.neighbours.SPARE), 600, np.int32)
    lists = graph.lists._replace(near=near)
    with open_graphs(store) as writer:
        kept = graph.record.model_dump(exclude={"files", "format"})
        writer.finish(writer.save(lists._asdict(), **kept))
    with pytest.raises(StoreCorrupt, match="no graph of 600 images"):
        open_graph(store, store.open_published())


def test_approximate_needs_an_approximate_index(config: Config) -> None:
    with pytest.raises(NoApproximateIndex, match="no approximate index"):
        make_graph(config, mode="approximate")


def test_the_command_line(
    demo_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = demo_config.model_copy(update={"store": tmp_path / "copy"})
    shutil.copytree(demo_config.store, config.store)
    store = f"--store={config.store}"
    assert main(["graph", "--k", "3", "--mode", "approximate", "--json", store]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["images"], report["mode"], report["searched"]) == (40, "approximate", 40)
    assert main(["graph", "--k=3", store]) == 0
    assert capsys.readouterr().out.startswith("the 3 nearest of 40 images, exact: 40 new, 0 gone")
    assert main(["status", store]) == 0
    assert "graph      the 3 nearest of each image, exact" in capsys.readouterr().out
    assert_like_searches(config)
