"""The encoder that an index was made with, loaded when a query first needs it."""

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.config import EncoderConfig, is_weights_path
from indexer.encoders import Cells, Encoder, EncoderSpec, open_encoder
from indexer.errors import EncoderMismatch, InvalidQuery, LookalikeError
from indexer.search.batching import Batcher

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]


MAX_BATCH = 16
"""The most images of one request in a batch. Larger batches are no faster on CPUs, and other
requests wait for them."""

RETRY_SECONDS = 60.0
"""When to try again to load a model that could not be loaded."""


class QueryEncoder:
    """Encodes the images of queries. Safe between threads.

    ``spec`` is the encoder of the index; ``configured`` may say where its weights are now, and how
    to run it.
    """

    def __init__(self, spec: EncoderSpec, configured: EncoderConfig) -> None:
        self._spec = spec
        self._configured = configured
        self._encoder: Encoder | None = None
        self._batcher: Batcher[Pixels, Vector] | None = None
        self._batch_size = 1
        self._failure: LookalikeError | None = None
        self._retry_at = 0.0
        self._loading = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """True once the model is loaded."""
        return self._batcher is not None

    @property
    def batcher(self) -> Batcher[Pixels, Vector] | None:
        """Encodes the images of concurrent queries together; None until the model is loaded."""
        return self._batcher

    def load(self) -> None:
        """Load the model, so that the first query does not wait for it.

        Raises :class:`~indexer.errors.WeightsUnavailable` or
        :class:`~indexer.errors.EncoderMismatch` if it is no longer the one of the index.
        """
        self._loaded()

    def encode(self, images: Sequence[Pixels]) -> list[Vector | InvalidQuery]:
        """Return the features, float32 (dim,), of images, uint8 (224, 224, 3), in batches.

        A feature that is not finite is replaced by an error, as its distances would be NaN. Raises
        what :meth:`load` raises.
        """
        batcher, size = self._loaded()
        batches = (images[start : start + size] for start in range(0, len(images), size))
        vectors = (vector for batch in batches for vector in batcher.run(batch))
        return [vector if np.isfinite(vector).all() else _not_finite() for vector in vectors]

    def cells(self, images: Sequence[Pixels]) -> Cells | None:
        """Return the activations whose means are the features of images, if they are means.

        See :meth:`indexer.encoders.Encoder.cells`. Raises what :meth:`load` raises.
        """
        self._loaded()
        assert self._encoder is not None
        return self._encoder.cells(np.stack(images))

    def open(self) -> Encoder:
        """Open the encoder of the index, with the configured weights file if there is one."""
        spec, configured = self._spec, self._configured
        settings = configured.model_dump() | {"model": spec.model, "weights": spec.weights}
        if spec.model == "vgg16":
            settings["layer"] = spec.layer
            if is_weights_path(configured.weights):
                settings["weights"] = configured.weights
        encoder = open_encoder(EncoderConfig.model_validate(settings))
        if encoder.spec.fingerprint != spec.fingerprint:
            raise EncoderMismatch(
                f"The index was made by encoder {spec}; the weights at hand make {encoder.spec}.",
                "Name the original weights in encoder.weights, or index into another --store.",
            )
        return encoder

    def _loaded(self) -> tuple[Batcher[Pixels, Vector], int]:
        """Load the model once; return its batcher, and the most images of a request per batch.

        A failure is raised again by later calls, until it is time to try again.
        """
        with self._loading:
            if self._failure and time.monotonic() < self._retry_at:
                raise self._failure.fresh()
            if self._batcher is None:
                try:
                    encoder = self.open()
                    encoder.load()
                except LookalikeError as error:
                    self._failure = error.fresh()
                    self._retry_at = time.monotonic() + RETRY_SECONDS
                    raise
                self._encoder = encoder
                self._batch_size = min(encoder.batch_size, MAX_BATCH)
                self._batcher = encoding_batcher(encoder)
            return self._batcher, self._batch_size


def encoding_batcher(encoder: Encoder) -> Batcher[Pixels, Vector]:
    """Return a batcher that joins images of several threads if that is faster on average.

    Let n images take ``a + b n``. Encoded one by one, each waits ``(n + 1) / 2 * (a + b)`` on
    average; in a batch it is ``a + b n``, which is less if and only if ``a > b``, that is, if two
    images take less than 1.5 times as long as one. This holds on GPUs, and for VGG16 on CPUs, but
    not for small networks on CPUs.
    """
    one, two = (_seconds(encoder, count) for count in (1, 2))
    limit = encoder.batch_size if two < 1.5 * one else 1
    return Batcher(lambda images: list(encoder.encode(np.stack(images))), limit)


def _not_finite() -> InvalidQuery:
    return InvalidQuery(
        "The encoder's output for this image is not a finite number.",
        "Such an image cannot be compared; if it is so for all images, check the weights.",
    )


def _seconds(encoder: Encoder, count: int) -> float:
    """Return the least of three times to encode ``count`` grey images, after a first call."""
    images = np.full((count, 224, 224, 3), 128, np.uint8)
    encoder.encode(images)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        encoder.encode(images)
        times.append(time.perf_counter() - began)
    return min(times)
