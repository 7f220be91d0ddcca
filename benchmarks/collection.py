"""A collection of train2017's size: filters beside SQL and NumPy, and captions added while served.

118,287 small images and the stand-in of their annotations are indexed by a build as users run it,
with an encoder that computes nothing: its vectors stand in for features of 1,280 dimensions.
Filters are checked against SQL over the JSON and against a scan of all vectors. Then a file of
captions is added to the index of a running server.

    python -m benchmarks.collection --n 118287
"""

import argparse
import json
import random
import sqlite3
import time
from collections.abc import Callable
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks.coco import CATEGORIES, SPLIT, annotations_below, name_of, stand_in
from benchmarks.publish import CLUSTERS, vectors
from benchmarks.servers import running
from benchmarks.settings import Defaults
from benchmarks.stages import StandIn
from benchmarks.stores import EMBEDDED, spec_of
from indexer.build import build
from indexer.encoders import Images, Vectors
from indexer.search import Hit, Query, Searcher, Selection

DIM = 1280
FILTERS = 500
SEARCHES = 101
K = 20
RESULTS = Path("benchmarks/results/collection.json")

SIZES = (640, 8), (480, 8), (612, 8), (640, 6)
"""Widths as COCO's images have them; there are few pixels, as decoding is not what is measured."""

QUESTION = ["category=dog", "category!=person", "width>=640"]
QUESTION_IN_SQL = """
    SELECT i.id FROM images i WHERE i.width >= 640
    AND EXISTS (SELECT 1 FROM labels l WHERE l.image = i.id AND l.category = 'dog')
    AND NOT EXISTS (SELECT 1 FROM labels l WHERE l.image = i.id AND l.category = 'person')
"""
Row = dict[str, Any]


class Clusters(StandIn):
    """An encoder that computes nothing, whose vectors lie around some centres."""

    spec = spec_of(DIM)

    def __init__(self) -> None:
        super().__init__()
        self.encoded = 0
        """How many images were encoded."""
        self._random = np.random.default_rng(0)
        self._centres = self._random.standard_normal((CLUSTERS, DIM), np.float32)

    def start(self, images: Images) -> Callable[[], Vectors]:
        """Return a function that makes as many new vectors."""
        self.encoded += len(images)
        return lambda: vectors(self._random, self._centres, len(images))


def main() -> None:
    """Measure everything and print the figures."""
    parser = argparse.ArgumentParser(description="A collection of train2017's size.")
    parser.add_argument("--n", type=int, default=118_287, metavar="N", help="how many images")
    parser.add_argument("--folder", type=Path, help="where the temporary files go")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder, prefix="lookalike-bench-") as folder:
        report = measure(options.n, Path(folder))
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    show(report)


def measure(count: int, root: Path) -> dict[str, Any]:
    """Index the stand-in, check the filters, and add captions while a server runs."""
    files, captions = [annotations_below(root)], root / f"captions_{SPLIT}.json"
    make_images(root / SPLIT, count)
    with files[0].open("w") as file:
        file.writelines(tqdm(stand_in(count, SIZES), total=count, unit="img", disable=None))
    report: dict[str, Any] = {"n": count}
    report["build_s"], encoded = built(root, files)
    if encoded != count:
        raise SystemExit(f"{encoded} of {count} images were encoded.")
    rows = rows_of(files[0])
    searcher = Searcher.open(settings(root, files))
    report |= checked_question(searcher, files[0]) | checked_filters(searcher, rows)
    report |= filtered_beside_unfiltered(searcher)
    make_captions(captions, count)
    with running(root / "store") as server:
        began = time.perf_counter()
        report["captions_s"], report["captions_encoded"] = built(root, [*files, captions])
        while not (found := found_by_words(server.port, "surfboard")):
            time.sleep(0.05)
        report["captions_served_s"] = round(time.perf_counter() - began, 2)
        report["found_by_words"] = found
    return report


def settings(root: Path, files: list[Path]) -> Defaults:
    """Return the settings of the collection."""
    dataset = {"kind": "coco", "root": root, "annotations": files}
    return Defaults(store=root / "store", dataset=dataset, encoder=EMBEDDED)


def built(root: Path, files: list[Path]) -> tuple[float, int]:
    """Index the collection; return the seconds, and how many images were encoded."""
    encoder, began = Clusters(), time.perf_counter()
    build(settings(root, files), encoder)
    return round(time.perf_counter() - began, 2), encoder.encoded


def make_images(folder: Path, count: int) -> None:
    """Write JPEG files, no two of which are the same: each has a comment of its own."""
    folder.mkdir()
    kinds = []
    for size in SIZES:
        file = BytesIO()
        Image.new("RGB", size, (90, 120, 60)).save(file, "JPEG")
        kinds.append(file.getvalue())
    for number in range(count):
        start, rest = kinds[number % len(SIZES)][:2], kinds[number % len(SIZES)][2:]
        comment = b"\xff\xfe\x00\x0a" + number.to_bytes(8)
        (folder / name_of(number)).write_bytes(start + comment + rest)


def make_captions(path: Path, count: int) -> None:
    """Write five captions of each image, of the length of COCO's."""
    chosen = random.Random(0)  # noqa: S311 -- not for secrets
    things = [f"thing{n}" for n in range(2000)] + ["surfboard", "dog", "kitchen"]
    with path.open("w") as file:
        file.write('{"images": [\n')
        images = ({"id": n, "file_name": name_of(n)} for n in range(count))
        file.write(",\n".join(map(json.dumps, images)) + '], "annotations": [\n')
        for number in range(5 * count):
            said = f"A man riding a {chosen.choice(things)} near a {chosen.choice(things)}."
            note = {"image_id": number % count, "id": number, "caption": said}
            file.write(("," if number else "") + json.dumps(note))
        file.write("]}")


def rows_of(file: Path) -> list[Row]:
    """Return what the JSON says of each image, read with nothing of Lookalike."""
    content = json.loads(file.read_bytes())
    names = {one["id"]: one for one in content["categories"]}
    rows = {
        image["id"]: {
            "key": f"{SPLIT}/{image['file_name']}", "width": image["width"],
            "licence": image["license"], "captured": image["date_captured"].replace(" ", "T"),
            "coco_id": image["id"], "supercategory": set(), "count": {}, "iscrowd": False,
        }
        for image in content["images"]
    }  # fmt: skip
    for note in content["annotations"]:
        row, category = rows[note["image_id"]], names[note["category_id"]]
        row["supercategory"].add(category["supercategory"])
        row["count"][category["name"]] = row["count"].get(category["name"], 0) + 1
        row["iscrowd"] |= bool(note["iscrowd"])
    return list(rows.values())


def checked_question(searcher: Searcher, file: Path) -> dict[str, int]:
    """Compare the images of a filter with those of SQL over the JSON."""
    content = json.loads(file.read_bytes())
    names = {one["id"]: one["name"] for one in content["categories"]}
    with sqlite3.connect(":memory:") as database:
        database.execute("CREATE TABLE images (id INTEGER PRIMARY KEY, width INTEGER)")
        database.execute("CREATE TABLE labels (image INTEGER, category TEXT)")
        rows = ((image["id"], image["width"]) for image in content["images"])
        database.executemany("INSERT INTO images VALUES (?, ?)", rows)
        rows = ((note["image_id"], names[note["category_id"]]) for note in content["annotations"])
        database.executemany("INSERT INTO labels VALUES (?, ?)", rows)
        database.execute("CREATE INDEX label ON labels (image)")
        wanted = {f"{SPLIT}/{name_of(number)}" for (number,) in database.execute(QUESTION_IN_SQL)}
    del content
    found, page = set[str](), 1
    while answer := searcher.search(
        Query(image_id=1), Selection(k=1000, page=page, filter=QUESTION)
    ).hits:
        found |= {hit.image.key for hit in answer}
        page += 1
    if found != wanted:
        raise SystemExit(f"The filter finds {len(found)} images, SQL {len(wanted)}.")
    return {"question_images": len(found)}


def checked_filters(searcher: Searcher, rows: list[Row]) -> dict[str, Any]:
    """Compare searches with random filters with a scan of all vectors that pass."""
    chosen, stored = random.Random(1), stored_vectors(searcher)  # noqa: S311 -- not for secrets
    shares, few, misses = [], 0, dict.fromkeys(searcher.info.modes, 0)
    for _ in tqdm(range(FILTERS), unit="filter", disable=None):
        clauses = [random_clause(chosen, len(rows)) for _ in range(chosen.choice((1, 1, 2, 3)))]
        texts = [text for text, _ in clauses]
        passing = np.array([all(passes(row) for _, passes in clauses) for row in rows])
        query = Query(vector=stored[chosen.randrange(len(rows))])
        nearest = np.sort(np.linalg.norm(stored[passing] - query.vector, axis=1))[:K]
        for mode in searcher.info.modes:
            hits = searcher.search(query, Selection(k=K, mode=mode, filter=texts)).hits
            if len(hits) != len(nearest) or not all(passing[number_of(hit)] for hit in hits):
                raise SystemExit(f"{mode}: {texts} finds {len(hits)} of {len(nearest)} images.")
            distances = np.array([hit.distance for hit in hits], np.float32)
            misses[mode] += not np.allclose(distances, nearest, atol=1e-5)
        shares.append(float(passing.mean()))
        few += int(passing.sum()) < K
    if misses["exact"]:
        raise SystemExit(f"{misses['exact']} exact searches differ from a scan.")
    return {"filters": FILTERS, "median_share": median(shares), "few": few, "misses": misses}


def random_clause(chosen: random.Random, count: int) -> tuple[str, Callable[[Row], bool]]:
    """Return a clause on a random field, and what tells whether the JSON's record passes it."""
    name, other = chosen.sample(CATEGORIES, 2)
    licence, most, day = chosen.randrange(1, 9), chosen.randrange(1, 6), chosen.randrange(1, 31)
    first, size = chosen.randrange(count), chosen.choice((1, 10, 1000, 30_000))
    above, prefix = f"above {chosen.randrange(12)}", f"{SPLIT}/{name_of(first)[:8]}"
    clauses: list[tuple[str, Callable[[Row], bool]]] = [
        (f'category="{name}"', lambda row: name in row["count"]),
        (f'category!="{name}","{other}"', lambda row: not {name, other} & row["count"].keys()),
        (f'supercategory="{above}"', lambda row: above in row["supercategory"]),
        (f"licence={licence},4", lambda row: row["licence"] in (licence, 4)),
        (f'"count.{name}">={most}', lambda row: row["count"].get(name, 0) >= most),
        ("width<640", lambda row: row["width"] < 640),
        (
            f"captured^=2013-11-{day:02}",
            lambda row: row["captured"].startswith(f"2013-11-{day:02}"),
        ),
        (f"coco_id={first}..{first + size}", lambda row: first <= row["coco_id"] <= first + size),
        (f"key^={prefix}", lambda row: row["key"].startswith(prefix)),
        ("iscrowd=true", lambda row: row["iscrowd"]),
    ]
    return chosen.choice(clauses)


def stored_vectors(searcher: Searcher) -> Vectors:
    """Return the vectors in the order of the JSON's records, float32 (n, dim)."""
    ids = searcher.collection.ids
    found = np.empty((len(ids), DIM), np.float32)
    for start in range(0, len(ids), 4096):
        block = ids[start : start + 4096].tolist()
        numbers = [searcher.collection.image(one).metadata["coco_id"] for one in block]
        found[numbers] = searcher.collection.features(block)
    return found


def number_of(hit: Hit) -> int:
    """Return the number of a found image's record."""
    return int(hit.image.metadata["coco_id"])


def filtered_beside_unfiltered(searcher: Searcher) -> dict[str, float]:
    """Return the medians of exact searches in ms: of all images, and of the 1 % that pass."""
    ids = np.linspace(1, len(searcher.collection), SEARCHES, dtype=int).tolist()
    few = [f"coco_id<{len(searcher.collection) // 100}"]
    kinds = {"search_ms": Selection(), "filtered_ms": Selection(filter=few)}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for one in ids:
        for name, selection in kinds.items():
            times[name].append(searcher.search(Query(image_id=one), selection).timings_ms["search"])
    return {name: round(median(values), 2) for name, values in times.items()}


def found_by_words(port: int, words: str) -> int:
    """Return how many images a server finds by words; 0 also if it has no texts yet."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"/api/v1/images?text={words}")
        answer = json.loads(connection.getresponse().read())
        return int(answer.get("total", 0))
    finally:
        connection.close()


def show(report: dict[str, Any]) -> None:
    """Print the figures."""
    print(f"\n{report['n']:,} images indexed in {report['build_s']:.0f} s")
    print(f"{' '.join(QUESTION)}: {report['question_images']:,} images, as SQL over the JSON finds")
    print(
        f"{report['filters']} random filters (median share {report['median_share']:.1%}; fewer "
        f"than {K} images pass {report['few']}): as many results as there are, exact distances "
        "those of a scan"
    )
    print(
        f"an exact search of all images {report['search_ms']} ms, "
        f"of the 1 % that pass a filter {report['filtered_ms']} ms"
    )
    print(
        f"a file of captions added in {report['captions_s']:.1f} s, "
        f"{report['captions_encoded']} images encoded; the running server finds "
        f"{report['found_by_words']:,} by their words after {report['captions_served_s']:.1f} s"
    )


if __name__ == "__main__":
    main()
