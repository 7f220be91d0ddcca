"""``python -m server`` as it runs in production: a real process, real sockets, real signals."""

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from indexer.config import Config
from server.admission.keys import digest
from tests.conftest import ROOT
from tests.server.processes import running_server


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def server(demo_config: Config, log: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    with running_server(demo_config, log=log) as running:
        yield running


def test_it_prints_its_address_answers_and_stops(
    server: tuple["subprocess.Popen[str]", int], log: Path
) -> None:
    process, port = server
    with urlopen(f"http://127.0.0.1:{port}/api/v1/index", timeout=10) as response:
        assert json.load(response)["indexed"] == 40
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0
    first, *entries = log.read_text().splitlines()
    assert first == f"Open http://127.0.0.1:{port}"
    assert [json.loads(entry)["path"] for entry in entries] == ["/api/v1/index"]


def test_a_new_key_is_printed_once_with_its_digest() -> None:
    command = [sys.executable, "-m", "server", "--new-key", "read"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    key, entry = done.stdout.splitlines()
    assert entry == f"{{name: somebody, sha256: {digest(key)}, scope: read}}"
    assert key not in done.stderr


def test_it_listens_on_the_loopback_only(server: tuple["subprocess.Popen[str]", int]) -> None:
    _, port = server
    listening = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else None
    if listening is None:
        pytest.skip("no /proc/net/tcp on this system")
    addresses = [line.split()[1] for line in listening.splitlines()[1:] if line.split()[3] == "0A"]
    ours = [address for address in addresses if address.endswith(f":{port:04X}")]
    assert ours == [f"0100007F:{port:04X}"]


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"host": "0.0.0.0"}, True),  # noqa: S104
        ({"host": "0.0.0.0", "proxies": 1}, False),  # noqa: S104
        ({}, False),
    ],
)
def test_a_public_address_without_a_proxy_is_warned_about(
    demo_config: Config, log: Path, settings: dict[str, object], *, warned: bool
) -> None:
    with running_server(demo_config, log=log, **settings):
        text = log.read_text()
    assert ("deploy/nginx.conf" in text and "server.proxies" in text) is warned
    assert ("0.0.0.0 is not a loopback address" in text) is warned


def test_a_port_that_is_taken_is_explained(demo_config: Config) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "server", "--store", str(demo_config.store), "--port", port],
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 1
    assert f"port {port}" in done.stderr
    assert "PORT=" in done.stderr


def test_threads_are_kept_from_spinning_before_numpy_starts_them() -> None:
    """The libraries read these settings only when they are loaded."""
    for package in ("server", "indexer"):
        script = f"import sys, {package}.__main__; assert 'numpy' not in sys.modules"
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_it_works_in_a_folder_with_files_of_the_same_names(
    demo_config: Config, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is started by a script in another folder, as an installed command is."""
    folder, script = tmp_path / "photos", tmp_path / "bin" / "start"
    folder.mkdir()
    for name in ("server", "indexer", "keras", "random"):
        (folder / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    script.parent.mkdir()
    run = "runpy.run_module('server', run_name='__main__', alter_sys=True)"
    script.write_text(f"import runpy\n\nif __name__ == '__main__':\n    {run}\n")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    start = (sys.executable, str(script))
    with (
        running_server(demo_config, "/readyz", log, start=start, folder=folder) as (_, port),
        urlopen(f"http://127.0.0.1:{port}/?image_id=1", timeout=30) as page,
    ):
        assert b'id="results"' in page.read()
    assert "current folder" not in log.read_text()
