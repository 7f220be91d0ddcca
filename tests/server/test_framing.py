"""How requests are framed: pipelining, chunks, ambiguous heads."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

from indexer.config import Config
from tests.server.processes import running_server
from tests.server.sockets import FORM, QUERY, answer, ask, head

LIMIT = 100_000 + 128 * 1024
"""Largest size of a body."""


@pytest.fixture(scope="module")
def demo(demo_config: Config) -> Iterator[int]:
    """A server with the default limits."""
    with running_server(demo_config, "/readyz") as (_, port):
        yield port


def test_a_request_may_come_in_pieces(small: int) -> None:
    with socket.create_connection(("127.0.0.1", small)) as sock:
        for byte in head(len(QUERY)) + QUERY.encode():
            sock.sendall(bytes([byte]))
        assert answer(sock).status == 200


def test_a_connection_serves_request_after_request_also_sent_at_once(
    small: int, photos: list[Path]
) -> None:
    """Send searches; after an upload also a pipelined search."""
    form = FORM % photos[0].read_bytes()
    upload_head = head(len(form)).replace(b"application/json", b"multipart/form-data; boundary=b")
    post = head(len(QUERY)) + QUERY.encode()
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        for sent, count in ((post, 1), (post * 3, 3), (upload_head + form + post, 2)):
            sock.sendall(sent)
            stream = sock.makefile("rb")
            for _ in range(count):
                assert stream.readline().startswith(b"HTTP/1.1 200")
                fields = dict(
                    line.lower().split(b": ", 1) for line in iter(stream.readline, b"\r\n")
                )
                stream.read(int(fields[b"content-length"]))


def test_a_client_that_waits_for_100_continue_gets_it(small: int) -> None:
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
        assert response.status == 413
        assert json.loads(response.body)["error"]["code"] == "upload_too_large"


def chunked(port: int, body: bytes, media_type: str, size: int = 4096) -> tuple[int, bytes]:
    """Send a body in chunks, without its length, and return the answer."""
    pieces = (body[at : at + size] for at in range(0, len(body), size))
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        headers = {"Content-Type": media_type}
        connection.request("POST", "/api/v1/search", pieces, headers, encode_chunked=True)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def test_bodies_may_come_in_chunks(small: int, photos: list[Path]) -> None:
    form = FORM % photos[0].read_bytes()
    for body, media_type in (
        (QUERY.encode(), "application/json"),
        (form, "multipart/form-data; boundary=b"),
    ):
        status, found = chunked(small, body, media_type)
        assert status == 200, found
        assert json.loads(found)["results"]


@pytest.mark.parametrize("media_type", ["application/json", "multipart/form-data; boundary=b"])
def test_the_limit_holds_for_chunks_as_well(small: int, media_type: str) -> None:
    """The answer is sent before the body ends, and reaches a client that is still sending."""
    body = (FORM % bytes(LIMIT))[: LIMIT + 1]
    status, refused = chunked(small, body, media_type)
    assert status == 413
    assert json.loads(refused)["error"]["code"] == "upload_too_large"


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\n{}\r\n0\r\n\r\n",
        b"-1\r\n{}\r\n0\r\n\r\n",
        b"0x2\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}XX0\r\n\r\n",
        b"2;" + b"a" * 20_000 + b"\r\n{}\r\n0\r\n\r\n",
        b"2\r\n{}\r\n0\r\nContent-Length: 5\r\n\r\n",
        b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 500 + b"\r\n",
    ],
)
@pytest.mark.parametrize("media_type", [b"application/json", b"multipart/form-data; boundary=b"])
def test_malformed_chunks_are_refused(small: int, media_type: bytes, chunks: bytes) -> None:
    """The connection is closed: where the next request would begin is unknown."""
    sent = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(sent.replace(b"application/json", media_type) + chunks)
        refused = answer(sock)
        assert refused.status == 400
        assert json.loads(refused.body)["error"]["code"] == "bad_request"
        assert sock.recv(1) == b""


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": "application/json"}, 413),
        ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({"Content-Type": "multipart/form-data"}, 400),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": "application/json", "Host": "evil.test"}, 400),
    ],
)
@pytest.mark.parametrize("is_chunked", [True, False])
def test_a_client_whose_body_is_refused_gets_the_answer(
    demo: int, headers: dict[str, str], status: int, *, is_chunked: bool
) -> None:
    """It sends ten megabytes before it reads; the connection then serves further requests."""
    body = b"[" * 10_000_000
    pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    connection = HTTPConnection("127.0.0.1", demo, timeout=30)
    try:
        for _ in range(2):
            sent = pieces if is_chunked else body
            connection.request("POST", "/api/v1/search", sent, headers, encode_chunked=is_chunked)
            response = connection.getresponse()
            assert response.status == status
            assert json.loads(response.read())["error"]["hint"]
            pieces = (body[at : at + 65_536] for at in range(0, len(body), 65_536))
    finally:
        connection.close()


@pytest.mark.parametrize(
    "smuggled",
    [
        b"Content-Length: 4\r\nContent-Length: 5",
        b"Content-Length: 4\r\nTransfer-Encoding: chunked",
        b"Content-Length: -1",
        b"Content-Length: \xb2",
        b"Content-Length:",
        b"transfer-encoding: xchunked, chunked",
        b"Content-Length: 4, 5",
        b"Content-Length : 4",
        b"X: a\rY: b",
        b"A\x00B: c",
        b"A: b\r\n c",
        b"Transfer-Encoding: magic",
        b"A: b\r\n" * 200,
        b"X" * 70_000,
    ],
)
def test_heads_that_can_be_read_in_two_ways_are_refused(small: int, smuggled: bytes) -> None:
    """The connection is closed: the rest is not read as a request. Gunicorn writes the page."""
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(head(0).replace(b"Content-Length: 0", smuggled) + b"{}{}")
        refused = answer(sock)
        assert 400 <= refused.status <= 501
        assert refused.connection == "close"
    assert ask(small)[0] == 200


def ask_raw(port: int, sent: bytes) -> tuple[int, bytes]:
    """Send bytes over a new connection; return the status and body of the answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(sent)
        found = answer(sock)
        return found.status, found.body


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /api/v1/index HTTP/1.1\r\nHost: localhost:8000\r\n\r\n", 200),
        (b"GET /api/v1/index HTTP/1.0\r\n\r\n", 200),  # had no Host
        (b"GET /api/v1/index HTTP/1.1\r\n\r\n", 400),
        (b"GET /api/v1/index HTTP/1.1\r\nHost:\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 200),
        (b"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1\r\n\r\n", 200),
        (b"GET /api/v1/index HTTP/1.1\r\nHost: evil.test\r\n\r\n", 400),
        (b"GET /api/v1/index HTTP/1.1\r\nHost: localhost\xff\r\n\r\n", 400),
        (b"GET /api/v1/index HTTP/1.1\r\nHost: localhost\r\nHost: evil.test\r\n\r\n", 400),
        (b"GET http://localhost/api/v1/index HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET http://LOCALHOST/api/v1/index HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        (b"GET http://evil.test/api/v1/index HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://evil.test/api/v1/index HTTP/1.1\r\nHost: evil.test\r\n\r\n", 400),
        (b"GET http://localhost@evil.test/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http:///api/v1/index HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET http://localhost/api/v1/index HTTP/1.0\r\n\r\n", 400),
        (b"CONNECT evil.test:443 HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
    ],
)
def test_a_request_is_for_one_host_that_can_be_told(small: int, sent: bytes, status: int) -> None:
    found, _ = ask_raw(small, sent)
    assert found == status


def test_an_expectation_in_http_1_0_is_ignored(small: int) -> None:
    """RFC 9110, 10.1.1: the answer is that of the request, without 100 Continue before it."""
    sent = head(len(QUERY), "Expect: 100-continue").replace(b"HTTP/1.1", b"HTTP/1.0")
    status, found = ask_raw(small, sent + QUERY.encode())
    assert status == 200, found
    assert json.loads(found)["results"]


def test_other_expectations_are_refused(small: int) -> None:
    assert ask_raw(small, head(0, "Expect: a-miracle"))[0] == 417


@pytest.mark.parametrize("name", [b"SCRIPT_NAME", b"script_name", b"PATH_INFO", b"REMOTE_USER"])
def test_headers_of_a_client_are_no_variables_of_the_server(small: int, name: bytes) -> None:
    """A proxy that refuses /metrics would let /public/metrics pass; links would lead elsewhere."""
    fields = b"Host: localhost\r\n" + name + b": /public\r\n\r\n"
    assert ask_raw(small, b"GET /public/metrics HTTP/1.1\r\n" + fields)[0] == 404
    status, page = ask_raw(small, b"GET /?image_id=1 HTTP/1.1\r\n" + fields)
    assert status == 200
    assert b"/public" not in page


@pytest.mark.parametrize(
    "path", [b"//evil.test/", b"/\\evil.test", b"//evil.test/..", b"/%00", b"/a%00b"]
)
def test_no_path_leads_to_another_server(small: int, path: bytes) -> None:
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        response = HTTPResponse(sock)
        response.begin()
        assert response.status == 404
        assert response.getheader("Location") is None
        response.close()
