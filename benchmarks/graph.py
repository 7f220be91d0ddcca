"""The neighbour graph beside single exact searches, and beside FAISS' knn in the same blocks.

All over the same vectors in one process: some real features, expanded to N
(:mod:`benchmarks.stores`). Single searches and FAISS' blocks are samples, half of them before the
graph is made and half after, since a machine may be busier at one time than at another. The
searches are also compared with the graph.

    python -m benchmarks.graph --n 20000 [--vectors FILE.npz | FILE.npy]
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.search import anonymous_bytes
from benchmarks.settings import Defaults
from benchmarks.stores import features, fill
from indexer.analysis import Graph, make_graph, open_graph
from indexer.encoders import Vectors
from indexer.store import Store
from indexer.vector_index.base import Found
from indexer.vector_index.neighbours import BLOCK
from indexer.vector_index.opened import Indexes

K = 50
RESULTS = Path("benchmarks/results/graph.json")


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="The neighbour graph, side by side.")
    parser.add_argument("--n", type=int, default=20_000, metavar="N", help="how many vectors")
    parser.add_argument("--vectors", default="", help="features to expand; the demo's without it")
    parser.add_argument("--searches", type=int, default=300, metavar="N", help="single searches")
    parser.add_argument("--blocks", type=int, default=8, metavar="N", help="blocks for FAISS")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    options = parser.parse_args()
    source = features(options.vectors)
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        report = measure(source, options, Path(folder) / "store")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    show(report)


def measure(source: Vectors | None, options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Fill a store, make its graph, search some of its images singly, and let FAISS do the same."""
    version = fill(folder, source, options.n)
    indexes, dim = Indexes.of(version), version.manifest.dim
    sample = np.linspace(0, options.n - 1, options.searches, dtype=int)
    blocks = blocks_of(options.n, options.blocks)
    found: list[Found] = []

    def others(half: int) -> tuple[float, float]:
        """Return how long half of the searches take, and half of FAISS' blocks."""
        return (
            seconds_of(lambda: found.extend(search_some(indexes, sample[half::2]))),
            seconds_of(lambda: faiss_knn(indexes, blocks[half::2])),
        )

    before = others(0)
    with most_memory() as most:
        done = make_graph(Defaults(store=folder), k=K)
    seconds = np.add(before, others(1))
    compare(found, np.concatenate([sample[::2], sample[1::2]]), open_graph(Store(folder), version))
    return {
        "n": options.n,
        "dim": dim,
        "graph": {**done.to_json(), "images_per_second": options.n / done.seconds},
        "more_memory_mb": (max(most) - most[0]) / 1e6,
        "searches_per_second": options.searches / seconds[0],
        "faiss_per_second": sum(map(len, blocks)) / seconds[1],
    }


def blocks_of(n: int, count: int) -> list[range]:
    """Return some blocks of n vectors, spread over all of them."""
    starts = range(0, n, BLOCK)
    chosen = np.unique(np.linspace(0, len(starts) - 1, count, dtype=int))
    return [range(starts[one], min(starts[one] + BLOCK, n)) for one in chosen]


def search_some(indexes: Indexes, positions: NDArray[np.int64]) -> Iterator[Found]:
    """Search some images singly, one more than the graph has, since each finds itself."""
    vectors = indexes.vectors
    for own in tqdm(vectors.sorted_ids[positions], "Searching singly"):
        yield indexes.exact.search(vectors.vectors(vectors.rows(np.array([own]))), K + 1)


def compare(found: list[Found], positions: NDArray[np.int64], graph: Graph) -> None:
    """Require that single searches have found what the graph has, to the last bit."""
    for one, position in zip(found, positions, strict=True):
        others = one.ids[0] != graph.ids[position]
        assert np.array_equal(one.ids[0][others][:K], graph.ids[graph.neighbours[position]])
        assert np.array_equal(one.distances[0][others][:K], graph.distances[position])


def faiss_knn(indexes: Indexes, blocks: list[range]) -> None:
    """Find the nearest of blocks of vectors as FAISS does it, over each segment."""
    vectors = indexes.vectors
    for one in tqdm(blocks, "FAISS' knn"):
        block = vectors.vectors(np.array(one))
        results = [
            faiss.knn(block, part.matrix, min(K + 1, len(part.ids))) for part in vectors.parts
        ]
        heap = faiss.ResultHeap(len(block), K + 1)
        for (distances, ids), first in zip(results, vectors.starts, strict=False):
            heap.add_result(distances, ids + first)
        heap.finalize()


@contextmanager
def most_memory() -> Iterator[list[int]]:
    """Note the bytes of memory that are not mapped files, again and again."""
    most, ended = [anonymous_bytes()], Event()

    def watch() -> None:
        while not ended.wait(0.02):
            most.append(anonymous_bytes())

    thread = Thread(target=watch)
    thread.start()
    yield most
    ended.set()
    thread.join()


def seconds_of(work: Callable[[], None]) -> float:
    """Return how long some work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    graph = report["graph"]
    rate = graph["images_per_second"]
    print(f"{report['n']:,} vectors of {report['dim']} dimensions, {K} nearest of each")
    print(f"graph           {rate:8.1f} images/s, {graph['seconds']:.1f} s, 1")
    for name in ("searches", "faiss"):
        other = report[f"{name}_per_second"]
        print(f"{name:<15} {other:8.1f} images/s, the graph is {rate / other:.2f} times as fast")
    print(f"searched singly {graph['searched']:,}; {report['more_memory_mb']:.0f} MB more memory")


if __name__ == "__main__":
    main()
