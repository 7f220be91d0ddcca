"""Clients that send or read slowly, send without an end, or come in crowds."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import IncompleteRead
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.build import build
from indexer.config import Config
from tests.conftest import small_config
from tests.server.processes import children, running_server
from tests.server.sockets import (
    answer,
    ask,
    head,
    metric,
    refusals,
    slow_reader,
)


@pytest.mark.parametrize("sent", [b"", b"POST /api", head(50), head(50) + b"{"])
def test_slow_clients_hold_no_threads_and_are_sent_away(small: int, sent: bytes) -> None:
    """Twenty of them, where there are two threads; others are answered meanwhile."""
    slow = [socket.create_connection(("127.0.0.1", small)) for _ in range(20)]
    for sock in slow:
        sock.sendall(sent)
    assert [ask(small)[0] for _ in range(10)] == [200] * 10
    for sock in slow:
        sock.settimeout(20)
        if not sent:  # browsers connect in advance
            assert sock.recv(1) == b""
            sock.close()
            continue
        response = answer(sock)
        assert response.status == 408
        assert json.loads(response.body)["error"]["code"] == "request_timeout"
        sock.close()


@pytest.fixture
def large(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    """A server of two threads over one image of 12 MB."""
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(noise).save(tmp_path / "images" / "noise.bmp")
    config = small_config(tmp_path / "images", tmp_path / "store")
    build(config)
    settings = {"threads": 2, "max_waiting": 20, "request_timeout_s": 4}
    with running_server(config, "/readyz", **settings) as (_, port):
        yield port, (tmp_path / "images" / "noise.bmp").read_bytes()


def test_clients_that_read_slowly_hold_no_threads(large: tuple[int, bytes]) -> None:
    """Ten of them, where there are two threads; each gets all of the file in its own time."""
    port, data = large
    slow = [slow_reader(port, "/api/v1/images/1/file") for _ in range(10)]
    while metric(port, "lookalike_answers_sending") < 10:
        time.sleep(0.05)
    assert metric(port, "lookalike_requests_working") <= 1
    assert [ask(port)[0] for _ in range(10)] == [200] * 10
    with ThreadPoolExecutor(10) as pool:
        assert [found.body for found in pool.map(answer, slow)] == [data] * 10
    for sock in slow:
        sock.close()


def test_a_client_that_takes_nothing_is_cut_off(large: tuple[int, bytes]) -> None:
    port, data = large
    with slow_reader(port, "/api/v1/images/1/file") as sock:
        while not metric(port, "lookalike_answers_sending"):
            time.sleep(0.05)
        while metric(port, "lookalike_answers_sending"):
            time.sleep(0.1)
        assert metric(port, "lookalike_answers_bytes") == 0
        assert metric(port, "lookalike_answers_cut_off_total") == 1
        with pytest.raises((IncompleteRead, ConnectionError)):
            answer(sock)
    assert ask(port)[0] == 200
    assert len(data) > 10_000_000


def test_an_answer_that_does_not_fit_into_memory_is_cut_off_and_nothing_else(
    tmp_path: Path,
) -> None:
    """The first file of a zip waits for its client, the second one is too much."""
    (tmp_path / "images").mkdir()
    random = np.random.default_rng(0)
    for number in range(2):
        noise = random.integers(0, 255, (1080, 1080, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / "images" / f"{number}.bmp")
    config = small_config(tmp_path / "images", tmp_path / "store")
    build(config)
    settings = {"threads": 2, "max_upload_bytes": 100_000}  # 3.7 MB of unsent answers
    with running_server(config, "/readyz", **settings) as (process, port):
        (worker,) = children(process.pid)
        for round_ in range(1, 4):
            with slow_reader(port, "/export.zip?image_id=1") as sock:
                while metric(port, "lookalike_answers_cut_off_total") < round_:
                    time.sleep(0.05)
                with pytest.raises((IncompleteRead, ConnectionError)):
                    answer(sock)
            assert ask(port)[0] == 200
        assert metric(port, "lookalike_answers_bytes") == 0
        assert metric(port, "lookalike_answers_sending") == 0
        assert children(process.pid) == [worker]


def test_a_zip_is_made_no_faster_than_it_is_read(large: tuple[int, bytes]) -> None:
    port, _ = large
    with slow_reader(port, "/export.zip?image_id=1") as sock:
        assert answer(sock).body.startswith(b"PK")


def test_more_connections_than_there_can_be_leave_room_for_new_ones(demo_config: Config) -> None:
    """With 200 files, 250 clients that send one byte; those that came first have to go."""
    with running_server(demo_config, "/readyz", max_files=200, threads=2) as (process, port):
        (worker,) = children(process.pid)
        idle = []
        for _ in range(250):
            idle.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            idle[-1].sendall(b"G")
        assert [ask(port)[0] for _ in range(3)] == [200] * 3
        assert idle[0].recv(1) == b""
        assert children(process.pid) == [worker]
        for sock in idle:
            sock.close()


def test_a_head_without_an_end_is_refused(small: int) -> None:
    """However fast it comes: the event loop answers others meanwhile."""
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        with suppress(ConnectionError):  # it may be refused while it is still sent
            sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 30_000_000)
        assert ask(small)[0] == 200
    assert refusals(small, 431) >= 1
