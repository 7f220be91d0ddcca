"""What the measurements stand on: settings of nobody, servers that start or say why not."""

import os
import socket
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import clients, crowd, serve, servers
from benchmarks.proxy import NGINX
from benchmarks.settings import Defaults
from benchmarks.stores import fill
from indexer.config import ServerConfig
from tests.server.processes import free_port

N = 200


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of vectors that pass for the embedded encoder's."""
    folder = tmp_path_factory.mktemp("benchmark") / "store"
    source = np.random.default_rng(0).random((60, 1280), np.float32)
    fill(folder, source / np.linalg.norm(source, axis=1, keepdims=True), N)
    return folder


def test_settings_of_the_user_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.yaml").write_text("server: {threads: 1}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOOKALIKE_SERVER__MAX_ENCODING", "1")
    config = Defaults(store=tmp_path)
    assert config.server == ServerConfig()
    assert Defaults.model_validate_json(config.model_dump_json()) == config


@pytest.mark.parametrize("workers", [1, 2])
def test_a_server_answers_its_clients(store: Path, workers: int) -> None:
    with servers.running(store, workers) as server:
        assert server.capacity == 40
        for body in (clients.by_id, clients.upload):
            report = clients.load(server.port, 2, 0.5, body, N)
            assert report["statuses"].keys() == {200}
            assert 0 < report["p50_ms"] <= report["p99_ms"]
        assert clients.recovery(server.port, N) is not None
        memory = server.memory()
        assert len(memory["rss_mb"]) == workers
        assert 0 < memory["pss_sum_mb"] < memory["rss_sum_mb"]


needs_nginx = pytest.mark.skipif(
    NGINX is None and not os.environ.get("REQUIRE_NGINX"), reason="nginx is not installed"
)


@needs_nginx
def test_crowds_are_measured_behind_nginx(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crowd, "CROWD", 60)
    report = crowd.behind(store, N, 1, 1)
    assert report["many clients by id"]["healthz_asked"] > 0
    for name in ("many clients by id", "many clients that upload"):
        assert report[name]["statuses"].keys() <= {200, 429, 503}
    assert report["back after a worker was killed, s"] is not None
    assert report["stopped"]["statuses"] == {200: 6}


@needs_nginx
def test_honest_clients_are_answered_beside_slow_ones() -> None:
    report = crowd.slow_clients(1, writers=30, readers=10)
    assert report["statuses"].keys() == {200}
    assert report["slow"] == {"writers": 30, "readers": 10}


def test_processes_are_compared_round_by_round(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "ROUNDS", 1)
    report = serve.compare_processes(store, Namespace(n=N, clients=2, seconds=0.5))
    for name, ratio in report["two, of one"].items():
        two, one = report["two processes"][name], report["one process"][name]
        assert ratio == pytest.approx(two / one, abs=0.01), name
    assert report["one process"].keys() >= {
        "search per_second",
        "upload p99_ms",
        "memory pss_sum_mb",
    }


def test_a_server_that_cannot_start_says_why(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(servers, "free_port", lambda: taken.getsockname()[1])
        with pytest.raises(RuntimeError, match="in use"), servers.running(store):
            pass


def test_a_server_that_does_not_recover_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "RECOVERY_S", 0.2)
    assert clients.recovery(free_port(), N) is None
