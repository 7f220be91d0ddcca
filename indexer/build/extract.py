"""Extraction: dataset items to vectors; files that cannot be used are skipped with a reason."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, groupby, islice
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.build.diff import TIMEOUT, WORKER_DIED
from indexer.datasets import Dataset, Item, content_of_box
from indexer.encoders import Encoder, Vectors
from indexer.errors import ImageGone, ImageTooLarge, InvalidImage, LookalikeError, OutOfMemory
from indexer.executors import FEW_CORES, Failure, LocalExecutor, untimed
from indexer.images import (
    INPUT_SIDE,
    Box,
    ExifFields,
    budget,
    crop,
    decoded,
    exif_of,
    model_input,
    note,
    read_exif,
    require_reader,
    upright,
)
from indexer.machine import available_cores, scratch_folder

AHEAD = 128
"""How many files are prepared ahead, at least: enough to bridge slow ones, in bounded memory."""

BATCHES_AHEAD = 2
"""How many batches, for encoders of large batches."""

MAX_TOGETHER = 64
"""How many boxes of a file are prepared by one task, so that pixels of a file with thousands do not
fill the memory. The next ones read and decode it again, which then hardly counts."""

INPUT_BYTES = 3 * INPUT_SIDE**2

MANY_FILES = 1024
"""So many are worth the second that processes take to start."""

NO_PIXELS = np.empty((0, 0, 3), np.uint8)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded image, ready for the encoder. Its pixels are dropped once it is encoded.

    Of a box, ``width`` and ``height`` are those of its picture, and ``pixels`` its own.
    """

    item: Item
    sha256: str
    format: str
    width: int
    height: int
    pixels: NDArray[np.uint8]
    note: str = ""
    """What is wrong with the file, if its picture is whole all the same."""
    exif: ExifFields = field(default_factory=dict)
    """What the camera noted in the file."""
    box: Box | None = None
    """The region of the upright picture that the pixels are, if it is not all of it."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file without a vector: the stage that failed, the reason's code and a message."""

    item: Item
    stage: str
    reason: str
    message: str
    width: int | None = None
    height: int | None = None
    """The size of an image that has too many pixels."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """A file whose content is already indexed, so that it was not decoded."""

    item: Item
    sha256: str
    exif: ExifFields


Outcome = Prepared | Recognised | Skipped
OutcomeT = TypeVar("OutcomeT", Prepared, Recognised, Skipped, Outcome)


class Contents:
    """Contents of files by their SHA-256, of which the first 64 bits are kept: 8 bytes for each.

    Rarely, another content seems to be one of them: of N contents, with a probability of N / 2**64.
    """

    def __init__(self, hashes: Iterable[str] = ()) -> None:
        self._prefixes = np.unique(np.fromiter(map(_prefix, hashes), np.uint64))

    def __contains__(self, sha256: str) -> bool:
        prefix = _prefix(sha256)
        place = np.searchsorted(self._prefixes, prefix)
        return bool(place < len(self._prefixes) and self._prefixes[place] == prefix)


def _prefix(sha256: str) -> np.uint64:
    return np.uint64(int(sha256[:16], 16))


@dataclass(slots=True)
class Batch:
    """The outcomes of some files: ``vectors[i]`` belongs to ``prepared[i]``."""

    prepared: list[Prepared]
    vectors: Vectors
    skipped: list[Skipped] = field(default_factory=list)
    recognised: list[Recognised] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Preparation:
    """Reads, decodes and resizes files: a :class:`~indexer.executors.Worker`.

    A task is the items of one file, which is read and decoded once: the image, or boxes in it.

    Any failure is an outcome, not an exception. An image whose content is ``known`` is only read,
    and a box not resized. The outcome's item has the modification time of the scan and the size of
    what was read, so that the next build notices a file that changed between the two.
    """

    dataset: Dataset
    max_pixels: int
    known: Contents = field(default_factory=Contents)

    def __call__(self, items: Sequence[Item]) -> list[Outcome]:
        """Prepare the items of one file."""
        stage = "read"
        try:
            require_reader(items[0].file)
            data = self.dataset.read(items[0].file)
            items = [replace(item, size=len(data)) for item in items]
            sha256 = hashlib.sha256(data).hexdigest()
            if items[0].box is None and sha256 in self.known:
                return [Recognised(item, sha256, read_exif(data)) for item in items]
            stage = "decode"
            with decoded(data, max_pixels=self.max_pixels, waiting=untimed()) as image:
                return [self._prepare(item, image, sha256) for item in items]
        except (ImageGone, InvalidImage, OutOfMemory) as error:
            return [_skip(item, stage, error) for item in items]
        except MemoryError:
            message = f"There is not enough memory to {stage} it."
            return [Skipped(item, stage, OutOfMemory.code, message) for item in items]

    def failed(self, items: Sequence[Item], failure: Failure, seconds: float) -> list[Outcome]:
        """Return the outcomes of a file that could not be prepared in time, or at all."""
        if failure == "timeout":  # decoding has a limit of its own, and a smaller one
            message = f"Reading and decoding it took more than {seconds:.0f} s."
            return [Skipped(item, "read", TIMEOUT, message) for item in items]
        message = "Decoding it ended the process that did it, twice."
        return [Skipped(item, "decode", WORKER_DIED, message) for item in items]

    def _prepare(self, item: Item, image: Image.Image, sha256: str) -> Prepared | Recognised:
        """Prepare an item of a file that was decoded, which has this SHA-256."""
        box, part = None, image
        if item.box is not None:
            box = upright(image, item.box)
            sha256 = content_of_box(sha256, box)
            if sha256 in self.known:
                return Recognised(item, sha256, exif_of(image))
            part = crop(image, box)
        return Prepared(
            item,
            sha256,
            str(image.format),
            image.width,
            image.height,
            model_input(part),
            note(image),
            exif_of(image),
            box,
        )


def by_file(items: Iterable[Item]) -> Iterator[list[Item]]:
    """Yield neighbouring items that lie in one file, up to :data:`MAX_TOGETHER` together."""
    for _, group in groupby(items, key=attrgetter("file")):
        while together := list(islice(group, MAX_TOGETHER)):
            yield together


def are_for_processes(files: int) -> bool:
    """Tell whether processes prepare so many files faster than threads, their start included."""
    return files >= MANY_FILES and available_cores() > FEW_CORES


def prepared_batches(
    preparation: Preparation,
    items: Iterable[Item],
    batch_size: int,
    executor: LocalExecutor | None = None,
    *,
    for_gpu: bool = False,
) -> Generator[list[Outcome]]:
    """Yield the outcome of every item, in order, in batches that are prepared ahead.

    A GPU is faster than threads: many files are prepared for it in processes from the start, if
    there are more cores than threads can use. Otherwise the executor decides.

    A file that takes longer than the executor allows is skipped. Raises
    :class:`~indexer.errors.ExtractionStalled` if too many do.
    """
    files = list(by_file(items))
    most, total = max(map(len, files), default=1), sum(map(len, files))
    executor = executor or LocalExecutor(
        slot_bytes=most * INPUT_BYTES,
        processes=True if for_gpu and are_for_processes(len(files)) else None,
    )
    make = partial(_worker, preparation, os.getpid(), scratch_folder() / "decoding")
    ahead = max(AHEAD, BATCHES_AHEAD * batch_size)
    if most > 1:  # as many boxes as there would be images
        ahead = max(2 * executor.workers, ahead * len(files) // total)
    metadata: deque[Mapping[str, Any]] = deque()

    def without_metadata() -> Iterator[list[Item]]:
        for file in files:
            metadata.extend(item.metadata for item in file)
            # Processes need none, and tasks should be small.
            yield [replace(item, metadata={}) for item in file]

    with closing(executor.run(make, without_metadata(), ahead=ahead)) as prepared:
        outcomes = chain.from_iterable(prepared)
        while batch := list(islice(outcomes, batch_size)):
            yield [with_metadata(outcome, metadata.popleft()) for outcome in batch]


def extract(
    dataset: Dataset,
    items: Iterable[Item],
    encoder: Encoder,
    *,
    max_pixels: int,
    known: Contents | None = None,
    executor: LocalExecutor | None = None,
) -> Generator[Batch]:
    """Yield the outcome of every item, in order, in batches of the encoder's size.

    Files whose content is ``known`` are recognised and not encoded. While a batch is
    encoded, the next ones are read and decoded; a GPU begins with a batch before the vectors of the
    last one are fetched.
    """
    encoder.load()  # its batch size may be measured
    preparation = Preparation(dataset, max_pixels, known or Contents())
    begun: deque[Callable[[], Batch]] = deque()
    for outcomes in prepared_batches(
        preparation, items, encoder.batch_size, executor, for_gpu=not encoder.shares_cores
    ):
        begun.append(_begin(outcomes, encoder))
        if len(begun) > 1:
            yield begun.popleft()()
    while begun:
        yield begun.popleft()()


def with_metadata(outcome: OutcomeT, metadata: Mapping[str, Any]) -> OutcomeT:
    """Return an outcome with metadata for its item."""
    return replace(outcome, item=replace(outcome.item, metadata=metadata))


def _worker(preparation: Preparation, process: int, lock_file: Path) -> Preparation:
    """Return the preparation. In another process than this one, let them share the budget."""
    if os.getpid() != process:
        budget.share(lock_file)
    return preparation


def _begin(outcomes: list[Outcome], encoder: Encoder) -> Callable[[], Batch]:
    """Begin to encode a batch, and return a function that waits for its vectors."""
    prepared = [outcome for outcome in outcomes if isinstance(outcome, Prepared)]
    skipped = [outcome for outcome in outcomes if isinstance(outcome, Skipped)]
    recognised = [outcome for outcome in outcomes if isinstance(outcome, Recognised)]
    if not prepared:
        nothing = np.empty((0, encoder.spec.dim), np.float32)
        return lambda: Batch([], nothing, skipped, recognised)
    wait = encoder.start(np.stack([image.pixels for image in prepared]))
    # The pixels of a batch take a hundred times the memory of the rest.
    prepared = [replace(image, pixels=NO_PIXELS) for image in prepared]
    return lambda: _without_bad_vectors(Batch(prepared, wait(), skipped, recognised))


def _without_bad_vectors(batch: Batch) -> Batch:
    """Skip images whose vector is not finite: their distances would be NaN."""
    good = np.all(np.isfinite(batch.vectors), axis=1)
    if good.all():
        return batch
    message = "The encoder's output is not a finite number."
    kept = [batch.prepared[i] for i in np.flatnonzero(good)]
    bad = [
        Skipped(batch.prepared[i].item, "encode", "not_finite", message)
        for i in np.flatnonzero(~good)
    ]
    return Batch(kept, batch.vectors[good], batch.skipped + bad, batch.recognised)


def _skip(item: Item, stage: str, error: LookalikeError) -> Skipped:
    size = (error.width, error.height) if isinstance(error, ImageTooLarge) else ()
    return Skipped(item, stage, error.code, error.message, *size)
