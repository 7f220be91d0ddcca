"""The reference encoder: the model in Keras, called in batches inside one compiled function."""

import threading

from indexer.encoders.keras.backend import Activations, compiled
from indexer.encoders.keras.networks import build_network
from indexer.encoders.models import preprocessing_of
from indexer.encoders.spec import EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights

AUTO_BATCH_SIZE = 32


class KerasEncoder:
    """VGG16 or EfficientNet-Lite0 in Keras, on whatever device Keras' backend uses."""

    runtime = "keras"

    def __init__(self, spec: EncoderSpec, weights: Weights, batch_size: int | None = None) -> None:
        self.spec = spec
        self.batch_size = batch_size or AUTO_BATCH_SIZE
        self._weights = weights
        self._activations: Activations | None = None
        self._loading = threading.Lock()

    def load(self) -> None:
        """Import Keras and load the model; later calls do nothing.

        Raises :class:`~indexer.errors.WeightsUnavailable` if the file does not fit the model.
        """
        with self._loading:
            if self._activations is None:
                network = build_network(self.spec, self._weights)
                self._activations = compiled(network, preprocessing_of(self.spec.model))

    def encode(self, images: Images) -> Vectors:
        """Encode uint8 (n, 224, 224, 3) RGB images to float32 (n, dim) vectors of norm 1."""
        self.load()
        assert self._activations is not None
        return normalise(self._activations(images))
