"""Crowds before a server behind nginx: slow clients, too many, too much, a death, a stop.

Each client has an address of its own, 127.0.x.y (Linux), as nginx bounds what one may ask.
"""

import os
import re
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import numpy as np
from PIL import Image

from benchmarks.clients import FORM, address, by_id, load, recovery, upload
from benchmarks.proxy import Proxy, behind_nginx
from benchmarks.servers import Server, running
from benchmarks.settings import Defaults
from benchmarks.stores import PHOTOS
from indexer.build import build
from indexer.config import ServerConfig

CROWD = 400
"""Clients at once: ten times what the server takes on."""
HONEST = 8
SIDE = 2600
"""Of an image whose file has 20 MB."""
FILE = b"GET /api/v1/images/1/file HTTP/1.1\r\nHost: localhost\r\n\r\n"


def behind(store: Path, n: int, seconds: float, overload_s: float) -> dict[str, Any]:
    """Measure a server of ``n`` images behind nginx."""
    report: dict[str, Any] = {"slow clients": slow_clients(seconds, CROWD, CROWD)}
    with served(store) as (server, proxy):
        report["many clients by id"] = watched(proxy.port, seconds, n)
        before = server.memory()
        overload = load(proxy.port, CROWD, overload_s, upload, n)
        overload["recovery_s"] = recovery(proxy.port, n)
        overload["memory before"], overload["memory after"] = before, server.memory()
        report["many clients that upload"] = overload
        report["back after a worker was killed, s"] = killed(server, proxy.port, n)
        report["stopped"] = stopped(server, proxy.port)
    return report


@contextmanager
def served(store: Path) -> Iterator[tuple[Server, Proxy]]:
    """Serve a store behind nginx until the block ends."""
    with running(store, proxies=1) as server, behind_nginx(server.port) as proxy:
        yield server, proxy


def slow_clients(seconds: float, writers: int, readers: int) -> dict[str, Any]:
    """Let some send half of an upload and some ask for 20 MB and read none; then let others ask."""
    with TemporaryDirectory(prefix="lookalike-bench-") as name, ExitStack() as opened:
        store = Path(name) / "store"
        n = photographs(Path(name) / "images", store)
        _, proxy = opened.enter_context(served(store))
        body = FORM % PHOTOS[0].read_bytes()
        head = (
            f"POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n\r\n"
        )
        for number in range(writers):
            sock = opened.enter_context(connected(proxy.port, number))
            sock.sendall(head.encode() + body[: len(body) // 2])

        def read_nothing(number: int) -> str:
            sock = opened.enter_context(connected(proxy.port, writers + number, 4096))
            sock.sendall(FILE)
            return sock.recv(12).decode().rpartition(" ")[2]

        with ThreadPoolExecutor(HONEST) as pool:
            statuses = list(pool.map(read_nothing, range(readers)))
        report = load(proxy.port, HONEST, seconds, by_id, n)
        report["slow"] = {"writers": writers, "readers": statuses.count("200")}
        return report


def photographs(folder: Path, store: Path) -> int:
    """Index the demo's photographs and an image of 20 MB, the first; return how many they are."""
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    Image.fromarray(noise).save(folder / "0.bmp")
    for number, photo in enumerate(PHOTOS):
        (folder / f"1-{number}.jpg").symlink_to(photo.absolute())
    encoder = {"model": "efficientnet_lite0"}
    build(Defaults(dataset={"root": folder}, store=store, encoder=encoder))
    return 1 + len(PHOTOS)


def watched(port: int, seconds: float, n: int) -> dict[str, Any]:
    """Let 400 clients search by stored image, and ask meanwhile whether the server is alive."""
    done = threading.Event()
    times: list[float] = []

    def watch() -> None:
        while not done.wait(0.1):
            began = time.perf_counter()
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            connection.close()
            times.append((time.perf_counter() - began) * 1000)

    with ThreadPoolExecutor(1) as pool:
        watching = pool.submit(watch)
        report = load(port, CROWD, seconds, by_id, n)
        done.set()
        watching.result()
    return {**report, "healthz_worst_ms": round(max(times), 1), "healthz_asked": len(times)}


def killed(server: Server, port: int, n: int) -> float | None:
    """Kill the worker and return the seconds until five searches in a row are answered."""
    (worker,) = server.workers()
    os.kill(worker, signal.SIGKILL)
    return recovery(port, n)


def stopped(server: Server, port: int) -> dict[str, Any]:
    """Stop the server when it has taken on some uploads; return how they are answered."""
    large = BytesIO()
    Image.open(PHOTOS[0]).resize((6000, 4000)).save(large, "JPEG")
    body = FORM % large.getvalue()

    def ask(number: int) -> int:
        connection = HTTPConnection("127.0.0.1", port, 60, (address(number), 0))
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        with closing(connection):
            connection.request("POST", "/api/v1/search", body, headers)
            return connection.getresponse().status

    uploads = ServerConfig().max_encoding
    with ThreadPoolExecutor(uploads) as pool:
        asking = [pool.submit(ask, number) for number in range(uploads)]
        while (taken := working(server.port)) < uploads and not any(one.done() for one in asking):
            time.sleep(0.01)
        os.kill(server.pid, signal.SIGTERM)
        statuses = Counter(one.result() for one in asking)
    return {"taken on": taken, "statuses": dict(statuses)}


def working(port: int) -> int:
    """Return how many requests a server is answering."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as response:
        text: str = response.read().decode()
    (found,) = re.findall(r"^lookalike_requests_working (\d+)", text, re.MULTILINE)
    return int(found)


def connected(port: int, number: int, buffer_bytes: int | None = None) -> socket.socket:
    """Connect from the address of a client; its system takes so many bytes ahead of it."""
    sock = socket.socket()
    sock.settimeout(60)
    if buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    sock.bind((address(number), 0))
    sock.connect(("127.0.0.1", port))
    return sock
