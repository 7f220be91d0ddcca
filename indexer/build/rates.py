"""How fast each stage of a build is on this machine: decode, encode, commit."""

import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

from indexer.build.extract import (
    INPUT_BYTES,
    MANY_FILES,
    MAX_TOGETHER,
    Preparation,
    Prepared,
    are_for_processes,
    by_file,
    prepared_batches,
)
from indexer.datasets import Dataset, Item
from indexer.encoders import Encoder, Images
from indexer.executors import LocalExecutor
from indexer.machine import available_cores, scratch_folder
from indexer.store import NewImage, Store, open_writer

SAMPLE_FILES = MANY_FILES
SAMPLE_RUN = 8
SAMPLE_SECONDS = 2.0
SAMPLE_BATCH = 8
SAMPLE_COMMIT = 512


@dataclass(frozen=True, slots=True)
class Rates:
    """Images per second: each stage by itself, and all of them side by side."""

    decode: float
    encode: float
    commit: float
    shares_cores: bool
    """Whether the encoder runs on the cores that the other stages use, too, and not on a GPU."""

    @property
    def build(self) -> float:
        """The rate of a build."""
        if not self.shares_cores:
            return min(self.decode, self.encode, self.commit)
        commit = self.commit * available_cores()  # it uses one of them
        return 1 / (1 / self.decode + 1 / self.encode + 1 / commit)

    @property
    def slowest(self) -> str:
        """The stage that limits a build."""
        stages = {"decode": self.decode, "encode": self.encode, "commit": self.commit}
        return min(stages, key=stages.__getitem__)


def measure_rates(
    dataset: Dataset, items: Sequence[Item], encoder: Encoder, max_pixels: int
) -> Rates | None:
    """Measure the stages on files from all of the dataset; None if none of them is an image.

    Neighbouring files are read together, as a build does, since a part of a dataset that is read at
    once may hold many. Commits are measured in the system's folder for temporary files.
    """
    files = list(by_file(items))  # with all of their boxes, as a build decodes each of them once
    runs = min(SAMPLE_FILES, len(files)) // SAMPLE_RUN or 1
    starts = np.linspace(0, max(0, len(files) - SAMPLE_RUN), runs, dtype=int)
    starts = np.random.default_rng(0).permutation(starts)
    sample = [file for start in starts for file in files[start : start + SAMPLE_RUN]]
    encoder.load()
    decode, decoded = _decode(Preparation(dataset, max_pixels), sample, encoder.batch_size)
    if not decoded:
        return None
    pixels = np.stack([image.pixels for image in decoded])
    encode = _encode(encoder, np.resize(pixels, (encoder.batch_size, *pixels.shape[1:])))
    with tempfile.TemporaryDirectory(dir=scratch_folder()) as folder:
        commit = _commit(Path(folder), encoder.spec.dim)
    return Rates(decode, encode, commit, encoder.shares_cores)


def _decode(
    preparation: Preparation, sample: Sequence[Sequence[Item]], wanted: int
) -> tuple[float, list[Prepared]]:
    """Return the rate of the images or boxes in files, and the first ``wanted`` of them.

    Where there are many cores and files, a build decodes in processes, which take a while to start.
    """
    in_processes = are_for_processes(len(sample))
    executor = LocalExecutor(slot_bytes=MAX_TOGETHER * INPUT_BYTES, processes=in_processes)
    items = chain.from_iterable(sample)
    decoded, count, began = list[Prepared](), 0, time.perf_counter()
    with closing(prepared_batches(preparation, items, SAMPLE_BATCH, executor)) as batches:
        for batch in batches:
            found = (outcome for outcome in batch if isinstance(outcome, Prepared))
            decoded += islice(found, max(0, wanted - len(decoded)))
            if in_processes and count == 0:
                began = time.perf_counter()
            count += len(batch)
            if time.perf_counter() - began > SAMPLE_SECONDS:
                break
    return count / (time.perf_counter() - began), decoded


def _encode(encoder: Encoder, images: Images) -> float:
    """Return the rate of batches, each of which is begun before the last one is fetched."""
    encoder.encode(images[:2])  # the first call may compile
    began, count, wait = time.perf_counter(), 0, encoder.start(images)
    while count == 0 or time.perf_counter() - began < SAMPLE_SECONDS:
        following = encoder.start(images)
        wait()
        count, wait = count + len(images), following
    return count / (time.perf_counter() - began)


def _commit(folder: Path, dim: int) -> float:
    """Return the rate of one segment of some hundred vectors, with its rows."""
    from indexer.vector_index import flat_file

    vectors = np.random.default_rng(0).standard_normal((SAMPLE_COMMIT, dim)).astype(np.float32)
    rows = [
        NewImage(f"{number:012}.jpg", 120_000, number, f"{number:064}", "JPEG", 640, 480)
        for number in range(SAMPLE_COMMIT)
    ]
    with open_writer(Store(folder / "store")) as writer:
        began = time.perf_counter()
        writer.commit(rows, flat_file(vectors), [], dim=dim, fingerprint="")
        return SAMPLE_COMMIT / (time.perf_counter() - began)
