"""Search side by side: the original's NumPy scan, IndexFlatL2, Lookalike exact and approximate.

All search the same vectors in the same process, in turns: some real features, expanded to N
(:mod:`benchmarks.stores`). Queries are made the same way and are not stored.

    python -m benchmarks.search --n 118287 [--vectors FILE.npz | FILE.npy | gaussian]
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.stores import BLOCK, blocks, commit, features, publish
from indexer.config import IndexConfig
from indexer.encoders import Vectors
from indexer.store import Store, Version, open_writer
from indexer.vector_index.opened import Indexes
from indexer.vector_index.promise import Promise

K = 30
BATCH = 64
RESULTS = Path("benchmarks/results/search.json")

Search = Callable[[Vectors], NDArray[np.int64]]


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="Search side by side.")
    parser.add_argument("--n", type=int, default=20_000, metavar="N", help="how many vectors")
    parser.add_argument("--vectors", default="", help="features to expand; the demo's without it")
    parser.add_argument("--queries", type=int, default=500, metavar="N")
    parser.add_argument("--scans", type=int, default=3, help="queries the original has to answer")
    parser.add_argument("--approximate", default="auto", metavar="FACTORY")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.open)))
        return
    source = features(options.vectors)
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        report = measure(source, options, Path(folder))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    show(report)


def measure(source: Vectors | None, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill a store and FAISS with the same vectors, then let them answer the same queries."""
    dim = 4096 if source is None else source.shape[1]
    flat = faiss.IndexFlatL2(dim)
    store = Store(folder / "store")
    report: dict[str, Any] = {"n": options.n, "dim": dim, "k": K}
    with open_writer(store) as writer:
        total = -(-options.n // BLOCK)
        for block in tqdm(blocks(source, options.n, 0), total=total, desc="Vectors", disable=None):
            flat.add(block)
            commit(writer, block)
        version, seconds = publish(writer, dim, options.approximate)
    report["segments"] = len(version.segments)
    report["build_seconds"] = round(seconds, 1)
    files = {kind: structure_bytes(version, kind) for kind in version.manifest.derived}
    report["bytes"] = {"vectors": options.n * dim * 4, **files}
    approximate = version.manifest.derived.get("approximate")
    if approximate and approximate.recall:
        report["measured recall"] = approximate.recall.model_dump()
    report["opening"] = json.loads(
        subprocess.check_output(
            [sys.executable, "-m", "benchmarks.search", "--open", str(store.folder)]
        )
    )
    report["structures"] = {k: d.made_by for k, d in version.manifest.derived.items()}
    queries = np.concatenate(list(blocks(source, options.queries, 1)))
    report |= compare(flat, Indexes.of(version), version, queries, options)
    with open_writer(store) as writer:
        for block in blocks(source, 1000, 2):
            commit(writer, block)
        longer, seconds = publish(writer, dim, options.approximate)
    written = sum(structure_bytes(longer, k) - files[k] for k in files)
    report["adding 1000"] = {"seconds": round(seconds, 1), "bytes": written}
    return report


def structure_bytes(version: Version, kind: Any) -> int:
    """Return the size of a derived structure's files."""
    derived = version.manifest.derived[kind]
    return derived.trained.bytes + sum(part.file.bytes for part in derived.parts.values())


def opened(folder: Path) -> dict[str, float]:
    """Return how long opening a version takes, and the anonymous memory of it and a query."""
    before = anonymous_bytes()
    began = time.perf_counter()
    version = Store(folder).open_published()
    indexes = Indexes.of(version)
    seconds = time.perf_counter() - began
    query = indexes.vectors.vectors(np.array([0]))
    indexes.exact.search(query, K)
    if indexes.approximate:
        indexes.approximate.search(query, K)
    return {"seconds": round(seconds, 3), "anonymous_bytes": anonymous_bytes() - before}


def anonymous_bytes() -> int:
    """Return this process' anonymous resident memory (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def compare(
    flat: faiss.IndexFlatL2,
    indexes: Indexes,
    version: Version,
    queries: Vectors,
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Time everybody on the same queries in turns; compare ids with IndexFlatL2's."""
    stored = faiss.rev_swig_ptr(flat.get_xb(), flat.ntotal * flat.d).reshape(flat.ntotal, flat.d)

    def original(query: Vectors) -> NDArray[np.int64]:
        return np.argsort(np.linalg.norm(stored - query, axis=1))[:K][np.newaxis]

    searches: dict[str, Search] = {
        "IndexFlatL2": lambda q: flat.search(q, K)[1],
        "Lookalike exact": lambda q: indexes.exact.search(q, K)[1] - 1,  # ids start at 1
    }
    promise = Promise.of(version.manifest, IndexConfig().recall)
    if indexes.approximate and promise:
        propose, parameters = indexes.approximate.search, promise.parameters
        searches["Lookalike approximate"] = lambda q: propose(q, K, parameters=parameters)[1] - 1
    times: dict[str, list[float]] = {"the original": []}
    times |= {name: [] for name in searches}
    found: dict[str, list[NDArray[np.int64]]] = {name: [] for name in searches}
    for number in tqdm(range(len(queries)), desc="1 query", disable=None):
        query = queries[number : number + 1]
        if number < options.scans:
            began = time.perf_counter()
            original(query)
            times["the original"].append(time.perf_counter() - began)
        for name, search in searches.items():
            began = time.perf_counter()
            found[name].append(search(query)[0])
            times[name].append(time.perf_counter() - began)
    batches: dict[str, list[float]] = {name: [] for name in searches}
    for start in tqdm(range(0, len(queries) - BATCH + 1, BATCH), desc="64 queries", disable=None):
        for name, search in searches.items():
            began = time.perf_counter()
            search(queries[start : start + BATCH])
            batches[name].append((time.perf_counter() - began) / BATCH)
    truth = np.array(found["IndexFlatL2"])
    return {
        "one query": {name: statistics(own) for name, own in times.items() if own},
        f"{BATCH} queries, each": {name: statistics(own) for name, own in batches.items() if own},
        "recall": {
            name: float(np.mean([len(np.intersect1d(*pair)) / K for pair in zip(own, truth)]))  # noqa: B905
            for name, own in found.items()
        },
        "queries with equal ids": {
            name: int(sum(map(np.array_equal, own, truth))) for name, own in found.items()
        },
        "order confirmed in float64": confirmed(stored, queries, found["Lookalike exact"], truth),
        "queries": len(queries),
        "promise": promise.point.model_dump() if promise else None,
        "stages": stages(indexes, queries),
    }


def confirmed(
    stored: Vectors, queries: Vectors, ours: list[NDArray[np.int64]], theirs: NDArray[np.int64]
) -> str:
    """Settle in float64 who is right where exact search and IndexFlatL2 differ."""
    differing = [n for n in range(len(queries)) if not np.array_equal(ours[n], theirs[n])]
    ours_right, gap = 0, 0.0
    for number in differing:
        query = queries[number].astype(np.float64)
        mine, flat = (
            np.linalg.norm(stored[ids].astype(np.float64) - query, axis=1)
            for ids in (ours[number], theirs[number])
        )
        ours_right += bool((np.sort(mine) <= np.sort(flat) + 1e-9).all())
        gap = max(gap, float(np.abs(mine - flat).max()))
    return f"{ours_right} of {len(differing)} that differ, by at most {gap:.1e} in distance"


def stages(indexes: Indexes, queries: Vectors) -> dict[str, float]:
    """Return the median share of the vectors each stage of exact search leaves."""
    shares: dict[str, list[float]] = {}
    for query in queries[:100]:
        for stage in indexes.exact.search(query[np.newaxis], K).stages:
            shares.setdefault(stage.name, []).append(stage.rows / len(indexes.vectors))
    return {name: round(float(np.median(own)), 4) for name, own in shares.items()}


def statistics(seconds: list[float]) -> dict[str, float]:
    """Return median, p90 and p99 in milliseconds."""
    median, p90, p99 = np.percentile(np.array(seconds) * 1000, (50, 90, 99))
    return {"median_ms": round(median, 3), "p90_ms": round(p90, 3), "p99_ms": round(p99, 3)}


def show(report: dict[str, Any]) -> None:
    """Print the table and the figures beside it."""
    vectors = report["bytes"]["vectors"]
    print(
        f"\n{report['n']:,} x {report['dim']}, {vectors / 1e9:.2f} GB in "
        f"{report['segments']} segments; k = {K}"
    )
    for group in ("one query", f"{BATCH} queries, each"):
        if group not in report or "IndexFlatL2" not in report[group]:
            continue
        base = report[group]["IndexFlatL2"]["median_ms"]
        print(f"\n{group:24}{'median':>10}{'p90':>10}{'p99':>10}{'of Flat':>10}")
        for name, row in report[group].items():
            ratio = row["median_ms"] / base
            print(
                f"{name:24}{row['median_ms']:10.2f}{row['p90_ms']:10.2f}{row['p99_ms']:10.2f}"
                f"{f'1/{1 / ratio:.1f}' if ratio < 1 else f'{ratio:.1f}':>10}"
            )
    for name, recall in report["recall"].items():
        equal = report["queries with equal ids"][name]
        print(
            f"\n{name}: recall@{K} {recall:.4f}, same ids in {equal} of {report['queries']}", end=""
        )
    print(f"\nours confirmed in float64: {report['order confirmed in float64']}")
    print(f"left by each stage (median): {report['stages']}")
    opening = report["opening"]
    print(
        f"opened in {opening['seconds']:.2f} s, anonymous memory "
        f"{opening['anonymous_bytes'] / vectors:.1%} of the vectors' bytes"
    )
    for kind, size in report["bytes"].items():
        print(f"{kind}: {size / vectors:.1%} of the vectors, {report['structures'].get(kind, '')}")
    if promise := report["promise"]:
        print(
            f"approximate promises recall {promise['recall']:.4f} with {promise['nprobe']} lists "
            f"and {promise['reranked']} candidates"
        )
    added = report["adding 1000"]
    print(
        f"structures built in {report['build_seconds']} s with the recall measured; "
        f"1,000 more vectors: {added['seconds']} s, {added['bytes'] / vectors:.2%} written"
    )


if __name__ == "__main__":
    main()
