"""Loading COCO: seconds and memory for annotations of train2017's size, beside Python's own parser.

The file is a stand-in of the structure and size of instances_train2017.json: 118,287 images,
860,001 annotations with polygons, 450 MB. Each alternative runs in a process of its own.

    python -m benchmarks.coco --n 118287
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tqdm import tqdm

from indexer.datasets import Coco

RESULTS = Path("benchmarks/results/coco.json")
SPLIT = "train2017"
PER_IMAGE = 860_001 / 118_287
ALTERNATIVES = ("json", "lookalike")
SIZES = (640, 480), (480, 640), (640, 427), (500, 375)
CATEGORIES = ("person", "dog", *(f"category {n}" for n in range(2, 80)))


def main() -> None:
    """Measure everything and print the table."""
    parser = argparse.ArgumentParser(description="What loading COCO's annotations costs.")
    parser.add_argument("--n", type=int, default=118_287, metavar="N", help="how many images")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    parser.add_argument("--load", nargs=2, metavar=("WITH", "ROOT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        print(json.dumps(loaded(options.load[0], Path(options.load[1]))))
        return
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        report = measure(options.n, Path(folder))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    show(report)


def measure(count: int, root: Path) -> dict[str, Any]:
    """Write the stand-in, and load it with each alternative in a new process."""
    (root / SPLIT).mkdir()
    with annotations_below(root).open("w") as file:
        file.writelines(tqdm(stand_in(count), total=count, unit="img", disable=None))
    for number in range(count):
        (root / SPLIT / name_of(number)).touch()
    report: dict[str, Any] = {"n": count, "bytes": annotations_below(root).stat().st_size}
    for name in ALTERNATIVES:
        command = [sys.executable, "-m", "benchmarks.coco", "--load", name, str(root)]
        report[name] = json.loads(subprocess.check_output(command))
    return report


def annotations_below(root: Path) -> Path:
    """Return the path of the stand-in."""
    return root / f"instances_{SPLIT}.json"


def name_of(number: int) -> str:
    """Return the name of an image's file."""
    return f"{number:012d}.jpg"


def stand_in(count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[str]:
    """Yield the pieces of an annotation file: one for each image, and what is around them.

    The images have the sizes in turn: width and height in pixels.
    """
    chosen = random.Random(0)  # noqa: S311 -- not for secrets
    categories = [
        {"supercategory": f"above {n % 12}", "id": n, "name": name}
        for n, name in enumerate(CATEGORIES)
    ]
    yield f'{{"categories": {json.dumps(categories)}, "images": [\n'
    for number in range(count):
        yield ("," if number else "") + json.dumps(image(number, *sizes[number % len(sizes)]))
    yield '\n], "annotations": [\n'
    for number in range(round(count * PER_IMAGE)):
        yield ("," if number else "") + json.dumps(annotation(number, number % count, chosen))
    yield "\n]}"


def image(number: int, width: int, height: int) -> dict[str, Any]:
    """Return a record of an image, with all that COCO's have."""
    return {
        "license": number % 8 + 1,
        "file_name": name_of(number),
        "coco_url": f"http://images.cocodataset.org/{SPLIT}/{name_of(number)}",
        "height": height,
        "width": width,
        "date_captured": f"2013-11-{number % 30 + 1:02d} 17:02:52",
        "flickr_url": f"http://farm7.staticflickr.com/6116/{number:010d}_da26cf2c9e_z.jpg",
        "id": number,
    }


def annotation(number: int, of: int, chosen: random.Random) -> dict[str, Any]:
    """Return a record of an annotation, with a polygon of 24 corners."""
    return {
        "segmentation": [[round(chosen.uniform(0, 640), 2) for _ in range(48)]],
        "area": round(chosen.uniform(1, 90_000), 4),
        "iscrowd": int(number % 86 == 0),
        "image_id": of,
        "bbox": [round(chosen.uniform(0, 640), 2) for _ in range(4)],
        "category_id": (of * 7 + chosen.randrange(4)) % 80,
        "id": number + 1,
    }


def loaded(alternative: str, root: Path) -> dict[str, float]:
    """Load the stand-in, and return the seconds and the bytes of memory that it took."""
    file, before, began = annotations_below(root), peak(), time.perf_counter()
    if alternative == "json":
        kept: object = json.loads(file.read_bytes())
    else:
        kept = Coco(root, file).scan()
    seconds = time.perf_counter() - began
    del kept
    return {"s": round(seconds, 2), "bytes": peak() - before}


def peak() -> int:
    """Return the most bytes of memory that this process has had (Linux: in units of 1,024)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def show(report: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"\n{report['n']:,} images, {report['bytes'] / 1e6:,.0f} MB of JSON")
    for name in ALTERNATIVES:
        taken = report[name]
        ratio = taken["bytes"] / report["bytes"]
        print(f"{name:10} {taken['s']:7.1f} s {taken['bytes'] / 1e6:7,.0f} MB, {ratio:.2f} x JSON")


if __name__ == "__main__":
    main()
