"""Extraction: dataset items to vectors; files that cannot be used are skipped with a reason."""

import hashlib
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from indexer.datasets import Dataset, Item
from indexer.encoders import Encoder, Vectors
from indexer.errors import ImageGone, ImageTooLarge, InvalidImage, LookalikeError, OutOfMemory
from indexer.executors import LocalExecutor, untimed
from indexer.images import decoded, model_input, note


@dataclass(frozen=True, slots=True)
class Prepared:
    """A decoded image, ready for the encoder."""

    item: Item
    sha256: str
    format: str
    width: int
    height: int
    pixels: NDArray[np.uint8]
    note: str = ""
    """What is wrong with the file, if its picture is whole all the same."""


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


Outcome = Prepared | Recognised | Skipped


@dataclass(slots=True)
class Batch:
    """The outcomes of some files: ``vectors[i]`` belongs to ``prepared[i]``."""

    prepared: list[Prepared]
    vectors: Vectors
    skipped: list[Skipped] = field(default_factory=list)
    recognised: list[Recognised] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Task:
    """One file being prepared, and its current stage: ``read`` or ``decode``."""

    item: Item
    stage: str = "read"


def prepare(
    dataset: Dataset, task: Task, max_pixels: int, known: Container[str] = frozenset()
) -> Outcome:
    """Read, decode and resize one file; any failure is an outcome, not an exception.

    A file whose content's SHA-256 is ``known`` is only read.

    The outcome's item has the modification time of the scan and the size of what was read, so that
    the next build notices a file that changed between the two.
    """
    try:
        data = dataset.read(task.item.key)
        task.item = replace(task.item, size=len(data))
        sha256 = hashlib.sha256(data).hexdigest()
        if sha256 in known:
            return Recognised(task.item, sha256)
        task.stage = "decode"
        with decoded(data, max_pixels=max_pixels, waiting=untimed()) as image:
            return Prepared(
                task.item,
                sha256,
                str(image.format),
                image.width,
                image.height,
                model_input(image),
                note(image),
            )
    except (ImageGone, InvalidImage, OutOfMemory) as error:
        return _skip(task, error)
    except MemoryError:
        message = f"There is not enough memory to {task.stage} it."
        return Skipped(task.item, task.stage, OutOfMemory.code, message)


def prepared_batches(
    dataset: Dataset,
    items: Iterable[Item],
    batch_size: int,
    *,
    max_pixels: int,
    known: Container[str] = frozenset(),
    executor: LocalExecutor | None = None,
) -> Iterator[list[Outcome]]:
    """Yield the outcome of :func:`prepare` for every item, in order, in batches prepared ahead.

    A file that takes longer than the executor allows is skipped. Raises
    :class:`~indexer.errors.ExtractionStalled` if too many do.
    """
    executor = executor or LocalExecutor()

    def overdue(task: Task) -> Skipped:
        doing = "Reading" if task.stage == "read" else "Decoding"
        message = f"{doing} took more than {executor.seconds:.0f} s."
        return Skipped(task.item, task.stage, "timeout", message)

    return executor.batches(
        lambda task: prepare(dataset, task, max_pixels, known),
        map(Task, items),
        batch_size,
        overdue=overdue,
    )


def extract(
    dataset: Dataset,
    items: Iterable[Item],
    encoder: Encoder,
    *,
    max_pixels: int,
    known: Container[str] = frozenset(),
    executor: LocalExecutor | None = None,
) -> Iterator[Batch]:
    """Yield the outcome of every item, in order, in batches of the encoder's size.

    Files whose content's SHA-256 is ``known`` are recognised and not encoded.
    """
    outcomes = prepared_batches(
        dataset,
        items,
        encoder.batch_size,
        max_pixels=max_pixels,
        known=known,
        executor=executor,
    )
    for batch in outcomes:
        prepared = [outcome for outcome in batch if isinstance(outcome, Prepared)]
        skipped = [outcome for outcome in batch if isinstance(outcome, Skipped)]
        recognised = [outcome for outcome in batch if isinstance(outcome, Recognised)]
        vectors = np.empty((0, encoder.spec.dim), np.float32)
        if prepared:
            vectors = encoder.encode(np.stack([image.pixels for image in prepared]))
        yield _without_bad_vectors(Batch(prepared, vectors, skipped, recognised))


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


def _skip(task: Task, error: LookalikeError) -> Skipped:
    size = (error.width, error.height) if isinstance(error, ImageTooLarge) else ()
    return Skipped(task.item, task.stage, error.code, error.message, *size)
