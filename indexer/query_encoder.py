"""The encoder an index was made with, opened when a query first needs it."""

import threading

import numpy as np
from numpy.typing import NDArray

from indexer.batching import Batcher
from indexer.config import EncoderConfig, is_weights_path
from indexer.encoders import Encoder, EncoderSpec, open_encoder
from indexer.errors import EncoderMismatch, InvalidQuery, LookalikeError


class QueryEncoder:
    """Encodes queries with the encoder ``spec`` names. Safe between threads.

    The index decides which encoder that is; ``configured`` may say where its weights are now and
    how it runs.
    """

    def __init__(self, spec: EncoderSpec, configured: EncoderConfig) -> None:
        self._spec = spec
        self._configured = configured
        self._batcher: Batcher | None = None
        self._failure: LookalikeError | None = None
        self._loading = threading.Lock()

    @property
    def is_loaded(self) -> bool:
        """True once queries are encoded without delay."""
        return self._batcher is not None

    @property
    def batcher(self) -> Batcher | None:
        """What gathers the images of concurrent queries, once the encoder is loaded."""
        return self._batcher

    def load(self) -> None:
        """Load the model now, so that the first query does not wait for it.

        Raises :class:`~indexer.errors.WeightsUnavailable` or
        :class:`~indexer.errors.EncoderMismatch` if it is no longer the one of the index.
        """
        self._loaded()

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the feature float32 (dim,) of one image, uint8 (224, 224, 3).

        Raises what :meth:`load` does, and :class:`~indexer.errors.InvalidQuery` where the feature
        is not finite: no distance to it would mean anything, and indexing skips such images.
        """
        vector = self._loaded().encode(pixels)
        if not np.isfinite(vector).all():
            raise InvalidQuery(
                "The encoder's output for this image is not a finite number.",
                "Such an image cannot be compared; if it is so for all images, check the weights.",
            )
        return vector

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

    def _loaded(self) -> Batcher:
        """Return the loaded encoder's batcher. A failure is final: it takes a restart to mend."""
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
                self._batcher = Batcher(encoder)
            return self._batcher
