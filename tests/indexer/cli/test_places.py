"""Commands in messages do what the message says, for the store that was given."""

import re
import shlex
from argparse import Namespace
from pathlib import Path

import pytest

from indexer.cli.parser import main
from indexer.cli.places import with_places


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, "lookalike index FOLDER"),
        ({"store": "my store"}, "lookalike index --store 'my store' FOLDER"),
        ({"config": Path("config.yaml"), "store": None}, "lookalike index FOLDER"),
        (
            {"config": Path("c.yaml"), "store": "s"},
            "lookalike index --config c.yaml --store s FOLDER",
        ),
    ],
)
def test_configuration_and_store_are_named(options: dict[str, object], expected: str) -> None:
    assert with_places("lookalike index FOLDER", Namespace(**options)) == expected
    assert with_places("Lookalike indexes images.", Namespace(**options)) == (
        "Lookalike indexes images."
    )


def test_the_command_of_a_hint_works_as_it_is(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "a store")
    assert main(["status", "--store", store]) == 1
    (hint,) = re.findall("Make one with: lookalike (.*)", capsys.readouterr().err)
    command = shlex.split(hint.replace("FOLDER", shlex.quote(str(images))))
    (images / "broken.jpg").touch()
    assert main([*command, "--encoder", "efficientnet_lite0"]) == 0
    (hint,) = re.findall("skipped files and reasons: lookalike (.*)", capsys.readouterr().out)
    assert main(shlex.split(hint)) == 0
    assert "broken.jpg" in capsys.readouterr().out


def test_the_command_that_makes_a_graph_is_for_the_store_that_lacks_one(
    images: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the store cannot be written; else the graph is made at once."""
    monkeypatch.setattr("indexer.analysis.graph.is_writable", lambda _: False)
    store = ["--store", str(tmp_path / "a store")]
    assert main(["index", str(images), *store, "--encoder", "efficientnet_lite0"]) == 0
    assert main(["duplicates", *store]) == 1
    (hint,) = re.findall("Make it with: lookalike (.*)", capsys.readouterr().err)
    assert main(shlex.split(hint)) == 0
    assert main(["duplicates", *store]) == 0
