"""Requests over real sockets."""

import json
import socket
from http.client import HTTPConnection, HTTPResponse
from typing import Any, NamedTuple
from urllib.request import urlopen

FORM = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n%s\r\n--b--\r\n"
QUERY = json.dumps({"image_id": 1, "k": 3})


def ask(port: int, body: str | bytes = QUERY, content_type: str = "application/json") -> Any:
    """Return the status and JSON of one search, over a new connection."""
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


def slow_reader(port: int, path: str, buffer_bytes: int = 4096) -> socket.socket:
    """Return a client that requests a file and reads nothing; its system buffers a few kB."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.connect(("127.0.0.1", port))
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return sock


def metric(port: int, name: str) -> float:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
        text = response.read().decode()
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return float(line.removeprefix(name))
