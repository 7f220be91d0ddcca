"""The reference encoder: a model in Keras, compiled and run in batches."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from indexer.encoders.keras.backend import (
    Activations,
    compiled,
    computing_in,
    gpus,
    import_keras,
)
from indexer.encoders.keras.networks import build_network
from indexer.encoders.models import preprocessing_of
from indexer.encoders.spec import EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights

CPU_BATCH_SIZE = 32
GPU_BATCH_SIZE = 128
"""Per GPU. Not measured yet: see benchmarks/README.md."""


class KerasEncoder:
    """VGG16 or EfficientNet-Lite0 in Keras: on all GPUs its backend sees, else on the CPU.

    A batch is divided among the GPUs, each of which has a copy of the network.
    """

    runtime = "keras"

    def __init__(self, spec: EncoderSpec, weights: Weights, batch_size: int | None = None) -> None:
        self.spec = spec
        self._weights = weights
        self._batch_size = batch_size
        self._replicas: list[Activations] = []
        self._loading = threading.Lock()

    @property
    def batch_size(self) -> int:
        """How many images to encode at once; it depends on the GPUs once the model is loaded."""
        if self._batch_size:
            return self._batch_size
        return GPU_BATCH_SIZE * len(gpus()) if self._replicas and gpus() else CPU_BATCH_SIZE

    def load(self) -> None:
        """Import Keras and load the model; later calls do nothing.

        Raises :class:`~indexer.errors.WeightsUnavailable` if the file does not fit the model.
        """
        with self._loading:
            if not self._replicas:
                import_keras()
                self._replicas = [self._replica(device) for device in gpus() or ["cpu:0"]]
                self._pool = ThreadPoolExecutor(len(self._replicas))

    def encode(self, images: Images) -> Vectors:
        """Encode uint8 (n, 224, 224, 3) RGB images to float32 (n, dim) vectors of norm 1."""
        self.load()
        if len(self._replicas) == 1:
            return normalise(self._replicas[0](images))
        parts = np.array_split(images, len(self._replicas))
        shares = zip(self._replicas, parts, strict=True)
        found = self._pool.map(lambda share: share[0](share[1]), (s for s in shares if len(s[1])))
        return normalise(np.concatenate(list(found)))

    def _replica(self, device: str) -> Activations:
        import keras

        with keras.device(device), computing_in(self.spec.precision):
            network = build_network(self.spec, self._weights)
            activations = compiled(network, preprocessing_of(self.spec.model))

        def call(images: Images) -> "np.ndarray[tuple[int, ...], np.dtype[np.float32]]":
            with keras.device(device):
                return activations(images)

        return call
