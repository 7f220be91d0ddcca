"""Extraction, side by side: the original's loop, Keras in batches, Lookalike, the bare runtime.

All four run on the same images in turn, several rounds, so that the ratios hold where the machine's
speed drifts. Speed does not depend on what the weights are, so seeded random ones serve by default.
Then the three stages of a build are measured, each alone and together, on images like COCO's; on a
GPU with every precision.

    python -m benchmarks.extract [--images FOLDER] [--model vgg16] [--count 96]
    python -m benchmarks.extract --encoder stand-in [--rate 1600 | --rate decoding] [--copy]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks import stages
from benchmarks.settings import Defaults
from indexer.build import build
from indexer.build.extract import Preparation, Prepared, by_file
from indexer.config import Config
from indexer.datasets import Folder
from indexer.encoders import Encoder, open_encoder
from indexer.encoders.keras.backend import gpus
from indexer.encoders.keras.networks import build_network
from indexer.encoders.weights import random_weights
from indexer.images import decode, model_input
from indexer.machine import available_cores

RESULTS = Path(__file__).parent / "results" / "extract.json"
QUERIES = 10


def main() -> None:
    """Run all ways in turn, print tables of images per second and write the figures."""
    parser = argparse.ArgumentParser(
        description="Extraction, side by side.", parents=[stages.parser()]
    )
    parser.add_argument("--images", type=Path, default=stages.DEMO, metavar="FOLDER")
    parser.add_argument("--model", default="vgg16", choices=("vgg16", "efficientnet_lite0"))
    parser.add_argument("--count", type=int, default=96, help="how many images each way encodes")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.encoder == "stand-in":
        figures = of_stand_in(options)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            figures = compare(options, Path(scratch))
        report(figures)
        figures |= stages.run(options, encoders(options.model))
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=1))
    print(f"figures in {RESULTS}")


def of_stand_in(options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of the stages with an encoder that computes nothing."""
    rate = float(options.rate) if options.rate not in (None, "decoding") else None
    encoder = stages.StandIn(rate)
    with stages.copied_pixels() if options.copy else nullcontext():
        return stages.run(options, {"stand-in": encoder})


def encoders(model: str) -> dict[str, Encoder]:
    """Return the encoders of a model by precision: float32, and on a GPU the others."""
    settings = {"model": model} | ({"weights": "random:1"} if model == "vgg16" else {})
    config = Defaults(encoder=settings).encoder
    found = {"float32": open_encoder(config)}
    if found["float32"].runtime == "keras" and gpus():
        for precision in ("tf32", "bfloat16"):
            lower = config.model_copy(update={"precision": precision})
            found[precision] = open_encoder(lower)
    return found


def compare(options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Return seconds per image of every way and round, and seconds per query."""
    images = scratch / "images"
    files = link_files(options.images, images, options.count)
    settings = {"model": options.model}
    if options.model == "vgg16":
        settings["weights"] = "random:1"
    config = Defaults(dataset={"root": images}, encoder=settings)
    ours = open_encoder(config.encoder)
    keras = open_encoder(config.encoder.model_copy(update={"runtime": "keras"}))
    predict = original(options.model)
    ready = ready_arrays(images)
    ways: dict[str, Callable[[int], object]] = {
        "the original's loop": lambda _: [predict(file) for file in files],
        "Keras in batches": lambda _: in_batches(keras, ready_arrays(images)),
        "Lookalike, files to segments": lambda n: build(at(config, scratch / f"store{n}"), ours),
        "its runtime, ready arrays": lambda _: in_batches(ours, ready),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for encoder in (ours, keras):
        encoder.encode(ready[:2])
    for number in range(options.rounds):
        for name, way in ways.items():
            seconds[name].append(timed(lambda way=way, n=number: way(n)) / len(files))  # type: ignore[misc]
    query = {"Keras predict": [], "Lookalike": []}  # type: dict[str, list[float]]
    for file in files[:QUERIES]:
        query["Keras predict"].append(timed(lambda f=file: predict(f)))  # type: ignore[misc]
        query["Lookalike"].append(timed(lambda f=file: encode_file(ours, f)))  # type: ignore[misc]
    return {
        "model": options.model,
        "runtime": ours.runtime,
        "images": len(files),
        "cores": available_cores(),
        "seconds_per_image": seconds,
        "seconds_per_query": query,
    }


def original(model: str) -> Callable[[Path], np.ndarray]:
    """Return the original's extractor: one image through ``predict``, divided by its norm."""
    from keras import Model
    from keras.applications import vgg16

    from indexer.encoders.keras.vgg16 import set_random

    if model != "vgg16":
        config = Defaults(encoder={"model": model}).encoder
        from indexer.encoders.weights import embedded_weights

        network = build_network(open_encoder(config).spec, embedded_weights())
    else:
        base = vgg16.VGG16(weights=None)
        set_random(base, random_weights("random:1").seed)
        network = Model(base.input, base.get_layer("fc2").output)

    def extract(file: Path) -> np.ndarray:
        pixels = np.array(Image.open(file).resize((224, 224)).convert("RGB"), dtype=np.float32)
        feature = network.predict(vgg16.preprocess_input(pixels[np.newaxis]), verbose=0)[0]
        vector: np.ndarray = feature / np.linalg.norm(feature)
        return vector

    return extract


def in_batches(encoder: Encoder, pixels: np.ndarray) -> None:
    """Encode arrays in batches of the encoder's size."""
    for start in range(0, len(pixels), encoder.batch_size):
        encoder.encode(pixels[start : start + encoder.batch_size])


def ready_arrays(images: Path) -> np.ndarray:
    """Return all images of a folder as model inputs."""
    dataset = Folder(images)
    files = by_file(dataset.scan().items)
    outcomes = chain.from_iterable(map(Preparation(dataset, 10**9), files))
    return np.stack([o.pixels for o in outcomes if isinstance(o, Prepared)])


def encode_file(encoder: Encoder, file: Path) -> np.ndarray:
    """Answer one query as the server does: file to vector."""
    pixels = model_input(decode(file.read_bytes(), max_pixels=10**9))
    return encoder.encode(pixels[np.newaxis])[0]


def link_files(source: Path, target: Path, count: int) -> list[Path]:
    """Link ``count`` images spread over a folder into a new one, and return the links."""
    found = Folder(source).scan().items
    target.mkdir()
    links = []
    for number in np.linspace(0, len(found) - 1, min(count, len(found)), dtype=int):
        links.append(target / found[number].key.replace("/", "_"))
        links[-1].symlink_to((source / found[number].key).absolute())
    return links


def at(config: Config, store: Path) -> Config:
    """Return the settings with another store."""
    return config.model_copy(update={"store": store})


def timed(work: Callable[[], object]) -> float:
    """Return how many seconds the work takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def report(figures: dict[str, Any]) -> None:
    """Print medians, and ratios taken round by round."""
    print(f"{figures['model']}, {figures['images']} images, {figures['cores']} cores")
    first = next(iter(figures["seconds_per_image"].values()))
    for name, seconds in figures["seconds_per_image"].items():
        ratio = statistics.median(f / s for f, s in zip(first, seconds, strict=True))
        print(f"  {name:30} {1 / statistics.median(seconds):7.1f} img/s  x {ratio:.2f}")
    ours, bare = list(figures["seconds_per_image"].values())[-2:]
    share = statistics.median(b / o for o, b in zip(ours, bare, strict=True))
    print(f"  files to segments reach {share:.2f} of the bare runtime's speed")
    slow, fast = (statistics.median(times) for times in figures["seconds_per_query"].values())
    print(f"  one query, file to vector: {fast / slow:.2f} of the time of Keras' predict")


if __name__ == "__main__":
    main()
