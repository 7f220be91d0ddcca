"""Builds whose images are extracted by two nodes of Ray, of which some do not survive."""

import json
import os
import re
import signal
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest
from PIL import Image

import indexer.build.blocks
from indexer.build import BuildReport, build
from indexer.config import Config, load_config
from indexer.errors import ClusterUnavailable, EncoderMismatch
from indexer.executors import blocks
from indexer.executors.blocks import AT_ONCE, SMALLEST
from indexer.export.stored import StoredVectors
from indexer.machine import INTERRUPTED
from indexer.store import Store
from tests.cluster.extraction import (
    POISON,
    LoggedExtraction,
    count_encoded,
    count_encoded_again,
)
from tests.cluster.nodes import Cluster
from tests.conftest import small_config
from tests.corners import Corners, picture
from tests.processes import Running, started
from tests.waiting import eventually

PICTURES = 640
ACTOR = "ray::Actor"
IN_FLIGHT = AT_ONCE * SMALLEST
"""How many pictures a worker has at most, as blocks do not grow here."""
SECONDS = 0.15
"""How long a batch of the encoder takes."""
FEW = 24


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of pictures, all different, and of files that are none; read it only."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(PICTURES):
        (folder / f"{number:04}.png").write_bytes(picture(number))
        if number % 50 == 0:
            (folder / f"{number:04}.broken.png").write_bytes(picture(number)[:40])
    return folder


@pytest.fixture(scope="session")
def local(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Config:
    """The settings of their index, built on this machine."""
    config = small_config(pictures, tmp_path_factory.mktemp("local") / "store")
    build(config, Corners())
    return config


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The file in which the workers note what they encode."""
    return tmp_path / "encoded"


@pytest.fixture
def remote(cluster: Cluster, pictures: Path, log: Path, tmp_path: Path) -> Iterator[Config]:
    """Settings to build the index on the cluster, with an encoder that takes little time."""
    with pytest.MonkeyPatch.context() as patch:
        extraction = partial(LoggedExtraction, log=log, seconds=SECONDS)
        patch.setattr(indexer.build.blocks, "BlockExtraction", extraction)
        patch.setattr(blocks, "LARGEST", SMALLEST)
        yield on_cluster(cluster.address, pictures, tmp_path / "store")


@pytest.fixture
def few(remote: Config, tmp_path: Path) -> Config:
    """The same for a folder of a few pictures, which a test may change."""
    (tmp_path / "images").mkdir()
    for number in range(FEW):
        (tmp_path / "images" / f"{number:02}.png").write_bytes(picture(number))
    return on_cluster(remote.executor.address, tmp_path / "images", tmp_path / "store")


def on_cluster(address: str, images: Path, store: Path) -> Config:
    return small_config(images, store, executor={"kind": "ray", "address": address})


def contents(config: Config) -> tuple[dict[str, dict[str, object]], dict[str, bytes]]:
    """Return the row of each file in the catalogue, without its place, and each image's vector."""
    with closing(sqlite3.connect(config.store / "catalogue.sqlite")) as database:
        database.row_factory = sqlite3.Row
        rows = [dict(row) for row in database.execute("SELECT * FROM images")]
    vectors = {}
    stored = StoredVectors(Store(config.store).open_published())
    for block in stored.blocks():
        for image, vector in zip(stored.images(block.ids), block.vectors, strict=True):
            vectors[image.key] = vector.tobytes()
    for row in rows:
        del row["id"], row["segment"], row["row"]
    return {str(row["key"]): row for row in rows}, vectors


@contextmanager
def once(condition: Callable[[], bool], act: Callable[[], None]) -> Iterator[None]:
    """Act in a thread as soon as a condition holds, during the block."""

    def wait() -> None:
        eventually(condition)
        act()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()


@contextmanager
def driver(config: Config, log: Path) -> Iterator[Running]:
    """Build in a process of its own, with the encoder of these tests."""
    images, store, address = config.dataset.roots[0], config.store, config.executor.address
    arguments = [str(images), str(store), address, str(log)]
    with started([sys.executable, "-c", BUILD, *arguments]) as process:
        yield process


BUILD = """
import sys
from functools import partial
from pathlib import Path
from textwrap import dedent
import indexer.build.blocks
import indexer.build.ingest
import indexer.executors.blocks
from indexer.build import build
from indexer.machine import INTERRUPTED, leave
from tests.cluster.extraction import LoggedExtraction
from tests.cluster.test_extraction import SECONDS, SMALLEST, on_cluster
from tests.corners import Corners

images, store, address, log = sys.argv[1:]
extraction = partial(LoggedExtraction, log=Path(log), seconds=SECONDS)
indexer.build.blocks.BlockExtraction = extraction
indexer.executors.blocks.LARGEST = SMALLEST
indexer.build.ingest.COMMIT_VECTORS = 0
try:
    build(on_cluster(address, Path(images), Path(store)), Corners())
except KeyboardInterrupt:
    leave(INTERRUPTED)
"""


def assert_complete(report: BuildReport) -> None:
    broken = len(range(0, PICTURES, 50))
    assert (report.found, report.indexed, report.skipped) == (PICTURES + broken, PICTURES, broken)


def test_an_index_of_two_nodes_is_the_one_of_this_machine(
    remote: Config, local: Config, log: Path
) -> None:
    report = build(remote, Corners())
    assert_complete(report)
    assert report.encoded == PICTURES
    assert report.notes == []
    assert contents(remote) == contents(local)
    assert count_encoded_again(log) == 0


def test_what_a_killed_worker_had_is_done_by_others(
    cluster: Cluster, remote: Config, local: Config, log: Path
) -> None:
    def kill() -> None:
        os.kill(cluster.processes(ACTOR)[0], signal.SIGKILL)

    with once(lambda: count_encoded(log) > 200, kill):
        report = build(remote, Corners())
    assert_complete(report)
    assert [note for note in report.notes if note.startswith("Workers that were lost: 1 (127.0.0.")]
    assert contents(remote) == contents(local)
    assert count_encoded_again(log) <= IN_FLIGHT


def test_what_a_killed_node_had_is_done_by_the_others(
    cluster: Cluster, remote: Config, local: Config, log: Path
) -> None:
    with once(lambda: count_encoded(log) > 200, cluster.start_second().kill):
        report = build(remote, Corners())
    assert_complete(report)
    assert contents(remote) == contents(local)
    assert count_encoded_again(log) <= IN_FLIGHT


def test_files_that_no_worker_survives_are_skipped_and_their_neighbours_are_indexed(
    few: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SMALLEST", "LARGEST"):
        monkeypatch.setattr(blocks, name, 4)
    Image.new("RGB", (4, 4), (0, 0, POISON)).save(few.dataset.roots[0] / "10-poison.png")
    report = build(few, Corners())
    assert (report.indexed, report.reasons) == (FEW, {"worker_died": 1})
    rows, vectors = contents(few)
    assert rows["10-poison.png"]["reason"] == "worker_died"
    assert len(vectors) == FEW
    # of four, then two pictures, then of the one; and of a block whose results were on their way
    assert any(re.match("Workers that were lost: [78] ", note) for note in report.notes)


def test_a_killed_build_is_continued(
    cluster: Cluster, remote: Config, local: Config, log: Path
) -> None:
    with driver(remote, log) as process:
        eventually(lambda: count_encoded(log) > 300)
        process.send_signal(signal.SIGKILL)
    eventually(lambda: cluster.processes(ACTOR) == [])
    report = build(remote, Corners())
    assert_complete(report)
    assert 0 < report.encoded < PICTURES
    assert contents(remote) == contents(local)
    # What both workers had, and what was there but waited for an earlier block, or for its commit.
    assert count_encoded_again(log) <= 4 * IN_FLIGHT


def test_ctrl_c_ends_a_build_and_its_workers(cluster: Cluster, remote: Config, log: Path) -> None:
    with driver(remote, log) as process:
        eventually(lambda: count_encoded(log) > 100)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == INTERRUPTED, errors
        assert "core_worker" not in errors  # which ends a process that uses Ray too late
    eventually(lambda: cluster.processes(ACTOR) == [])
    assert count_encoded(log) < PICTURES


def test_workers_recognise_moved_files_and_metadata_stays_here(
    few: Config, log: Path, tmp_path: Path
) -> None:
    table = tmp_path / "table.csv"
    table.write_text("path,number\n" + "".join(f"{n:02}.png,{n}\n" for n in range(FEW)))
    dataset = few.dataset.model_copy(update={"metadata": table})
    config = few.model_copy(update={"dataset": dataset})
    build(config, Corners())
    rows, _ = contents(config)
    assert [json.loads(str(row["metadata"]))["number"] for row in rows.values()] == [*range(FEW)]
    (few.dataset.roots[0] / "03.png").rename(few.dataset.roots[0] / "three.png")
    report = build(config, Corners())
    assert (report.encoded, report.recognised, count_encoded(log)) == (0, 1, FEW)


def test_the_command_prints_its_report_alone_and_names_lost_workers(
    cluster: Cluster, images: Path, config: Config, tmp_path: Path
) -> None:
    build(config)
    settings = f"""
        dataset: {{root: {images}}}
        store: {tmp_path / "remote"}
        encoder: {{model: efficientnet_lite0}}
        executor: {{kind: ray, address: "{cluster.address}"}}
    """
    (tmp_path / "config.yaml").write_text(dedent(settings))
    # The folder in which the command runs is not where workers import from.
    (tmp_path / "ncnn.py").write_text("raise ImportError('this is not ncnn')")
    command = [sys.executable, "-P", "-m", "lookalike", "index", "--json", "--config"]
    with started([*command, str(tmp_path / "config.yaml")], cwd=tmp_path) as process:
        eventually(lambda: len(cluster.processes(ACTOR)) > 0)
        os.kill(cluster.processes(ACTOR)[0], signal.SIGKILL)
        output, errors = process.communicate(timeout=120)
    report = json.loads(output)
    assert (report["found"], report["indexed"], report["encoded"]) == (6, 6, 6)
    assert any("Workers that were lost: 1 (" in note for note in report["notes"])
    assert errors == ""
    assert contents(load_config(tmp_path / "config.yaml")) == contents(config)


class OtherWeights(Corners):
    """The encoder of a build whose nodes have other weights."""

    spec = Corners.spec.model_copy(update={"weights_sha256": "1"})


def test_nodes_with_another_encoder_are_refused(few: Config) -> None:
    with pytest.raises(EncoderMismatch, match=r"On the node 127\.0\.0\..: The encoder is corners"):
        build(few, OtherWeights())
    assert Store(few.store).published_manifest() is None


class Idle:
    """An actor that does nothing."""


def test_a_cluster_without_free_cores_is_named_after_a_while(
    connected: Cluster, few: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    import indexer.executors.ray

    monkeypatch.setattr(indexer.executors.ray, "PATIENCE_SECONDS", 1)
    others = [ray.remote(Idle).options(num_cpus=1).remote() for _ in range(2)]
    ray.get([other.__ray_ready__.remote() for other in others])
    with pytest.raises(ClusterUnavailable, match="no worker could be started, which needs 1 core"):
        build(few, Corners())
    assert ray.is_initialized()  # it was before


def test_an_address_without_a_cluster_is_named(few: Config) -> None:
    executor = few.executor.model_copy(update={"address": "127.0.0.1:1"})
    with pytest.raises(ClusterUnavailable, match=r"cannot be reached at 127\.0\.0\.1:1"):
        build(few.model_copy(update={"executor": executor}), Corners())
