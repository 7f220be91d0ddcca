"""Clients of a server: as many as wanted, for some seconds, in processes of their own."""

import json
import multiprocessing
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from typing import Any, NamedTuple

import numpy as np

from benchmarks.stores import PHOTOS

K = 30
RECOVERY_S = 60
JSON = "application/json"
FORM = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n%s\r\n--b--\r\n"

Body = Callable[[random.Random, int], tuple[bytes, str]]
"""What a client asks, given chance and the number of images: the body and its media type."""


class Asked(NamedTuple):
    """One request: status, milliseconds of the client's clock, and of the searcher's steps."""

    status: int
    ms: float
    inside_ms: float


def by_id(chance: random.Random, n: int) -> tuple[bytes, str]:
    """Search by any of the stored images, whose ids are 1 to ``n``."""
    return json.dumps({"image_id": chance.randint(1, n), "k": K}).encode(), JSON


def upload(chance: random.Random, _: int) -> tuple[bytes, str]:
    """Search by any of the demo's photographs."""
    photo = chance.choice(PHOTOS).read_bytes()
    return FORM % photo, "multipart/form-data; boundary=b"


def address(number: int) -> str:
    """Return the address of one of many clients on this machine."""
    return f"127.0.{1 + number // 250}.{1 + number % 250}"


def load(port: int, clients: int, seconds: float, body: Body, n: int) -> dict[str, Any]:
    """Ask with many clients at once for some seconds; up to four processes of them.

    Each client has an address and a connection, which is kept. Answers per second and milliseconds
    are those of the searches that were answered, ``answered`` is their share; ``overhead_ms`` is
    what was neither decoding, encoding nor search. Status 0 is a connection that broke.
    """
    processes = min(clients, 4)
    shares = [clients // processes + (i < clients % processes) for i in range(processes)]
    jobs = [(port, share, seconds, body, n, i) for i, share in enumerate(shares)]
    fresh = multiprocessing.get_context("spawn")  # to fork a process with threads is not safe
    together = fresh.Barrier(processes)
    with fresh.Pool(processes, initializer=together.wait) as pool:
        asked = [one for found in pool.starmap(_clients, jobs) for one in found]
    fine = [one for one in asked if one.status == 200]
    refused = [one.ms for one in asked if one.status in (429, 503)]
    return {
        "clients": clients,
        "per_second": round(len(fine) / seconds, 1),
        **spread([one.ms for one in fine]),
        "overhead_ms": round(float(np.median([o.ms - o.inside_ms for o in fine] or [0])), 2),
        "answered": round(len(fine) / len(asked), 4),
        "statuses": dict(Counter(one.status for one in asked)),
        **({"refused": spread(refused)} if refused else {}),
    }


def recovery(port: int, n: int) -> float | None:
    """Return the seconds until five searches in a row are answered; None if it takes a minute."""
    began = time.perf_counter()
    chance = random.Random(3)  # noqa: S311 -- which images are asked for
    row = 0
    while row < 5:
        if time.perf_counter() - began > RECOVERY_S:
            return None
        with closing(HTTPConnection("127.0.0.1", port, timeout=RECOVERY_S)) as connection:
            status = _ask(connection, *by_id(chance, n)).status
        row = row + 1 if status == 200 else 0
        if not row:
            time.sleep(0.01)
    return round(time.perf_counter() - began, 3)


def spread(times: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile, in ms."""
    p50, p99 = np.percentile(times, (50, 99)) if len(times) else (0.0, 0.0)
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def _clients(port: int, count: int, seconds: float, body: Body, n: int, seed: int) -> list[Asked]:
    """Be some clients, each a thread with a connection, for some seconds."""
    until = time.perf_counter() + seconds

    def client(number: int) -> list[Asked]:
        chance = random.Random(seed * 1000 + number)  # noqa: S311
        asked = []
        own = (address(1000 * seed + number), 0)
        with closing(HTTPConnection("127.0.0.1", port, 60, own)) as connection:
            while time.perf_counter() < until:
                asked.append(_ask(connection, *body(chance, n)))
                if asked[-1].status != 200:
                    time.sleep(0.1)  # a tenth of what Retry-After asks for
        return asked

    with ThreadPoolExecutor(count) as pool:
        return [one for found in pool.map(client, range(count)) for one in found]


def _ask(connection: HTTPConnection, body: bytes, content_type: str) -> Asked:
    began = time.perf_counter()
    try:
        headers = {"Content-Type": content_type}
        connection.request("POST", "/api/v1/search", body, headers)
        response = connection.getresponse()
        content = response.read()
    except (OSError, HTTPException):
        connection.close()
        return Asked(0, (time.perf_counter() - began) * 1000, 0)
    ms = (time.perf_counter() - began) * 1000
    inside = 0.0
    if response.status == 200:
        timings = json.loads(content)["timings_ms"]
        inside = sum(timings[stage] for stage in ("decode", "encode", "search"))
    return Asked(response.status, ms, inside)
