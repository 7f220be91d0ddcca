"""Vectors like real features, as many as wanted, and stores of them.

Some real features are expanded to N by mixing each with one of its 50 nearest, multiplying what is
active by log-normal noise, and keeping as many components active as before.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from indexer.build.compact import compact
from indexer.build.derive import derive
from indexer.config import DatasetConfig, EncoderConfig, IndexConfig
from indexer.encoders import EncoderSpec, Vectors, open_encoder
from indexer.encoders.models import specify
from indexer.encoders.weights import embedded_weights, random_weights
from indexer.images import decode, model_input
from indexer.store import NewImage, Store, Version, Writer, open_writer
from indexer.vector_index import flat_file

BLOCK = 4096
BATCH = 32
"""Vectors committed at once: what a build's encoder makes of a batch."""

NEAREST = 50
NOISE = 0.5
PHOTOS = sorted(Path("demo/images").rglob("*.jpg"))
RANDOM_VGG16 = EncoderConfig(weights="random:1")
EMBEDDED = EncoderConfig(model="efficientnet_lite0")


def features(source: str) -> Vectors | None:
    """Return the features to expand, by default the demo's; None for Gaussian noise."""
    if source == "gaussian":
        return None
    if not source:
        images = [model_input(decode(f.read_bytes(), max_pixels=10**8)) for f in PHOTOS]
        return open_encoder(EMBEDDED).encode(np.stack(images))
    content = np.load(source, allow_pickle=False)
    array = content if isinstance(content, np.ndarray) else content["features"]
    return np.asarray(array, np.float32)


def blocks(source: Vectors | None, count: int, seed: int) -> Iterator[Vectors]:
    """Yield ``count`` vectors in blocks."""
    random = np.random.default_rng(seed)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        if source is None:
            block = random.standard_normal((size, 4096), np.float32)
        else:
            block = expand(source, size, random)
        yield block / np.linalg.norm(block, axis=1, keepdims=True)


def expand(source: Vectors, count: int, random: np.random.Generator) -> Vectors:
    """Return ``count`` new vectors like those of ``source``, before they are normalised."""
    nearest = np.argsort(-(source @ source.T), axis=1)[:, 1 : NEAREST + 1]
    first = random.integers(0, len(source), count)
    second = nearest[first, random.integers(0, nearest.shape[1], count)]
    share = random.random((count, 1), np.float32)
    mixed = share * source[first] + (1 - share) * source[second]
    mixed *= np.exp(random.normal(0, NOISE, mixed.shape).astype(np.float32))
    active = np.maximum((source[first] > 0).sum(axis=1), 1)
    smallest = np.sort(mixed, axis=1)[np.arange(count), mixed.shape[1] - active]
    mixed[mixed < smallest[:, np.newaxis]] = 0
    return mixed


def fill(folder: Path, source: Vectors | None, count: int) -> Version:
    """Make a store of ``count`` vectors: the source's own if it has so many, else expanded ones."""
    parts: Iterator[Vectors]
    if source is not None and len(source) >= count:
        parts = (source[start : min(start + BLOCK, count)] for start in range(0, count, BLOCK))
    else:
        parts = blocks(source, count, 0)
    with open_writer(Store(folder)) as writer:
        for part in parts:
            commit(writer, part)
        return publish(writer, part.shape[1])[0]


def commit(writer: Writer, block: Vectors) -> None:
    """Commit vectors, float32 (n, dim), as a build does: batch after batch, then merged.

    The images they stand for exist nowhere.
    """
    fingerprint = spec_of(block.shape[1]).fingerprint
    for start in range(0, len(block), BATCH):
        batch = np.ascontiguousarray(block[start : start + BATCH])
        first = writer.catalogue.next_id()
        images = [
            NewImage(f"{n}.jpg", 1, 1, "0", "JPEG", 1, 1) for n in range(first, first + len(batch))
        ]
        dim = batch.shape[1]
        writer.commit(images, flat_file(batch), [], dim=dim, fingerprint=fingerprint)
        compact(writer)


def publish(writer: Writer, dim: int, approximate: str | None = None) -> tuple[Version, float]:
    """Publish a version; return it and the seconds its derived structures took."""
    index, draft = IndexConfig(approximate=approximate), writer.begin()
    began = time.perf_counter()
    made = derive(draft, writer, index, dim)
    seconds = time.perf_counter() - began
    for note in made.notes:
        print(note)
    spec = spec_of(dim)
    version = writer.publish(
        draft,
        made.structures,
        fingerprint=spec.fingerprint,
        encoder=spec.model_dump(),
        dim=dim,
        dataset=DatasetConfig(root=writer.derived),  # a folder without images
        index=index,
    )
    return version, seconds


def spec_of(dim: int) -> EncoderSpec:
    """Return the encoder that vectors pass for: VGG16 with random weights, or the embedded one.

    Searching does not need it; uploads are encoded with it.
    """
    if dim == 4096:
        return specify(RANDOM_VGG16, random_weights(RANDOM_VGG16.weights))
    return specify(EMBEDDED, embedded_weights())
