"""Leaks: images of one split that are in another one as well."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from indexer.analysis import find_leaks, make_graph
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ConfigError, InvalidQuery
from indexer.store import NewImage, Store, open_writer
from indexer.vector_index import flat_file
from tests.stores import DIM, publish

ANGLES = {
    "t0": 0.0, "t1": 0.06, "t2": 1.0, "t3": 2.0,
    "v0": 0.05, "v1": 1.5, "v2": 2.9, "v3": 3.0, "v4": 0.5, "x0": 1.0,
}  # fmt: skip
SAME_FILE = {"t3": "same", "v2": "same", "v3": "same"}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Images on a circle in the splits train (t) and val (v), some of them with the same file."""
    splits = {"t": "train", "v": "val", "x": "test"}
    images = [
        NewImage(key, 1, 1, SAME_FILE.get(key, key), "JPEG", 1, 1, {"split": splits[key[0]]})
        for key in ANGLES
    ]
    vectors = np.zeros((len(ANGLES), DIM), np.float32)
    vectors[:, 0], vectors[:, 1] = np.cos([*ANGLES.values()]), np.sin([*ANGLES.values()])
    with open_writer(Store(tmp_path)) as writer:
        writer.commit(images, flat_file(vectors), [], dim=DIM, fingerprint="e1")
        publish(writer)
    config = Config(store=tmp_path)
    make_graph(config, k=3)
    return config


def test_each_image_of_the_second_split_is_found_with_the_nearest_of_the_first(
    config: Config,
) -> None:
    found = find_leaks(config, ("train", "val"), within=0.1)
    assert [(one.key, one.of_key, one.kind) for one in found.leaks] == [
        ("v0", "t1", "similar"),
        ("v2", "t3", "identical"),
        ("v3", "t3", "identical"),
    ]
    assert found.leaks[0].distance == pytest.approx(2 * np.sin(0.005), rel=1e-3)
    assert found.images == 5
    assert found.summary == (
        "2 of 5 images of val are in train as well, 2 of them as identical files; 1 are similar to "
        "one"
    )
    assert [one.key for one in find_leaks(config, ("val", "train"), within=0.1).leaks] == [
        "t1",
        "t0",
        "t3",
    ]
    assert [one.key for one in find_leaks(config, ("train", "test"), within=0).leaks] == ["x0"]


def test_a_distance_is_suggested_or_checked(config: Config) -> None:
    found = find_leaks(config, ("train", "val"))
    assert found.limit.is_suggested
    assert found.limit.within == pytest.approx(found.limit.median / 3)
    with pytest.raises(ConfigError, match="--within is 3"):
        find_leaks(config, ("train", "val"), within=3)


def test_splits_that_are_not_there_are_named(config: Config) -> None:
    with pytest.raises(InvalidQuery, match="the split dev") as caught:
        find_leaks(config, ("train", "dev"))
    assert "test, train, val" in caught.value.hint
    with pytest.raises(InvalidQuery, match="field part"):
        find_leaks(config, ("train", "val"), by="part")


def test_the_command_line(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    leaks = ["leaks", f"--store={config.store}", "--between", "train", "val", "--within", "0.1"]
    assert main(leaks) == 0
    text = capsys.readouterr().out
    assert text.startswith("0.0100  v0  t1  similar\n")
    assert "v2  t3  identical" in text
    assert main([*leaks, "--csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["kind"] for row in rows] == ["similar", "identical", "identical"]
    assert main([*leaks, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["limit"]["within"] == 0.1
