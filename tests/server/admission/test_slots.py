"""A real server over sockets: overload, slow clients, signals, a killed worker."""

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from indexer.build import build
from indexer.config import Config
from tests.conftest import small_config
from tests.server.processes import children, running_server, wait_until_answering
from tests.server.sockets import FORM, answer, ask, head, metric, slow_reader, upload
from tests.waiting import eventually

FILE = "/api/v1/images/1/file"
PROBE_PATHS = ("/healthz", "/readyz", "/metrics")


def upload_request(image: bytes) -> bytes:
    form = FORM % image
    return head(len(form)).replace(b"application/json", b"multipart/form-data; boundary=b") + form


def wait_for(port: int, working: int) -> None:
    """Wait until this many requests are being handled."""
    eventually(lambda: metric(port, "lookalike_requests_working") == working)


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A server with two slots, and an index of one image of 12 MB."""
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(noise).save(tmp_path / "images" / "noise.bmp")
    config = small_config(tmp_path / "images", tmp_path / "store")
    build(config)
    with running_server(config, "/readyz", threads=2, max_upload_bytes=100_000) as (_, port):
        yield port, (tmp_path / "images" / "noise.bmp").read_bytes()


def test_a_large_original_is_delivered_whole_however_fast_it_is_read(
    large: tuple[int, bytes],
) -> None:
    """It is a hundred times larger than an upload can be."""
    port, data = large
    with urlopen(f"http://127.0.0.1:{port}{FILE}", timeout=30) as response:
        assert response.read() == data
    with slow_reader(port, FILE, 1 << 16) as sock, sock.makefile("rb") as stream:
        while stream.readline() != b"\r\n":
            pass
        body = b""
        while len(body) < len(data):
            body += stream.read(min(len(data) // 50, len(data) - len(body)))
            time.sleep(0.02)
    assert body == data


def test_slow_readers_take_the_slots_and_probes_are_answered(
    large: tuple[int, bytes],
) -> None:
    """Without a proxy. When they have finished, other clients are answered."""
    port, data = large
    slow = [slow_reader(port, FILE) for _ in range(2)]
    wait_for(port, working=2)
    for _ in range(10):
        status, refused = ask(port)
        assert (status, refused["error"]["code"]) == (503, "overloaded")
        for path in PROBE_PATHS:
            wait_until_answering(port, path)
    assert [answer(sock).body for sock in slow] == [data] * 2
    for sock in slow:
        sock.close()
    wait_for(port, working=0)
    assert ask(port)[0] == 200


def test_an_upload_is_refused_while_it_is_being_sent(large: tuple[int, bytes]) -> None:
    """The connection stays open."""
    port, _ = large
    slow = [slow_reader(port, FILE) for _ in range(2)]
    wait_for(port, working=2)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        for _ in range(3):
            sock.sendall(upload_request(bytes(99_000)))
            refused = answer(sock)
            assert refused.status == 503
            assert set(json.loads(refused.body)["error"]) == {"code", "message", "hint"}
    for sock in slow:
        sock.close()
    wait_for(port, working=0)  # a client that has gone takes no slot


def test_a_zip_is_made_as_it_is_read(large: tuple[int, bytes]) -> None:
    port, _ = large
    with slow_reader(port, "/export.zip?image_id=1") as sock:
        assert answer(sock).body.startswith(b"PK")


def test_without_a_slot_the_answer_is_503_at_once_and_health_checks_succeed(
    demo_config: Config, photos: list[Path]
) -> None:
    """Forty clients share two slots."""
    stop = threading.Event()
    with running_server(demo_config, "/readyz", threads=2) as (_, port):
        image = photos[0].read_bytes()

        def client(_: int) -> Counter[int]:
            seen: Counter[int] = Counter()
            while not stop.is_set():
                status, answered = upload(port, image)
                seen[status] += 1
                assert status == 200 or answered["error"]["code"] == "overloaded"
            return seen

        with ThreadPoolExecutor(40) as pool:
            clients = [pool.submit(client, n) for n in range(40)]
            for _ in range(10):
                wait_until_answering(port)
            time.sleep(2)
            stop.set()
            total = sum((found.result() for found in clients), Counter())
        assert set(total) == {200, 503}
        assert total[503] > total[200], "whoever is refused asks again before others are answered"
        assert [upload(port, image)[0] for _ in range(3)] == [200] * 3


def test_more_connections_than_files_do_not_end_the_server(demo_config: Config) -> None:
    """Further connections wait until others are closed."""
    with running_server(demo_config, "/readyz", max_files=200, threads=2) as (process, port):
        (worker,) = children(process.pid)
        idle = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(250)]
        for sock in idle:
            sock.sendall(b"G")
        with ThreadPoolExecutor(1) as pool:
            asked = pool.submit(ask, port)
            for sock in idle:
                sock.close()
            assert asked.result()[0] == 200
        assert children(process.pid) == [worker]


def test_pending_requests_are_answered_before_the_server_stops(
    demo_config: Config, photos: list[Path]
) -> None:
    with running_server(demo_config, "/readyz", max_encoding=20) as (process, port):
        idle = socket.create_connection(("127.0.0.1", port))
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        for sock in socks:
            sock.sendall(upload_request(photos[0].read_bytes()))
        assert answer(socks[0]).status == 200
        process.send_signal(signal.SIGTERM)
        statuses = [answer(sock).status for sock in socks[1:]]
        process.communicate(timeout=30)
        for sock in (idle, *socks):
            sock.close()
        assert statuses == [200] * 19
        assert process.returncode == 0


def test_a_worker_that_is_killed_under_load_is_replaced(demo_config: Config) -> None:
    with running_server(demo_config, "/readyz") as (process, port):
        stop = threading.Event()
        wrong: list[Any] = []

        def client(_: int) -> None:
            while not stop.is_set():
                try:
                    status, answered = ask(port)
                except (
                    OSError,
                    ValueError,
                    HTTPException,
                ):  # the connection was closed with the worker
                    continue
                if status != 200 or len(answered["results"]) != 3:
                    wrong.append((status, answered))

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, n) for n in range(4)]
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            wait_until_answering(port, "/readyz")
            assert children(process.pid) not in ([], [worker])
            assert ask(port)[0] == 200
            stop.set()
            for found in clients:
                found.result()
        assert wrong == []
