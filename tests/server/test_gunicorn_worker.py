"""Idle connections: they take no thread, and make room for others. Real servers, real sockets."""

import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection

import pytest

from indexer.config import Config
from tests.server.processes import children, running_server
from tests.server.sockets import answer, ask
from tests.waiting import eventually

THREADS = 6  # a few: a slot is free again a moment after the answer
INDEX = b"GET /api/v1/index HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def idle_clients(port: int, count: int, sent: bytes) -> Iterator[list[socket.socket]]:
    """Connect clients that send a request, or nothing, and read the answer, then are silent."""
    with ExitStack() as stack:
        socks = []
        for _ in range(count):
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
            socks.append(sock)
            if sent:
                sock.sendall(sent)
                assert answer(sock).status == 200
        yield socks


def is_open(sock: socket.socket) -> bool:
    sock.settimeout(0.05)
    try:
        return sock.recv(1) != b""
    except TimeoutError:
        return True
    except ConnectionResetError:
        return False


@pytest.fixture(scope="module")
def few(demo_config: Config) -> Iterator[tuple[int, int]]:
    """A server's port, and how many connections it accepts at the same time."""
    with running_server(demo_config, "/readyz", max_files=200, threads=THREADS) as (_, port):
        yield port, THREADS + 8 + 1


@pytest.fixture(scope="module")
def roomy(demo_config: Config) -> Iterator[int]:
    """A server with more connections than threads."""
    with running_server(demo_config, "/readyz", threads=THREADS) as (_, port):
        yield port


@pytest.mark.parametrize("sent", [b"", INDEX])
def test_idle_connections_keep_nobody_out(few: tuple[int, int], sent: bytes) -> None:
    """The longest idle ones are closed: those kept alive, and those that have sent nothing."""
    port, most = few
    with idle_clients(port, 3 * most, sent) as socks:
        for _ in range(3):
            assert ask(port)[0] == 200
        eventually(lambda: sum(map(is_open, socks)) < most)
        assert not any(map(is_open, socks[:most]))


def test_a_connection_in_use_is_not_closed_for_a_new_one(few: tuple[int, int]) -> None:
    port, most = few
    busy = HTTPConnection("127.0.0.1", port, timeout=20)
    with idle_clients(port, most, b""):
        for _ in range(2 * most):
            busy.request("GET", "/api/v1/index")
            response = busy.getresponse()
            response.read()
            assert response.status == 200
            with socket.create_connection(("127.0.0.1", port), timeout=20):
                pass
    busy.close()


def test_new_connections_take_no_thread_until_they_send(roomy: int) -> None:
    """There are fewer threads than silent clients, and each of these is answered in the end."""
    with idle_clients(roomy, 200, b"") as socks:
        assert ask(roomy)[0] == 200
        for sock in socks:
            sock.sendall(INDEX)
            assert answer(sock).status == 200


def test_a_server_without_files_closes_idle_connections(demo_config: Config) -> None:
    """Its limit of files is below that of its connections, so that files run out first."""
    with running_server(demo_config, "/readyz", max_files=64, threads=40) as (process, port):
        worker = children(process.pid)
        with idle_clients(port, 100, b""):
            assert ask(port)[0] in (200, 503)
        eventually(lambda: ask(port)[0] == 200)
        assert children(process.pid) == worker


def test_a_server_stops_while_clients_are_idle(demo_config: Config) -> None:
    with running_server(demo_config, "/readyz") as (process, port):
        with idle_clients(port, 3, b""), idle_clients(port, 3, INDEX):
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=15)  # it would wait thirty seconds for a request
        assert process.returncode == 0


def test_probes_are_answered_while_every_thread_waits_for_a_client(roomy: int) -> None:
    """Also over a connection that is kept."""
    kept = HTTPConnection("127.0.0.1", roomy, timeout=20)
    with idle_clients(roomy, 50, b"") as socks:
        for sock in socks:
            sock.sendall(b"POST /api/v1/search HTTP/1.1\r\n")  # the rest does not come
        for path in ("/healthz", "/readyz", "/metrics") * 2:
            kept.request("GET", path)
            response = kept.getresponse()
            response.read()
            assert response.status == 200
    kept.close()


@pytest.mark.parametrize(
    ("more", "status"),
    [
        (b"Content-Length: 2\r\n\r\n{}", 200),
        (b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 200),
        (b"A: " + b"a" * 5000 + b"\r\n\r\n", 200),
        (b"\r\n" + INDEX, 200),
    ],
)
def test_probes_with_a_body_are_requests_like_others(
    few: tuple[int, int], more: bytes, status: int
) -> None:
    with socket.create_connection(("127.0.0.1", few[0]), timeout=20) as sock:
        sock.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + more)
        assert answer(sock).status == status


def test_clients_that_do_not_close_stop_nobody(few: tuple[int, int]) -> None:
    """The server closes its side, and waits for theirs while it answers others.

    Stock gunicorn waits two seconds for each, longer than the last client here is ready to.
    """
    port, most = few
    closing = INDEX.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    with ExitStack() as opened:
        for _ in range(3 * most):
            sock = socket.create_connection(("127.0.0.1", port), timeout=20)
            opened.enter_context(sock).sendall(closing)
        assert ask(port)[0] in (200, 503)
    eventually(lambda: ask(port)[0] == 200)
