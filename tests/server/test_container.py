"""What ``compose.yaml`` and the ``Dockerfile`` name fits together, for an index made outside.

Docker is not at hand where tests run. A server is started as the container would start it: with its
environment, its working folder and its mounts, in folders of their own.
"""

import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
import yaml

from indexer.build import build
from indexer.config import Config
from tests.conftest import ROOT
from tests.server.processes import running_server


@pytest.fixture
def service() -> dict[str, Any]:
    """The server in ``compose.yaml``, where no variable says otherwise."""
    content = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", (ROOT / "compose.yaml").read_text())
    found: dict[str, Any] = yaml.safe_load(content)["services"]["lookalike"]
    return found


def environment_of(service: dict[str, Any]) -> dict[str, str]:
    """Return the environment of the container, by the ``Dockerfile`` and ``compose.yaml``."""
    (variables,) = re.findall(r"^ENV (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    given = {name: str(value) for name, value in service["environment"].items()}
    return dict(variable.split("=", 1) for variable in variables.split()) | given


def file_of_an_image(port: int) -> bytes:
    with urlopen(f"http://127.0.0.1:{port}/api/v1/images/1/file", timeout=60) as answer:
        data: bytes = answer.read()
        return data


def test_an_index_that_was_made_outside_is_served_with_its_images(
    service: dict[str, Any],
    config: Config,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build(config)
    container = tmp_path / "container"
    places = dict(volume.split(":")[:2] for volume in service["volumes"])
    for place in places.values():
        (container / place[1:]).parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(config.store, container / places["./var/store"][1:])
    images.rename(container / places["./data/images"][1:])  # there is nothing where it was
    shutil.copy(ROOT / "config.yaml", container / "app")
    for name, value in environment_of(service).items():
        monkeypatch.setenv(name, f"{container}{value}" if value.startswith("/") else value)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("LOOKALIKE_SERVER__HOST")  # all addresses: for containers only
    moved = config.model_copy(update={"store": container / "store"})
    with running_server(moved, folder=container / "app") as (_, port):
        assert file_of_an_image(port).startswith(b"\xff\xd8")
        with urlopen(f"http://127.0.0.1:{port}/api/v1/index", timeout=60) as answer:
            assert json.load(answer)["indexed"] == 6


def test_images_that_have_moved_are_named_by_a_flag(config: Config, images: Path) -> None:
    build(config)
    moved = images.rename(images.with_name("moved"))
    start = (sys.executable, "-m", "server", "--images", str(moved))
    with running_server(config, start=start) as (_, port):
        assert file_of_an_image(port).startswith(b"\xff\xd8")
