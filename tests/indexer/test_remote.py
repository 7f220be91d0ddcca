"""``search IMAGE --server URL``: the command line asks a real server."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from indexer.build import build
from indexer.cli import main
from indexer.config import Config
from server.keys import digest
from tests.conftest import DEMO_IMAGES, small_config
from tests.server.processes import free_port, running_server

KEY = "k" * 43


@pytest.fixture(scope="module")
def url(demo_config: Config) -> Iterator[str]:
    keys = json.dumps([{"name": "cli", "sha256": digest(KEY)}])
    with running_server(demo_config, "/readyz", api_keys=keys) as (_, port):
        yield f"http://127.0.0.1:{port}"


def test_the_server_answers_as_the_store_does(
    url: str,
    photos: list[Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOOKALIKE_KEY", KEY)
    command = ["search", str(photos[0]), "--server", url, "--k", "3"]
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith(f"0.0000  {photos[0].relative_to(DEMO_IMAGES)}")
    assert lines[-1].startswith("3 results, exact")


@pytest.mark.parametrize("mode", ["exact", "approximate"])
def test_the_json_of_a_server_and_of_the_store_is_one(
    url: str, photos: list[Path], demo_config: Config, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch, mode: str,
) -> None:  # fmt: skip
    """Field by field: names, their order, types and values; only a server has addresses."""
    monkeypatch.setenv("LOOKALIKE_KEY", KEY)
    command = ["search", str(photos[0]), "--k", "7", "--mode", mode, "--json"]

    def answer(*flags: str) -> dict[str, Any]:
        assert main([*command, *flags]) == 0
        printed: dict[str, Any] = json.loads(capsys.readouterr().out)
        return printed

    local, remote = answer("--store", str(demo_config.store)), answer("--server", url)
    for result in remote["results"]:
        assert result.pop("url")
        assert result.pop("thumbnail_url")
    own_ms, its_ms = local.pop("timings_ms"), remote.pop("timings_ms")
    assert list(own_ms) == list(its_ms) == ["decode", "encode", "search", "total"]
    assert {type(ms) for ms in (*own_ms.values(), *its_ms.values())} == {float}
    assert len(local["results"]) == 7
    assert json.dumps(local) == json.dumps(remote)


def test_random_weights_are_announced_by_whoever_asks_a_server(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for photo in sorted(images.rglob("*.jpg"))[1:]:
        photo.unlink()
    config = small_config(images, tmp_path / "s", encoder={"weights": "random:1"})
    build(config)
    with running_server(config, "/readyz") as (_, port):
        photo = next(images.rglob("*.jpg"))
        assert main(["search", str(photo), "--server", f"http://127.0.0.1:{port}"]) == 0
    captured = capsys.readouterr()
    assert "random numbers" in captured.err
    assert captured.out.startswith("   1  0.0000")


def test_what_the_server_says_is_passed_on(
    url: str, photos: list[Path], capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert main(["search", str(photos[0]), "--server", url]) == 1
    assert "(401)" in capsys.readouterr().err
    monkeypatch.setenv("LOOKALIKE_KEY", KEY)
    (tmp_path / "text.jpg").write_text("text")
    assert main(["search", str(tmp_path / "text.jpg"), "--server", url]) == 1
    assert "(415)" in capsys.readouterr().err


@pytest.mark.parametrize("server", ["file:///etc/passwd", "localhost:8000", "http://", ""])
def test_an_address_that_is_none(
    server: str, photos: list[Path], capsys: pytest.CaptureFixture[str], config: Config
) -> None:
    store = ["--store", str(config.store)]
    assert main(["search", str(photos[0]), "--server", server, *store]) == 1
    assert "Error" in capsys.readouterr().err


def test_a_server_that_is_not_there(photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    assert main(["search", str(photos[0]), "--server", server]) == 1
    assert "gives no answer" in capsys.readouterr().err
