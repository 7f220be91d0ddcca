"""The server beside the searcher alone, and behind nginx before crowds of clients.

    python -m benchmarks.serve --n 118287 [--vectors FILE] [--seconds 20] [--overload 60]
    python -m benchmarks.serve --n 118287 --compare-processes

Makes a store of N vectors (see benchmarks.stores), searches it by stored image in this process,
then over HTTP with several clients; then behind nginx with crowds of them (benchmarks.crowd). With
--compare-processes: one process and two, with as many threads in all.
"""

import argparse
import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from math import nan
from operator import itemgetter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.clients import K, by_id, load, spread, upload
from benchmarks.crowd import behind
from benchmarks.proxy import NGINX
from benchmarks.servers import running
from benchmarks.settings import Defaults
from benchmarks.stores import features, fill
from indexer.config import ServerConfig
from indexer.machine import available_cores
from indexer.search import Searcher

RESULTS = Path("benchmarks/results")
ROUNDS = 3
COMPARED = ("per_second", "p50_ms", "p99_ms", "answered", "rss_sum_mb", "pss_sum_mb")

Figures = dict[str, float]


def main() -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description="The server beside the searcher alone.")
    parser.add_argument("--n", type=int, default=20_000, metavar="N", help="how many vectors")
    parser.add_argument("--vectors", default="", help="features to expand; the demo's without it")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=20, help="of each measurement")
    parser.add_argument("--overload", type=float, default=60, help="seconds of overload")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    parser.add_argument("--workers", type=int, default=1, help="processes that share the threads")
    parser.add_argument("--compare-processes", action="store_true", help="one against two")
    options = parser.parse_args()
    name, way = ("serve", measure)
    if options.compare_processes:
        name, way = ("processes", compare_processes)
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        store = Path(folder) / "store"
        version = fill(store, features(options.vectors), options.n)
        report = {"segments": len(version.segments), **way(store, options)}
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


def measure(store: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure the searcher alone, then the server."""
    n, clients, seconds = options.n, options.clients, options.seconds
    report: dict[str, Any] = {"n": n, "clients": clients, "cores": available_cores()}
    report["workers"] = options.workers
    report["alone"] = alone(store, clients, seconds, n)
    with running(store, options.workers) as server:
        report["one client"] = load(server.port, 1, seconds / 2, by_id, n)
        report["searches"] = load(server.port, clients, seconds, by_id, n)
        report["share of alone"] = report["searches"]["per_second"] / report["alone"]["per_second"]
    if NGINX is None:
        print("nginx is not installed: nothing was measured behind it.")
    else:
        report["behind nginx"] = behind(store, n, seconds, options.overload)
    return report


def alone(store: Path, clients: int, seconds: float, n: int) -> dict[str, Any]:
    """Search by stored image in this process and return the faster of two ways.

    One has a thread per core, the other one per client; each gets half of the seconds.
    """
    searcher = Searcher.open(Defaults(store=store))

    def ask(seed: int, until: float) -> list[float]:
        chance, times = random.Random(seed), []  # noqa: S311 -- which images are asked for
        while (began := time.perf_counter()) < until:
            searcher.search_id(chance.randint(1, n), k=K)
            times.append((time.perf_counter() - began) * 1000)
        return times

    ask(0, time.perf_counter() + seconds / 10)  # the first ones read the files
    ways = []
    for threads in (available_cores(), clients):
        until = time.perf_counter() + seconds / 2
        with ThreadPoolExecutor(threads) as pool:
            times = [ms for own in pool.map(ask, range(threads), repeat(until)) for ms in own]
        rate = round(len(times) / (seconds / 2), 1)
        ways.append({"threads": threads, "per_second": rate, **spread(times)})
    return max(ways, key=itemgetter("per_second"))


def compare_processes(store: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one process and two, with as many threads in all, in turns.

    Returns medians over the rounds, and medians of the ratios of each round.
    """
    rounds = [(served(store, 1, options), served(store, 2, options)) for _ in range(ROUNDS)]
    one, two = zip(*rounds, strict=True)
    ratios = [{name: b[name] / (a[name] or nan) for name in a} for a, b in rounds]
    return {
        "n": options.n,
        "cores": available_cores(),
        "one process": medians(one),
        "two processes": medians(two),
        "two, of one": medians(ratios),
        "rounds": rounds,
    }


def served(store: Path, workers: int, options: argparse.Namespace) -> Figures:
    """Start a server and return its figures: searches by stored image, uploads, then memory."""
    seconds, n = options.seconds, options.n
    with running(store, workers) as server:
        load(server.port, options.clients, seconds / 4, by_id, n)  # each process maps the vectors
        searches = load(server.port, options.clients, seconds, by_id, n)
        # Were there more clients than images are encoded at once, they would be refused.
        uploads = load(server.port, ServerConfig().max_encoding, seconds, upload, n)
        memory = server.memory()
    return {
        f"{group} {name}": value
        for group, found in (("search", searches), ("upload", uploads), ("memory", memory))
        for name, value in found.items()
        if name in COMPARED
    }


def medians(rounds: Sequence[Figures]) -> Figures:
    """Return the median of each figure."""
    return {name: round(median(own[name] for own in rounds), 3) for name in rounds[0]}


if __name__ == "__main__":
    main()
