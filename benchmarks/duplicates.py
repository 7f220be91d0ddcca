"""Planted copies among photographs: how many are found as the same picture, and what else is.

Photographs of some folders, made-up scenes where these are too few, and known copies
(:mod:`benchmarks.copies`) are indexed with the embedded encoder. Each pair of images in a group of
copies counts as right if both are of one original. Photographs that are copies of each other to
begin with, such as three pairs of the demo's, count as wrong; the report lists them, for somebody
to look at.

    python -m benchmarks.duplicates --n 10000 [--images FOLDER ...]
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.copies import CHANGES, plant
from benchmarks.settings import Defaults
from benchmarks.stores import EMBEDDED
from indexer.analysis import Duplicates, find_duplicates, make_graph
from indexer.build import build
from indexer.config import DatasetConfig

COPIES = 2000
DEMO = Path("demo/images")
RESULTS = Path("benchmarks/results/duplicates.json")


def main() -> None:
    """Plant copies, look for them, and print the table."""
    parser = argparse.ArgumentParser(description="How many planted copies are found.")
    parser.add_argument("--n", type=int, default=10_000, metavar="N", help="how many photographs")
    parser.add_argument("--images", type=Path, nargs="*", default=[DEMO], help="folders of them")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        report = measure(Path(folder), options.images, options.n)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    show(report)


def measure(folder: Path, sources: Sequence[Path], count: int) -> dict[str, Any]:
    """Index photographs and copies in a folder, and find the copies."""
    planted = plant(sources, count, COPIES, folder)
    config = Defaults(
        store=folder / "store",
        dataset=DatasetConfig(root=folder / "images"),
        encoder=EMBEDDED,
    )
    build(config)
    make_graph(config)
    began = time.perf_counter()
    found = find_duplicates(config)
    seconds = time.perf_counter() - began
    return {
        "photographs": planted.photographs,
        "scenes": count - planted.photographs,
        "seconds": seconds,
        "compared": found.compared,
        "limit": found.limit._asdict(),
        "similar": sum(group.kind == "similar" for group in found.groups),
        **counts(found, planted.kinds, planted.sources),
    }


def counts(
    found: Duplicates, kinds: Mapping[str, str], sources: Mapping[str, str]
) -> dict[str, Any]:
    """Count the planted copies, by kind, that are in a group with their original, and the rest."""
    right, wrong = Counter[str](), []
    words: dict[str, Counter[str]] = {kind: Counter() for kind in CHANGES}
    for group in found.groups:
        if group.kind == "similar":
            continue
        for one in group.images[1:]:
            if one.key in kinds:
                words[kinds[one.key]][", ".join(one.changes)] += 1
        for one, other in combinations([image.key for image in group.images], 2):
            if original(one) == original(other):
                right[kinds[max(one, other, key=len)]] += 1
            else:
                wrong.append((one, other))
    others = sorted({tuple(sorted(map(original, pair))) for pair in wrong})
    return {
        "planted": Counter(kinds.values()),
        "found": right,
        "words": {kind: counter.most_common(3) for kind, counter in words.items()},
        "wrong_pairs": len(wrong),
        "wrong": [[sources.get(name, name) for name in pair] for pair in others],
    }


def original(name: str) -> str:
    """Return what a copy and its original have in common."""
    return name.partition(".")[0]


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    print(f"{report['photographs']:,} photographs, {report['scenes']:,} made-up scenes")
    for kind, planted in report["planted"].items():
        found = report["found"].get(kind, 0)
        print(f"{kind:<30} {found:5} of {planted}, recall {found / planted:.3f}")
    right = sum(report["found"].values())
    print(f"pairs of different originals: {report['wrong_pairs']} (look at them):")
    for pair in report["wrong"]:
        print("   ", *pair)
    print(f"precision if all of them are wrong: {right / (right + report['wrong_pairs']):.4f}")
    print(f"{report['similar']} groups of similar pictures; {report['seconds']:.0f} s")


if __name__ == "__main__":
    main()
