"""The three stages of a build, each alone and all together: decode, encode, commit."""

import argparse
import hashlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from PIL import Image, ImageOps

import indexer.build.extract
import indexer.build.ingest
from benchmarks.settings import Defaults
from indexer.build.compact import compact
from indexer.build.diff import Changes, compare
from indexer.build.extract import Batch, Preparation, Prepared, prepared_batches
from indexer.build.ingest import Ingest
from indexer.config import DatasetConfig
from indexer.datasets import Dataset, Item, open_dataset
from indexer.encoders import Encoder, EncoderSpec, Images, Vectors, normalise
from indexer.executors import LocalExecutor
from indexer.images import INPUT_SIDE
from indexer.machine import available_cores
from indexer.store import Store, open_writer

COCO_SIZE = 640, 480
COCO_QUALITY = 99
"""With this quality the demo's photographs take about 120 kB at that size, like COCO's."""

DEMO = Path("demo/images")

SECONDS = 10
"""How long the encoder works in each round, at most, unless that is fewer than FEWEST images."""

FEWEST = 96

PER_WORKER = 300
"""How many images each thread or process decodes where ways to decode are compared."""

MAX_PIXELS = 10**8


class StandIn:
    """An encoder that computes nothing: a device that takes a time for each image, or none."""

    spec = EncoderSpec(
        model="stand_in", layer="none", weights="random:0", weights_sha256="0", dim=4096,
        preprocessing="none",
    )  # fmt: skip
    runtime = "stand-in"
    shares_cores = False
    batch_size = 128

    def __init__(self, rate: float | None = None) -> None:
        self.rate = rate
        self.busy = 0.0
        """For how many seconds the device has worked."""
        self._free = 0.0
        self._turns = threading.Lock()
        random = np.random.default_rng(0).standard_normal((self.batch_size, self.spec.dim))
        self._vectors = normalise(random.astype(np.float32))

    def load(self) -> None:
        """There is nothing to load."""

    def start(self, images: Images) -> Callable[[], Vectors]:
        """Let the device begin as soon as it is free; return a function that waits for it."""
        seconds = len(images) / self.rate if self.rate else 0.0
        with self._turns:
            self._free = until = max(time.monotonic(), self._free) + seconds
            self.busy += seconds

        def wait() -> Vectors:
            time.sleep(max(0.0, until - time.monotonic()))
            return self._vectors[: len(images)].copy()

        return wait

    def encode(self, images: Images) -> Vectors:
        """Return vectors of random directions."""
        return self.start(images)()


def coco_like(source: Path, target: Path, count: int) -> None:
    """Make JPEG files like COCO's of the photographs in a folder: no two are the same."""
    photos = sorted(source.rglob("*.jpg"))
    target.mkdir()

    def make(number: int) -> None:
        shift = number // len(photos) % 100 / 100
        with Image.open(photos[number % len(photos)]) as photo:
            picture = ImageOps.fit(photo.convert("RGB"), COCO_SIZE, centering=(shift, shift))
        picture = picture.rotate(number // len(photos) / 7)
        picture.save(target / f"{number:06}.jpg", quality=COCO_QUALITY)

    with ThreadPoolExecutor(available_cores()) as pool:
        list(pool.map(make, range(count)))


def measure(
    encoder: Encoder, images: Path, scratch: Path, *, rounds: int, like_decoding: bool = False
) -> dict[str, Any]:
    """Return images per second of each stage alone and of a build, and how busy the device was.

    ``like_decoding`` makes a stand-in as fast as decoding is in the first round.
    """
    dataset = open_dataset(Defaults(dataset={"root": images}).dataset)
    encoder.load()
    changes = compare(dataset, {}, MAX_PIXELS)
    changes.to_read[:] = changes.to_read[: _enough(encoder, len(changes.to_read))]
    count = len(changes.to_read)
    figures: dict[str, list[float]] = {
        name: [] for name in ("decode_alone", "encode_alone", "commit_alone", "build", "gpu_busy")
    }
    for number in range(rounds):
        decode = _timed(lambda: _decode(dataset, changes.to_read, encoder))
        if like_decoding and isinstance(encoder, StandIn) and number == 0:
            encoder.rate = count / decode
        figures["decode_alone"].append(count / decode)
        figures["encode_alone"].append(count / _timed(lambda: _encode(encoder, count)))
        with patch.object(indexer.build.ingest, "extract", _ready_batches):
            seconds = _ingest(changes, dataset, encoder, scratch / f"commits{number}")
        figures["commit_alone"].append(count / seconds)
        with _device(encoder) as busy:
            seconds = _ingest(changes, dataset, encoder, scratch / f"build{number}")
        figures["build"].append(count / seconds)
        figures["gpu_busy"] += [share(seconds) for share in busy]
    ratios = [
        build / min(stages)
        for build, *stages in zip(
            *(figures[name] for name in ("build", "decode_alone", "encode_alone", "commit_alone")),
            strict=True,
        )
    ]
    medians = {
        name: statistics.median(values or [float("nan")]) for name, values in figures.items()
    }
    return {
        "images": count,
        "runtime": encoder.runtime,
        "batch_size": encoder.batch_size,
        "cores": available_cores(),
        **{name: None if np.isnan(value) else round(value, 3) for name, value in medians.items()},
        "build_of_slowest": round(statistics.median(ratios), 3),
    }


def decoding_ways(images: Path, count: int) -> dict[str, float]:
    """Return images decoded per second in threads and in processes."""
    dataset = open_dataset(Defaults(dataset={"root": images}).dataset)
    items = dataset.scan().items[:count]
    cores = available_cores()
    ways = {(n, False) for n in (1, -(-cores // 2), cores)} | {(cores, True)}
    found = {}
    for workers, processes in sorted(ways, key=lambda way: (way[1], way[0])):
        executor = LocalExecutor(workers, slot_bytes=3 * INPUT_SIDE**2, processes=processes)
        preparation = Preparation(dataset, MAX_PIXELS)
        some = items[: PER_WORKER * workers]
        batches = prepared_batches(preparation, some, 32, executor)
        first = len(next(batches))  # processes start
        seconds = _timed(partial(_drain, batches))
        name = f"{workers} {'processes' if processes else 'threads'}"
        found[name] = round((len(some) - first) / seconds, 1)
    return found


@contextmanager
def copied_pixels() -> Iterator[None]:
    """Replace reading and decoding by a copy in memory, in threads."""
    pixels = np.full((INPUT_SIDE, INPUT_SIDE, 3), 128, np.uint8)

    def copy(_: Preparation, items: list[Item]) -> list[Prepared]:
        (item,) = items
        content = hashlib.sha256(item.key.encode()).hexdigest()
        return [Prepared(item, content, "JPEG", *COCO_SIZE, pixels.copy())]

    with patch.object(indexer.build.extract.Preparation, "__call__", copy):
        yield


def report(title: str, figures: dict[str, Any]) -> None:
    """Print the stages and what a build reaches of the slowest."""
    print(f"{title}: {figures['images']} images, batches of {figures['batch_size']}")
    for name, words in {
        "decode_alone": "decode alone",
        "encode_alone": "encode alone",
        "commit_alone": "commit alone",
        "build": "files to segments",
    }.items():
        print(f"  {words:20} {figures[name]:10,.1f} img/s")
    print(f"  files to segments reach {figures['build_of_slowest']:.2f} of the slowest stage")
    if figures["gpu_busy"] is not None:
        print(f"  the device is busy {figures['gpu_busy']:.0%} of the time")


def _enough(encoder: Encoder, count: int) -> int:
    """Return how many of the images a round takes, so that it does not take long."""
    few = max(FEWEST, encoder.batch_size)
    _encode(encoder, few)  # may compile
    rate = few / _timed(lambda: _encode(encoder, few))
    return min(count, max(FEWEST, round(SECONDS * rate)))


def _decode(dataset: Dataset, items: list[Item], encoder: Encoder) -> None:
    batches = prepared_batches(
        Preparation(dataset, MAX_PIXELS),
        items,
        encoder.batch_size,
        for_gpu=not encoder.shares_cores,
    )
    for batch in batches:
        assert all(isinstance(outcome, Prepared) for outcome in batch)


def _drain(batches: Iterable[object]) -> None:
    for _ in batches:
        pass


def _encode(encoder: Encoder, count: int) -> None:
    """Encode noise in batches, each begun before the last one is fetched."""
    shape = (encoder.batch_size, INPUT_SIDE, INPUT_SIDE, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    waiting = None
    for start in range(0, count, encoder.batch_size):
        wait = encoder.start(images[: min(encoder.batch_size, count - start)])
        if waiting:
            waiting()
        waiting = wait
    if waiting:
        waiting()


def _ready_batches(
    dataset: Dataset, items: list[Item], encoder: Encoder, **_: object
) -> Iterator[Batch]:
    """Yield batches that are encoded already, with random vectors."""
    shape = (encoder.batch_size, encoder.spec.dim)
    vectors = normalise(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    nothing = np.empty((0, 0, 3), np.uint8)
    for start in range(0, len(items), encoder.batch_size):
        prepared = [
            Prepared(item, hashlib.sha256(item.key.encode()).hexdigest(), "JPEG", 640, 480, nothing)
            for item in items[start : start + encoder.batch_size]
        ]
        yield Batch(prepared, vectors[: len(prepared)])


def _ingest(changes: Changes, dataset: Dataset, encoder: Encoder, folder: Path) -> float:
    """Build segments in a store, remove it, and return how many seconds building took."""
    with open_writer(Store(folder)) as writer:
        began = time.perf_counter()
        Ingest(changes, dataset, encoder, writer, DatasetConfig(max_pixels=MAX_PIXELS)).run()
        compact(writer)
        seconds = time.perf_counter() - began
    shutil.rmtree(folder)
    return seconds


@contextmanager
def _device(encoder: Encoder) -> Iterator[list[Callable[[float], float]]]:
    """Yield a list that holds, after the block, how to get the busy share of its seconds."""
    found: list[Callable[[float], float]] = []
    if isinstance(encoder, StandIn):
        before = encoder.busy
        yield found
        if encoder.rate:
            found.append(lambda seconds: (encoder.busy - before) / seconds)
        return
    program = shutil.which("nvidia-smi") if encoder.runtime == "keras" else None
    if program is None:
        yield found
        return
    query = [program, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "-lms", "100"]
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(query, stdout=output)
        try:
            yield found
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        shares = [float(line) / 100 for line in output if line.strip().isdigit()]
    if shares:
        found.append(lambda _: statistics.mean(shares))


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def parser() -> argparse.ArgumentParser:
    """Return the options of a run with a stand-in."""
    found = argparse.ArgumentParser(add_help=False)
    found.add_argument(
        "--encoder", choices=("stand-in",), help="measure the stages alone, with no real encoder"
    )
    found.add_argument(
        "--rate",
        help="images per second of the stand-in, or `decoding`: as fast as that (it takes no time)",
    )
    found.add_argument(
        "--copy", action="store_true", help="with a stand-in: copy pixels instead of decoding"
    )
    found.add_argument("--coco", type=int, metavar="N", help="how many COCO-like images to make")
    return found


def run(options: argparse.Namespace, encoders: dict[str, Encoder]) -> dict[str, Any]:
    """Measure and print the stages with every encoder on COCO-like images; return the figures."""
    cores = available_cores()
    count = options.coco or (6000 if cores > 8 else 1000)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        scratch, images = Path(folder), Path(folder) / "images"
        if options.copy:
            count = options.coco or 10_000
            images.mkdir()
            for number in range(count):
                (images / f"{number:06}.jpg").touch()
        elif options.images == DEMO:
            sys.stderr.write(f"Making {count} images like COCO's.\n")
            coco_like(options.images, images, count)
        else:
            images = options.images
        if not options.copy:
            figures["decoding"] = decoding_ways(images, count)
            print("decoding alone, img/s:", figures["decoding"])
        for name, encoder in encoders.items():
            found = measure(
                encoder,
                images,
                scratch,
                rounds=options.rounds,
                like_decoding=options.rate == "decoding",
            )
            report(name, found)
            figures["stages" if not figures.get("stages") else f"stages_{name}"] = found
    return figures
