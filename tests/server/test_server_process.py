"""``python -m server`` as it runs in production: a real process, real sockets, real signals."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest

from indexer.config import Config
from tests.conftest import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


Server = tuple["subprocess.Popen[str]", int]


@contextmanager
def running_server(config: Config) -> Iterator[Server]:
    """Start the server of a store, and kill it at the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "--store", str(config.store), "--port", str(port)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5).close()
            break
        except URLError:
            time.sleep(0.1)
    try:
        yield process, port
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def server(demo_config: Config) -> Iterator[Server]:
    with running_server(demo_config) as running:
        yield running


def test_it_prints_its_address_answers_and_stops(
    server: Server,
) -> None:
    process, port = server
    with urlopen(f"http://127.0.0.1:{port}/api/v1/index", timeout=10) as response:
        assert json.load(response)["indexed"] == 40
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0
    assert f"Open http://127.0.0.1:{port}" in errors


def test_it_listens_on_the_loopback_only(server: Server) -> None:
    _, port = server
    listening = Path("/proc/net/tcp").read_text() if Path("/proc/net/tcp").exists() else None
    if listening is None:
        pytest.skip("no /proc/net/tcp on this system")
    addresses = [line.split()[1] for line in listening.splitlines()[1:] if line.split()[3] == "0A"]
    ours = [address for address in addresses if address.endswith(f":{port:04X}")]
    assert ours == [f"0100007F:{port:04X}"]


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
    """The libraries read these settings once, when they are loaded."""
    for package in ("server", "indexer"):
        script = f"import sys, {package}.__main__; assert 'numpy' not in sys.modules"
        subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
