"""Debian's nginx with ``deploy/nginx.conf`` in front of a real server."""

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from html import unescape
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import parse_qsl, urljoin, urlsplit

import numpy as np
import pytest
from PIL import Image

from benchmarks.proxy import CONFIGURATION, NGINX, Proxy, behind_nginx
from indexer.build import build
from indexer.config import Config, ServerConfig
from server.admission.slots import SPARE_THREADS
from server.app import max_request_bytes
from tests.conftest import small_config
from tests.server.processes import running_server
from tests.server.sockets import FORM, answer, ask, head, metric
from tests.waiting import eventually

pytestmark = pytest.mark.skipif(
    NGINX is None and not os.environ.get("REQUIRE_NGINX"), reason="nginx is not installed"
)
UPLOAD = "multipart/form-data; boundary=b"


def test_its_limits_are_those_of_the_server() -> None:
    """Compare the default settings of both."""
    settings, server = CONFIGURATION.read_text(), ServerConfig()
    ((body, buffered),) = re.findall(
        r"client_max_body_size (\d+)m;\s*client_body_buffer_size (\d+)m;", settings
    )
    assert body == buffered
    assert 0 <= int(body) * 2**20 - max_request_bytes(server) < 2**20
    (connections,) = re.findall(r"max_conns=(\d+);", settings)
    assert server.threads < int(connections) < server.threads + SPARE_THREADS


@pytest.fixture(scope="module")
def proxy(demo_config: Config) -> Iterator[Proxy]:
    with (
        running_server(demo_config, "/readyz", proxies=1) as (_, port),
        behind_nginx(port) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Proxy, int, bytes]]:
    """One image of 12 MB: nginx in front of a server with four slots, its port, and the image."""
    folder = tmp_path_factory.mktemp("large")
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), np.uint8)
    (folder / "images").mkdir()
    Image.fromarray(noise).save(folder / "images" / "noise.bmp")
    config = small_config(folder / "images", folder / "store")
    build(config)
    with (
        running_server(config, "/readyz", proxies=1, threads=4) as (_, port),
        behind_nginx(port) as running,
    ):
        yield running, port, (folder / "images" / "noise.bmp").read_bytes()


def connected(port: int, client: int = 1, buffer_bytes: int | None = None) -> socket.socket:
    """Connect as one of many clients, each with its own address."""
    sock = socket.socket()
    sock.settimeout(60)
    if buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.bind((f"127.0.1.{client}", 0))
    sock.connect(("127.0.0.1", port))
    return sock


def get(port: int, path: str, client: int = 1, **headers: str) -> tuple[int, bytes]:
    with connected(port, client) as sock:
        lines = [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        fields = "".join(f"{line}\r\n" for line in ("Host: localhost", *lines))
        sock.sendall(f"GET {path} HTTP/1.1\r\n{fields}\r\n".encode())
        found = answer(sock)
        return found.status, found.body


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (head(30_000_000), 413, "upload_too_large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", 414, "address_too_long"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 9000 + b"\r\n\r\n", 431, "header_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),  # no Host
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\r\n\r\n", 400, "bad_request"),
        (head(0).replace(b"Content-Length: 0", b"Content-Length: x"), 400, "bad_request"),
        (head(0, "Content-Length: 4"), 400, "bad_request"),
    ],
)
def test_what_nginx_refuses_has_the_shape_of_every_error(
    proxy: Proxy, sent: bytes, status: int, code: str
) -> None:
    with connected(proxy.port) as sock:
        sock.sendall(sent)
        response = HTTPResponse(sock)
        response.begin()
        error = json.loads(response.read())["error"]
    assert (response.status, error["code"]) == (status, code)
    assert response.headers["Content-Type"] == "application/json"
    assert len(response.headers["X-Request-Id"]) == 32
    assert "Retry-After" not in response.headers
    assert set(error) == {"code", "message", "hint"}


def test_nginx_answers_in_that_shape_without_the_server(demo_config: Config) -> None:
    with (
        running_server(demo_config, "/readyz", proxies=1) as (process, port),
        behind_nginx(port) as proxy,
    ):
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
        status, refused = ask(proxy.port)
        assert (status, refused["error"]["code"]) == (503, "overloaded")


def test_a_client_that_asks_too_often_is_refused_and_others_are_not(proxy: Proxy) -> None:
    def asked(_: int) -> tuple[int, bytes]:
        return get(proxy.port, "/nothing", client=2)

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(asked, range(400)))
    assert {status for status, _ in answers} == {404, 429}
    refused = next(body for status, body in answers if status == 429)
    assert json.loads(refused)["error"]["code"] == "too_many_requests"
    assert get(proxy.port, "/healthz", client=2)[0] == 200
    assert get(proxy.port, "/api/v1/index", client=3)[0] == 200


def test_the_addresses_of_one_ipv6_network_are_one_client(demo_config: Config) -> None:
    """A test has one IPv6 address; nginx takes others from a header, as behind another proxy."""
    others = "set_real_ip_from 127.0.0.0/8; real_ip_header X-Client;"
    with (
        running_server(demo_config, "/readyz", proxies=1) as (_, port),
        behind_nginx(port, also=others) as proxy,
    ):

        def asked(address: str) -> int:
            return get(proxy.port, "/nothing", X_Client=address)[0]

        with ThreadPoolExecutor(20) as pool:
            networks = list(pool.map(asked, (f"2001:db8:{n:x}::1" for n in range(400))))
            mapped = list(
                pool.map(asked, (f"::ffff:10.0.{n // 200}.{n % 200}" for n in range(400)))
            )
            one = list(pool.map(asked, (f"2001:db8::{n:x}" for n in range(400))))
    assert {*networks, *mapped} == {404}
    assert {*one} == {404, 429}


def test_a_request_of_http_1_0_needs_no_host(proxy: Proxy) -> None:
    with connected(proxy.port) as sock:
        sock.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert answer(sock).status == 200


def test_the_largest_upload_stays_in_memory(proxy: Proxy, photos: list[Path]) -> None:
    """Whole and in chunks; nginx would log that it wrote the body to a file."""
    photo = photos[0].read_bytes()
    form = FORM % (photo + bytes(20_000_000 - len(photo)))
    assert ask(proxy.port, form, UPLOAD)[0] == 200
    pieces = (form[at : at + 65_536] for at in range(0, len(form), 65_536))
    connection = HTTPConnection("127.0.0.1", proxy.port, timeout=60)
    headers = {"Content-Type": UPLOAD}
    connection.request("POST", "/api/v1/search", pieces, headers, encode_chunked=True)
    response = connection.getresponse()
    assert (response.status, len(json.loads(response.read())["results"])) == (200, 30)
    connection.close()
    assert "temporary file" not in proxy.log.read_text()


def test_slow_clients_do_not_keep_others_waiting(
    large: tuple[Proxy, int, bytes], photos: list[Path]
) -> None:
    """A hundred clients send half a body, a dozen read nothing; the server has four slots."""
    proxy, server, data = large
    form = FORM % photos[0].read_bytes()
    request = head(len(form)).replace(b"application/json", UPLOAD.encode()) + form
    with ExitStack() as opened:
        writers = [opened.enter_context(connected(proxy.port, n)) for n in range(1, 101)]
        for sock in writers:
            sock.sendall(request[: len(request) // 2])
        readers = []
        for n in range(101, 113):
            readers.append(opened.enter_context(connected(proxy.port, n, buffer_bytes=1 << 16)))
            readers[-1].sendall(b"GET /api/v1/images/1/file HTTP/1.1\r\nHost: localhost\r\n\r\n")
            wait_until_idle(server)
        assert [ask(proxy.port)[0] for _ in range(20)] == [200] * 20
        for sock in readers:  # the whole answer is still there for them
            assert answer(sock).body == data
        for sock in writers[::25]:
            sock.sendall(request[len(request) // 2 :])
            assert answer(sock).status == 200


def wait_until_idle(server: int) -> None:
    eventually(lambda: metric(server, "lookalike_requests_working") == 0)


@pytest.mark.parametrize("buffer_bytes", [None, 1 << 16])
def test_a_large_original_is_delivered_whole(
    large: tuple[Proxy, int, bytes], buffer_bytes: int | None
) -> None:
    proxy, _, data = large
    with connected(proxy.port, buffer_bytes=buffer_bytes) as sock:
        sock.sendall(b"GET /api/v1/images/1/file HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer(sock).body == data


def test_the_clients_address_comes_from_nginx(demo_config: Config) -> None:
    """Not the one in the client's own headers."""
    with (
        running_server(demo_config, "/readyz", proxies=1, rate_limit="2/hour") as (_, port),
        behind_nginx(port) as proxy,
    ):
        path = "/api/v1/index"
        said = [get(proxy.port, path, X_Forwarded_For=f"10.0.0.{n}")[0] for n in range(3)]
        assert said == [200, 200, 429]
        assert get(proxy.port, path, client=2)[0] == 200
        page = get(proxy.port, "/collection", client=2, X_Forwarded_Prefix="/evil")[1]
        assert b"evil" not in page


def test_below_a_prefix_every_url_has_it(demo_config: Config) -> None:
    """Follow all links, from the start page."""
    with (
        running_server(demo_config, "/readyz", proxies=1) as (_, port),
        behind_nginx(port, "/photos") as proxy,
    ):
        seen, to_see = set[str](), ["/photos/", "/photos/openapi.json", "/photos/readyz"]
        kinds = set()
        while to_see and len(seen) < 60:
            path = to_see.pop(0)
            parts = urlsplit(path)
            kind = re.sub(r"[\d.,]+", "", parts.path), frozenset(dict(parse_qsl(parts.query)))
            if path in seen or kind in kinds:
                continue
            status, page = get(proxy.port, path)
            assert status in (200, 302, 422), path  # an export of nothing is refused
            seen.add(path)
            kinds.add(kind)
            text = page.decode("utf-8", "replace") if page.startswith(b"<!doctype html") else ""
            for found in re.findall(r'(?:href|src|action|data-source|data-marks)="([^"#]+)"', text):
                address = urljoin(path, unescape(found))
                assert address.startswith(("/photos/", "data:")), (path, found)
                if address.startswith("/photos/"):
                    to_see.append(address)
        places = {place for place, _ in kinds}
        assert {"/photos/images/", "/photos/collection/images", "/photos/docs"} <= places
        answered = json.loads(get(proxy.port, "/photos/api/v1/images/1")[1])
        assert get(proxy.port, answered["url"])[0] == 200
        document = json.loads(get(proxy.port, "/photos/openapi.json")[1])
        assert document["servers"] == [{"url": "/photos"}]
