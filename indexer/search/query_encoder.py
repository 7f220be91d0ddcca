"""The encoder an index was made with, opened when a query first needs it."""

import threading
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from indexer.config import EncoderConfig, is_weights_path
from indexer.encoders import Encoder, EncoderSpec, open_encoder
from indexer.errors import EncoderMismatch, InvalidQuery, LookalikeError
from indexer.search.batching import Batcher

Pixels = NDArray[np.uint8]
Vector = NDArray[np.float32]


TOGETHER = 16
"""The most images of one request in a batch: larger ones are no faster on CPUs, and all others
wait for them."""


class QueryEncoder:
    """Encodes queries with the encoder ``spec`` names. Safe between threads.

    The index decides which encoder that is; ``configured`` may say where its weights are now and
    how it runs.
    """

    def __init__(self, spec: EncoderSpec, configured: EncoderConfig) -> None:
        self._spec = spec
        self._configured = configured
        self._batcher: Batcher[Pixels, Vector] | None = None
        self._batch_size = 1
        self._failure: LookalikeError | None = None
        self._loading = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """True once queries are encoded without delay."""
        return self._batcher is not None

    @property
    def batcher(self) -> Batcher[Pixels, Vector] | None:
        """What gathers the images of concurrent queries, once the encoder is loaded."""
        return self._batcher

    def load(self) -> None:
        """Load the model now, so that the first query does not wait for it.

        Raises :class:`~indexer.errors.WeightsUnavailable` or
        :class:`~indexer.errors.EncoderMismatch` if it is no longer the one of the index.
        """
        self._loaded()

    def encode(self, images: Sequence[Pixels]) -> list[Vector | InvalidQuery]:
        """Return the features, float32 (dim,), of images, uint8 (224, 224, 3), in batches.

        Where a feature is not finite there is an error in its place: no distance to it would mean
        anything, and indexing skips such images. Raises what :meth:`load` does.
        """
        batcher, size = self._loaded()
        batches = (images[start : start + size] for start in range(0, len(images), size))
        vectors = (vector for batch in batches for vector in batcher.run(batch))
        return [vector if np.isfinite(vector).all() else _not_finite() for vector in vectors]

    def open(self) -> Encoder:
        """Open the encoder the index was made with; a configured weights file is tried first."""
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
                "Name the original weights in encoder.weights, or index again into another STORE=.",
            )
        return encoder

    def _loaded(self) -> tuple[Batcher[Pixels, Vector], int]:
        """Return what works for the loaded encoder, and how many images of a request it takes.

        A failure is final: it takes a restart to mend.
        """
        with self._loading:
            if self._failure:
                raise self._failure
            if self._batcher is None:
                try:
                    encoder = self.open()
                    encoder.load()
                except LookalikeError as error:
                    self._failure = error
                    raise
                self._batch_size = min(encoder.batch_size, TOGETHER)
                self._batcher = encoding_batcher(encoder)
            return self._batcher, self._batch_size


def encoding_batcher(encoder: Encoder) -> Batcher[Pixels, Vector]:
    """Gather the images of many threads where encoding them together is faster for each.

    Let n images take ``a + b n``. One after the other, they wait ``(n + 1) / 2 * (a + b)`` on
    average; together it is ``a + b n``, which is less if and only if ``a > b``, that is if two take
    less than 1.5 times as long as one. On GPUs it holds, and for VGG16 on CPUs; for small networks
    on CPUs it does not.
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
    """Return the least of three times to encode grey images, after one that may set things up."""
    images = np.full((count, 224, 224, 3), 128, np.uint8)
    encoder.encode(images)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        encoder.encode(images)
        times.append(time.perf_counter() - began)
    return min(times)
