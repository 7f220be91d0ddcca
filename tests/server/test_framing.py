"""What is a request on the wire, and what is none."""

import json
import re
import socket
import time
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.server.sockets import (
    FORM,
    QUERY,
    answer,
    ask,
    head,
    refusals,
)


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


def test_requests_that_overtake_answers_are_told_apart(small: int, photos: list[Path]) -> None:
    """A second one comes with the first, a third one while that is still being answered."""
    form = FORM % photos[0].read_bytes()
    upload_head = head(len(form)).replace(b"application/json", b"multipart/form-data; boundary=b")
    post = head(len(QUERY)) + QUERY.encode()
    for third in (post, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
            sock.sendall(upload_head + form + post)
            time.sleep(0.005)
            sock.sendall(third)
            stream = sock.makefile("rb")
            for _ in range(3):
                assert stream.readline().startswith(b"HTTP/1.1 200")
                fields = dict(
                    line.lower().split(b": ", 1) for line in iter(stream.readline, b"\r\n")
                )
                stream.read(int(fields[b"content-length"]))


def test_a_second_request_that_is_refused_is_refused_at_once(small: int) -> None:
    chunked = head(0).replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    with socket.create_connection(("127.0.0.1", small), timeout=10) as sock:
        sock.sendall(head(len(QUERY)) + QUERY.encode() + chunked)
        answers = b"".join(iter(lambda: sock.recv(1 << 16), b""))
    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"200", b"411"]


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
