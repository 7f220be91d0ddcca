"""``search IMAGE --server URL``: the command line asks a real server."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote, unquote

import pytest

from indexer.build import build
from indexer.cli.parser import main
from indexer.cli.remote import search_remotely
from indexer.config import Config
from indexer.errors import RemoteError
from server.admission.keys import digest
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


def test_a_server_is_asked_for_words(
    captioned_config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    search, answers = ["search", "--text", "caf\u00e9", "--k", "4"], []
    with running_server(captioned_config, "/readyz") as (_, port):
        for where in (
            ("--server", f"http://127.0.0.1:{port}"),
            ("--store", str(captioned_config.store)),
        ):
            assert main([*search, *where]) == 0
            answers.append(capsys.readouterr().out.splitlines()[:-1])
    assert answers[0] == answers[1]
    assert answers[0][-1] == "1 caption says so; these look like it."


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
    url: str, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(photos[0]), "--server", url]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "(401)" in captured.err
    assert "Send the key as a bearer token" in captured.err


@pytest.mark.parametrize(
    ("image", "asked", "code"),
    [
        (b"text", [], "unsupported_image"),
        (b"", [("k", "1000000")], "invalid_query"),
        (b"", [("mode", "slow")], "invalid_request"),
        (b"", [("filter", "colour=red")], "invalid_query"),
    ],
)
def test_a_refusal_has_the_code_of_the_server(
    url: str, image: bytes, asked: list[tuple[str, str]], code: str
) -> None:
    with pytest.raises(RemoteError) as caught:
        search_remotely(url, image, asked, key=KEY)
    assert caught.value.code == code


def test_a_missing_key_is_refused_with_the_code_of_the_server(url: str) -> None:
    with pytest.raises(RemoteError) as caught:
        search_remotely(url, b"", [])
    assert caught.value.code == "unauthorized"


def test_filters_and_facets_are_the_same_with_and_without_a_server(
    url: str, photos: list[Path], demo_config: Config, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("LOOKALIKE_KEY", KEY)
    command = ["search", str(photos[0]), "--filter", "format=JPEG", "--filter", "width!=1..9"]
    command += ["--facets", "format,width", "--k", "4"]
    printed = []
    for flags in (["--store", str(demo_config.store)], ["--server", url]):
        assert main([*command, *flags]) == 0
        printed.append(capsys.readouterr().out.splitlines()[:-1])
    assert printed[0] == printed[1]
    assert len(printed[0]) == 6
    assert printed[0][4].startswith("format: JPEG ")
    assert printed[0][5].startswith("width: ")


@pytest.fixture
def stranger() -> Iterator[str]:
    """A server of something else, which answers the paths it knows with what it is told."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, body = self.path.split("/")[1:3]
            self.send_response(int(status))
            self.end_headers()
            self.wfile.write(unquote(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ANSWER = {
    "mode": "exact",
    "encoder": {"random_weights": False},
    "timings_ms": {"total": 1.5},
    "results": [{"rank": 1, "distance": 0.5, "key": "a\x1b[2J\n.jpg"}],
}


def test_control_characters_in_keys_are_escaped(
    stranger: str, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    server = f"{stranger}/200/{quote(json.dumps(ANSWER))}"
    assert main(["search", str(photos[0]), "--server", server]) == 0
    first, _ = capsys.readouterr().out.splitlines()
    assert first == "   1  0.5000  a\\x1b[2J\\n.jpg"


@pytest.mark.parametrize(
    "change",
    [
        {"results": [{}]},
        {"results": ["a"]},
        {"results": {}},
        {"results": [{"rank": None, "distance": 0.5, "key": "a"}]},
        {"encoder": None},
        {"timings_ms": {}},
        {"mode": 3},
        {"facets": []},
        {"facets": {"a": {"values": [{"count": 1}], "others": 0}}},
        {"facets": {"a": {"values": [{"value": 1, "count": "1"}], "others": 0}}},
        {"facets": {"a": {"values": []}}},
    ],
)
def test_an_answer_of_another_shape_is_refused(stranger: str, change: dict[str, Any]) -> None:
    server = f"{stranger}/200/{quote(json.dumps(ANSWER | change))}"
    with pytest.raises(RemoteError, match="not with results"):
        search_remotely(server, b"image", [])


@pytest.mark.parametrize("status", [200, 502])
@pytest.mark.parametrize("body", ["<p>hello", "[]", "{}", '{"error": "what"}', '{"error": {}}'])
def test_a_server_of_something_else_is_an_error_of_ours(
    stranger: str, status: int, body: str
) -> None:
    with pytest.raises(RemoteError, match="answers") as caught:
        search_remotely(f"{stranger}/{status}/{quote(body)}", b"image", [])
    assert (caught.value.code, caught.value.hint) == ("remote_error", "Is it Lookalike's address?")


@pytest.mark.parametrize(
    "server", ["file:///etc/passwd", "localhost:8000", "http://", "http://[", ""]
)
def test_an_address_that_is_none(
    server: str, photos: list[Path], capsys: pytest.CaptureFixture[str], config: Config
) -> None:
    store = ["--store", str(config.store)]
    assert main(["search", str(photos[0]), "--server", server, *store]) == 1
    assert "is no address" in capsys.readouterr().err


def test_a_server_that_is_not_there(photos: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    server = f"http://127.0.0.1:{free_port()}"
    assert main(["search", str(photos[0]), "--server", server]) == 1
    assert "gives no answer" in capsys.readouterr().err
