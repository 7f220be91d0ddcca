"""Extraction on a cluster: workers on its nodes do blocks of files, and return vectors."""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from indexer.build.diff import WORKER_DIED
from indexer.build.extract import (
    Batch,
    Contents,
    Skipped,
    by_file,
    extract,
    with_metadata,
)
from indexer.config import Config, EncoderConfig
from indexer.datasets import Dataset, Item
from indexer.encoders import Encoder, EncoderSpec, open_encoder
from indexer.errors import DatasetError, EncoderMismatch, ImageGone, InvalidImage
from indexer.executors import Failure, LocalExecutor

PROBES = 8
"""How many files are tried to find one that this machine can read, and every node must."""

File = Sequence[Item]
"""The items that lie in one file: the image, or boxes in it."""


@dataclass(slots=True)
class BlockExtraction:
    """Extracts blocks of files on a node: an :class:`~indexer.executors.ray.BlockWorker`.

    The node must have the encoder's weights and the images, at the same paths as here.
    """

    dataset: Dataset
    encoder: EncoderConfig
    spec: EncoderSpec
    max_pixels: int
    known: Contents = field(default_factory=Contents)
    probe: str | None = None
    """The key of a file that the node must be able to read."""
    _opened: Encoder | None = None
    _executor: LocalExecutor | None = None

    def start(self, cores: int) -> None:
        """Load the encoder, and look whether the images are there.

        Raises :class:`~indexer.errors.EncoderMismatch` if vectors would differ from those of the
        index, and :class:`~indexer.errors.DatasetError` if the probe cannot be read.
        """
        if self.probe is not None:
            try:
                self.dataset.read(self.probe)
            except ImageGone as error:
                raise DatasetError(
                    error.message,
                    f"The images of {self.dataset.source} must lie at the same paths on all nodes.",
                ) from None
        encoder = self.open_encoder(cores)
        if encoder.spec.fingerprint != self.spec.fingerprint:
            raise EncoderMismatch(
                f"The encoder is {encoder.spec}, but that of the build is {self.spec}.",
                "Give every node the same weights.",
            )
        encoder.load()
        self._opened = encoder
        self._executor = LocalExecutor(cores, processes=False)  # the blocks are too short

    def open_encoder(self, cores: int) -> Encoder:
        """Open the encoder that the node has."""
        return open_encoder(self.encoder, cores)

    def __call__(self, block: Sequence[File]) -> list[Batch]:
        """Return the batches of the files of a block."""
        assert self._opened is not None
        items = [item for file in block for item in file]
        return list(
            extract(
                self.dataset,
                items,
                self._opened,
                max_pixels=self.max_pixels,
                known=self.known,
                executor=self._executor,
            )
        )

    def failed(self, block: Sequence[File], failure: Failure, seconds: float) -> list[Batch]:
        """Return the outcomes of files that ended their worker."""
        message = "Decoding or encoding it ended the process that did it, several times."
        skipped = [Skipped(item, "decode", WORKER_DIED, message) for file in block for item in file]
        return [Batch([], np.empty((0, self.spec.dim), np.float32), skipped)]

    def size(self, batches: Sequence[Batch]) -> int:
        """Return how many bytes the vectors of batches have."""
        return sum(batch.vectors.nbytes for batch in batches)


class ClusterExtraction:
    """Extracts the images of a dataset on a cluster.

    ``config`` says where it is, and how many workers to use. Needs no model on this machine.
    """

    def __init__(self, config: Config, dataset: Dataset, spec: EncoderSpec) -> None:
        from indexer.executors.ray import RayExecutor

        workers = config.executor.workers
        self._executor = RayExecutor[File, Batch](None if workers == "auto" else workers)
        self._worker = BlockExtraction(dataset, config.encoder, spec, config.dataset.max_pixels)

    @property
    def workers(self) -> int:
        """How many workers are ready."""
        return self._executor.workers

    @property
    def notes(self) -> list[str]:
        """Notes for the user: which workers were lost."""
        return self._executor.notes

    def close(self) -> None:
        """End what another thread still extracts, before the connection to the cluster ends."""
        self._executor.close()

    def extract(self, items: Sequence[Item], known: Contents) -> Generator[Batch]:
        """Yield the outcome of every item, in order. Files of ``known`` contents are not encoded.

        No workers are started if there are no items. Raises
        :class:`~indexer.errors.ClusterUnavailable`, and what a worker raises at its start.
        """
        worker = replace(self._worker, known=known, probe=self._readable(items))
        files = by_file(replace(item, metadata={}) for item in items)
        count = sum(1 for _ in by_file(items))
        described = iter(items)
        with closing(self._executor.run(worker, files, count)) as batches:
            for batch in batches:
                yield _described(batch, described)

    def _readable(self, items: Sequence[Item]) -> str | None:
        """Return the key of a file that this machine can read; None if none of the first can be."""
        for item in items[:PROBES]:
            with suppress(ImageGone, InvalidImage):
                self._worker.dataset.read(item.file)
                return item.file
        return None


def _described(batch: Batch, items: Iterator[Item]) -> Batch:
    """Return a batch with the metadata of its items, the next ones of the iterator."""
    count = len(batch.prepared) + len(batch.skipped) + len(batch.recognised)
    metadata = {item.key: item.metadata for item in islice(items, count)}
    return Batch(
        [with_metadata(outcome, metadata[outcome.item.key]) for outcome in batch.prepared],
        batch.vectors,
        [with_metadata(outcome, metadata[outcome.item.key]) for outcome in batch.skipped],
        [with_metadata(outcome, metadata[outcome.item.key]) for outcome in batch.recognised],
    )
