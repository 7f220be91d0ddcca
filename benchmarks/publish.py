"""Publishing: what the first version costs, what a hundred more images cost, how fast it opens.

How long searches take with and without a filter is measured as well.

The vectors stand in for features (64 dimensions), the metadata is of the shape and size of COCO's
train2017, with captions and categories. Everything is committed, compacted and published as a build
does it, approximate index included.

    python -m benchmarks.publish --n 1000000
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from tqdm import tqdm

from benchmarks.settings import Defaults
from benchmarks.stores import publish, spec_of
from indexer.build.compact import compact
from indexer.encoders import Vectors
from indexer.search import Query, Searcher, Selection
from indexer.store import NewImage, Store, Writer, open_writer
from indexer.vector_index import flat_file

DIM = 64
BATCH = 512
MORE = 100
CLUSTERS = 200
SEARCHES = 101
RESULTS = Path("benchmarks/results/publish.json")

CAPTION = "a man riding a wave on a surfboard in the ocean"
CATEGORIES = [f"category {n}" for n in range(80)]


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="What a publish costs.")
    parser.add_argument("--n", type=int, default=100_000, metavar="N", help="how many images")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.open:
        print(json.dumps(opened(options.open)))
        return
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        report = measure(options.n, Path(folder) / "store")
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    show(report)


def measure(count: int, folder: Path) -> dict[str, Any]:
    """Publish ``count`` images, then :data:`MORE` more, and open the version in a new process."""
    report: dict[str, Any] = {"n": count, "dim": DIM, "more": MORE}
    random = np.random.default_rng(0)
    centres = random.standard_normal((CLUSTERS, DIM), np.float32)
    with open_writer(Store(folder)) as writer:
        for start in tqdm(range(0, count, BATCH), unit_scale=BATCH, unit="img", disable=None):
            commit(writer, start, vectors(random, centres, min(BATCH, count - start)))
        with measured(report, "first"):
            _, seconds = publish(writer, DIM, "auto")
        report["first_derived_s"] = round(seconds, 3)
        writer.collect_garbage()
    with open_writer(Store(folder)) as writer, measured(report, "more"):
        commit(writer, count, vectors(random, centres, MORE))
        version, _ = publish(writer, DIM, "auto")
        writer.collect_garbage()
    report["segments"] = len(version.manifest.segments)
    report["layers"] = [layer.rows for layer in version.manifest.layers]
    command = [sys.executable, "-m", "benchmarks.publish", "--open", str(folder)]
    return report | json.loads(subprocess.check_output(command))


def vectors(random: np.random.Generator, centres: Vectors, count: int) -> Vectors:
    """Return vectors of norm 1 around some centres, as features of photographs are."""
    chosen = centres[random.integers(0, len(centres), count)]
    found = np.abs(chosen + random.standard_normal(chosen.shape, np.float32))
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def commit(writer: Writer, start: int, block: Vectors) -> None:
    """Commit a batch and merge what is worth merging, as a build does."""
    images = [
        NewImage(f"{n:012d}.jpg", 163_000 + n, n, f"{n:064x}", "JPEG", 640, 480, metadata(n))
        for n in range(start, start + len(block))
    ]
    fingerprint = spec_of(DIM).fingerprint
    writer.commit(images, flat_file(block), [], dim=DIM, fingerprint=fingerprint)
    compact(writer)


def metadata(number: int) -> dict[str, Any]:
    """Return what COCO says of an image: five captions of ten words, some categories."""
    captions = [f"{CAPTION}, {number} {caption}" for caption in range(5)]
    some = [CATEGORIES[(number * step) % len(CATEGORIES)] for step in (1, 3, 7)]
    return {"coco_id": number, "caption": captions, "category": sorted(set(some))}


@contextmanager
def measured(report: dict[str, Any], name: str) -> Iterator[None]:
    """Note the seconds the block takes and the bytes it writes (Linux: /proc/self/io)."""
    before, began = written(), time.perf_counter()
    yield
    report[f"{name}_s"] = round(time.perf_counter() - began, 3)
    report[f"{name}_bytes"] = written() - before


def written() -> int:
    """Return how many bytes this process has written so far."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("wchar"))


def opened(folder: Path) -> dict[str, float]:
    """Return how long a server takes to open the version, and the descriptors it then holds.

    Also how long exact searches take: of all images, and of the hundredth that passes a filter.
    """
    began = time.perf_counter()
    searcher = Searcher.open(Defaults(store=folder))
    seconds = time.perf_counter() - began
    for mode in searcher.info.modes:
        searcher.search(Query(image_id=1), Selection(mode=mode))
    few = [f"coco_id<{len(searcher.collection) // 100}"]
    return {
        "open_s": round(seconds, 3),
        "descriptors": len(os.listdir("/proc/self/fd")),  # noqa: PTH208
        "search_ms": search_ms(searcher, Selection()),
        "filtered_ms": search_ms(searcher, Selection(filter=few)),
        "facet_ms": search_ms(searcher, Selection(filter=few, facets=["categories"])),
    }


def search_ms(searcher: Searcher, selection: Selection) -> float:
    """Return the median time of searches by stored images, in milliseconds."""
    ids = np.linspace(1, len(searcher.collection), SEARCHES, dtype=int).tolist()
    times = [searcher.search(Query(image_id=i), selection).timings_ms["search"] for i in ids]
    return round(median(times), 2)


def show(report: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"\n{report['n']:,} images, {report['dim']} dimensions, {report['segments']} segments")
    for unit, scale in (("s", 1.0), ("bytes", 1e-6)):
        first, more = report[f"first_{unit}"] * scale, report[f"more_{unit}"] * scale
        print(
            f"first publish {first:,.2f} {'MB' if unit == 'bytes' else unit}, "
            f"{report['more']} more images {more:,.2f}: {more / first:.2%}"
        )
    print(f"of the first, {report['first_derived_s']:.2f} s for derived structures and recall")
    print(f"rows of the catalogue's layers: {report['layers']}")
    print(f"opened in {report['open_s']:.2f} s with {report['descriptors']} file descriptors")
    print(
        f"an exact search of all images {report['search_ms']} ms, of the 1 % that pass a filter "
        f"{report['filtered_ms']} ms, with the counts of their categories {report['facet_ms']} ms"
    )


if __name__ == "__main__":
    main()
