"""The worker with real sockets: slow clients, overload, signals."""

import json
import os
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPConnection, HTTPResponse, IncompleteRead
from pathlib import Path
from typing import Any, NamedTuple
from urllib.request import urlopen

import numpy as np
import pytest
from PIL import Image

from indexer.build import build
from indexer.config import Config
from tests.conftest import small_config
from tests.server.processes import children, running_server, wait_until_answering

FORM = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n%s\r\n--b--\r\n"
QUERY = json.dumps({"image_id": 1, "k": 3})


def ask(port: int, body: str | bytes = QUERY, content_type: str = "application/json") -> Any:
    """The status and the JSON of one search over a connection of its own."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("POST", "/api/v1/search", body, {"Content-Type": content_type})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def upload(port: int, image: bytes) -> Any:
    return ask(port, FORM % image, "multipart/form-data; boundary=b")


def head(length: int, *lines: str) -> bytes:
    fields = ["POST /api/v1/search HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return "\r\n".join([*fields, f"Content-Length: {length}", *lines, "", ""]).encode()


class Answer(NamedTuple):
    status: int
    connection: str | None
    body: bytes


def answer(sock: socket.socket) -> Answer:
    response = HTTPResponse(sock)
    response.begin()
    try:
        return Answer(response.status, response.getheader("Connection"), response.read())
    finally:
        response.close()


@pytest.fixture(scope="module")
def small(demo_config: Config) -> Iterator[int]:
    """A server of two threads that gives a request two seconds to arrive."""
    settings = {"threads": 2, "max_waiting": 2, "request_timeout_s": 2, "max_upload_bytes": 100_000}
    with running_server(demo_config, "/readyz", **settings) as (_, port):
        yield port


@pytest.mark.parametrize("sent", [b"", b"POST /api", head(50), head(50) + b"{"])
def test_slow_clients_hold_no_threads_and_are_sent_away(small: int, sent: bytes) -> None:
    """Twenty of them, where there are two threads; others are answered meanwhile."""
    slow = [socket.create_connection(("127.0.0.1", small)) for _ in range(20)]
    for sock in slow:
        sock.sendall(sent)
    assert [ask(small)[0] for _ in range(10)] == [200] * 10
    for sock in slow:
        sock.settimeout(20)
        response = answer(sock)
        assert response.status == 408
        assert json.loads(response.body)["error"]["code"] == "request_timeout"
        sock.close()


def slow_reader(port: int, path: str) -> socket.socket:
    """A client that asks for a file and takes nothing of it; its system takes a few kB."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


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


def test_a_zip_is_made_no_faster_than_it_is_read(large: tuple[int, bytes]) -> None:
    port, _ = large
    with slow_reader(port, "/export.zip?image_id=1") as sock:
        assert answer(sock).body.startswith(b"PK")


def test_a_request_may_come_in_pieces(small: int) -> None:
    with socket.create_connection(("127.0.0.1", small)) as sock:
        for byte in head(len(QUERY)) + QUERY.encode():
            sock.sendall(bytes([byte]))
        assert answer(sock).status == 200


def test_a_connection_serves_request_after_request_also_sent_at_once(small: int) -> None:
    request = head(len(QUERY)) + QUERY.encode()
    with socket.create_connection(("127.0.0.1", small)) as sock:
        for count in (1, 3):
            sock.sendall(request * count)
            stream = sock.makefile("rb")
            for _ in range(count):
                assert stream.readline().startswith(b"HTTP/1.1 200")
                fields = dict(
                    line.lower().split(b": ", 1) for line in iter(stream.readline, b"\r\n")
                )
                stream.read(int(fields[b"content-length"]))


def test_a_client_that_waits_for_leave_to_send_gets_it(small: int) -> None:
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(head(len(QUERY), "Expect: 100-continue"))
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(QUERY.encode())
        with sock.makefile("rb") as stream:
            assert stream.readline().startswith(b"HTTP/1.1 200")


def test_too_long_a_body_is_refused_before_it_is_sent(small: int) -> None:
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(head(10**9))
        response = answer(sock)
        assert (response.status, response.connection) == (413, "close")
        assert json.loads(response.body)["error"]["code"] == "upload_too_large"


def test_chunked_bodies_are_refused(small: int) -> None:
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        fields = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
        sock.sendall(fields)
        assert answer(sock).status == 411


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Content-Length: -1",
        b"Content-Length: 00000000000000000004",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"Transfer-Encoding: Chunked",
        b"transfer-encoding: xchunked, chunked",
        b"Content-Length: 4, 5",
        b"Content-Length : 4",
        b"X: a\rY: b",
        b"X" * 70_000,
    ],
)
def test_heads_that_can_be_read_in_two_ways_are_refused(small: int, smuggled: bytes) -> None:
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(head(0).replace(b"Content-Length: 0", smuggled) + b"{}{}")
        refused = answer(sock)
        assert refused.status in (400, 411, 431)
        assert refused.connection == "close"
        assert set(json.loads(refused.body)["error"]) == {"code", "message", "hint"}
    assert ask(small)[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA\x00B: c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 411),
        (b"GET / HTTP/1.1\r\nExpect: magic\r\n\r\n", 400),
        (b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_what_is_no_http_is_refused_in_the_shape_of_every_error(
    small: int, sent: bytes, status: int
) -> None:
    before = refusals(small, status)
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(sent)
        response = HTTPResponse(sock)
        response.begin()
        error = json.loads(response.read())["error"]
    assert response.status == status
    assert set(error) == {"code", "message", "hint"}
    assert len(response.headers["X-Request-Id"]) == 16
    assert "gunicorn" not in str(error).lower()
    assert refusals(small, status) == before + 1


def refusals(port: int, status: int) -> float:
    return metric(port, f'lookalike_requests_refused_total{{status="{status}"}}')


def metric(port: int, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.removeprefix(name))


def test_a_head_without_an_end_is_refused(small: int) -> None:
    """However fast it comes: the event loop answers others meanwhile."""
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        with suppress(ConnectionError):  # it may be refused while it is still sent
            sock.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 30_000_000)
        assert ask(small)[0] == 200
    assert refusals(small, 431) >= 1


def test_what_watches_the_server_does_not_wait_for_a_thread(
    demo_config: Config, photos: list[Path]
) -> None:
    """Of what waits in line before it, some still waits when it is answered."""
    form = FORM % photos[0].read_bytes()
    fields = head(len(form)).replace(b"application/json", b"multipart/form-data; boundary=b")
    settings = {"threads": 1, "max_waiting": 30}
    with running_server(demo_config, "/readyz", **settings) as (_, port):
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(30)]
        for sock in socks:
            sock.sendall(fields + form)
        assert metric(port, "lookalike_requests_waiting") > 0
        for sock in socks:
            assert answer(sock).status == 200
            sock.close()


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


def test_beyond_capacity_the_answer_is_503_at_once_and_health_is_answered(
    demo_config: Config, photos: list[Path]
) -> None:
    """Forty clients ask two threads with two places in the queue."""
    settings = {"threads": 2, "max_waiting": 2, "max_encoding": 2}
    stop = threading.Event()
    with running_server(demo_config, "/readyz", **settings) as (_, port):
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
        assert [upload(port, image)[0] for _ in range(3)] == [200] * 3


def test_stopping_answers_what_has_been_asked(demo_config: Config, photos: list[Path]) -> None:
    image = photos[0].read_bytes()
    with running_server(demo_config, "/readyz", threads=2, max_waiting=30) as (process, port):
        idle = socket.create_connection(("127.0.0.1", port))
        socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        form = FORM % image
        for sock in socks:
            fields = head(len(form)).replace(
                b"application/json", b"multipart/form-data; boundary=b"
            )
            sock.sendall(fields + form)
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
                except (OSError, ValueError):  # the connection went with the worker
                    continue
                if status != 200 or len(answered["results"]) != 3:
                    wrong.append((status, answered))

        with ThreadPoolExecutor(4) as pool:
            clients = [pool.submit(client, n) for n in range(4)]
            (worker,) = children(process.pid)
            os.kill(worker, signal.SIGKILL)
            while children(process.pid) in ([], [worker]):
                time.sleep(0.05)
            wait_until_answering(port, "/readyz")
            assert ask(port)[0] == 200
            stop.set()
            for found in clients:
                found.result()
        assert wrong == []
