"""The server beside the searcher alone: latency, throughput, overload, what HTTP costs.

    python -m benchmarks.serve --n 118287 [--vectors FILE] [--seconds 20] [--overload 60]

Makes a store of N vectors (see benchmarks.stores), searches it by stored image in this process,
then over HTTP with several clients, each a process with one connection that is kept. Overload is
ten times the server's capacity in clients that upload photographs.
"""

import argparse
import json
import multiprocessing
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

from benchmarks.stores import PHOTOS, fill, load
from indexer.config import Config, load_config
from indexer.search import Searcher

RESULTS = Path("benchmarks/results/serve.json")
K = 30
JSON = "application/json"
FORM = b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n%s\r\n--b--\r\n"


class Asked(NamedTuple):
    """One request: status, milliseconds of the client's clock, and of the searcher's steps."""

    status: int
    ms: float
    inside_ms: float


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description="The server beside the searcher alone.")
    parser.add_argument("--n", type=int, default=20_000, metavar="N", help="how many vectors")
    parser.add_argument("--vectors", default="", help="features to expand; the demo's without it")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--overload", type=float, default=60, help="seconds of overload")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        store = Path(folder) / "store"
        fill(store, load(options.vectors), options.n)
        report = measure(load_config(None, {"store": str(store)}), options)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


def measure(config: Config, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the searcher alone, then the server."""
    report: dict[str, Any] = {"n": options.n, "clients": options.clients, "cores": os.cpu_count()}
    report["alone"] = alone(config, options.clients, options.seconds, options.n)
    with running(config) as (process, port):
        query = (_by_id, options.n)
        report["one client"] = load_of(port, 1, options.seconds / 2, *query)
        report["searches"] = load_of(port, options.clients, options.seconds, *query)
        report["share of alone"] = report["searches"]["per_second"] / report["alone"]["per_second"]
        server = config.server
        capacity = server.threads + server.max_waiting
        before = resident_bytes(process.pid)
        report["overload"] = load_of(port, 10 * capacity, options.overload, _upload, 0)
        report["overload"]["memory_mb"] = [before / 1e6, resident_bytes(process.pid) / 1e6]
        report["overload"]["recovery_s"] = recovery(port)
    return report


def alone(config: Config, threads: int, seconds: float, n: int) -> dict[str, Any]:
    """Search by stored image in this process, with as many threads as there will be clients."""
    searcher = Searcher.open(config)
    chance = random.Random(1)  # noqa: S311 -- which images are asked for
    for _ in range(50):
        searcher.search_id(chance.randint(1, n), k=K)
    until = time.perf_counter() + seconds

    def ask(seed: int) -> list[float]:
        own, times = random.Random(seed), []  # noqa: S311
        while (began := time.perf_counter()) < until:
            searcher.search_id(own.randint(1, n), k=K)
            times.append((time.perf_counter() - began) * 1000)
        return times

    best: dict[str, Any] = {}
    for count in (2, threads):
        until = time.perf_counter() + seconds / 2
        with ThreadPoolExecutor(count) as pool:
            times = [ms for found in pool.map(ask, range(count)) for ms in found]
        rate = len(times) / (seconds / 2)
        if rate > best.get("per_second", 0):
            best = {"threads": count, "per_second": round(rate, 1), **spread(times)}
    return best


class running:  # noqa: N801 -- reads as a sentence
    """The server as it runs in production, until the block ends."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def __enter__(self) -> tuple["subprocess.Popen[bytes]", int]:
        """Start it and wait until it is ready."""
        port = _free_port()
        command = [sys.executable, "-m", "server", "--store", str(self._config.store)]
        self.process = subprocess.Popen([*command, "--port", str(port)], stderr=subprocess.DEVNULL)
        while _get(port, "/readyz") != 200:
            time.sleep(0.1)
        return self.process, port

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.process.terminate()
        self.process.wait()


def load_of(
    port: int, clients: int, seconds: float, body: Callable[[random.Random, int], Any], n: int
) -> dict[str, Any]:
    """Ask with many clients at once for some seconds; up to four processes of them."""
    processes = min(clients, 4)
    shares = [clients // processes + (i < clients % processes) for i in range(processes)]
    jobs = [(port, share, seconds, body, n, i) for i, share in enumerate(shares)]
    with multiprocessing.get_context("fork").Pool(processes) as pool:
        asked = [one for found in pool.starmap(_clients, jobs) for one in found]
    fine = [one for one in asked if one.status == 200]
    report = {"clients": clients, "per_second": round(len(fine) / seconds, 1)}
    report |= spread([one.ms for one in fine])
    report["overhead_ms"] = round(float(np.median([o.ms - o.inside_ms for o in fine] or [0])), 2)
    report["statuses"] = dict(Counter(one.status for one in asked))
    refused = [one.ms for one in asked if one.status == 503]
    return report | ({"refused": spread(refused)} if refused else {})


def recovery(port: int) -> float:
    """Return the seconds until five searches in a row are answered."""
    began = time.perf_counter()
    row = 0
    chance = random.Random(3)  # noqa: S311
    while row < 5:
        status = _ask(HTTPConnection("127.0.0.1", port, timeout=60), *_by_id(chance, 1000)).status
        row = row + 1 if status == 200 else 0
    return round(time.perf_counter() - began, 3)


def spread(times: Sequence[float]) -> dict[str, float]:
    """Return median and 99th percentile, in ms."""
    p50, p99 = np.percentile(times, (50, 99)) if len(times) else (0.0, 0.0)
    return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}


def resident_bytes(pid: int) -> int:
    """Return the resident memory of a server's worker."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    fields = Path(f"/proc/{children[0]}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def _clients(port: int, count: int, seconds: float, body: Any, n: int, seed: int) -> list[Asked]:
    """Be some clients, each a thread with a connection, for some seconds."""
    until = time.perf_counter() + seconds

    def client(number: int) -> list[Asked]:
        chance = random.Random(seed * 1000 + number)  # noqa: S311
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        asked = []
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


def _by_id(chance: random.Random, n: int) -> tuple[bytes, str]:
    return json.dumps({"image_id": chance.randint(1, n), "k": K}).encode(), JSON


def _upload(chance: random.Random, _: int) -> tuple[bytes, str]:
    photo = chance.choice(PHOTOS).read_bytes()
    return FORM % photo, "multipart/form-data; boundary=b"


def _get(port: int, path: str) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    main()
