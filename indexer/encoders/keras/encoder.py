"""The reference encoder: a model in Keras, compiled and run in batches."""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from indexer.encoders.keras.backend import (
    Compiled,
    compiled,
    computing_in,
    gpus,
    import_keras,
    is_out_of_memory,
)
from indexer.encoders.keras.networks import build_network
from indexer.encoders.models import preprocessing_of
from indexer.encoders.spec import Cells, EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights

if TYPE_CHECKING:
    import keras

CPU_BATCH_SIZE = 32
GPU_BATCH_SIZES = (512, 256, 128, 64, 32)
"""Per GPU. VGG16 is fastest at 512 on large cards; on smaller ones there is less memory."""

MUCH_FASTER = 1.05
"""A smaller batch is chosen if it encodes so many times as many images per second."""


class KerasEncoder:
    """VGG16 or EfficientNet-Lite0 in Keras: on all GPUs its backend sees, else on the CPU.

    A batch is divided among the GPUs, each of which has a copy of the network.
    """

    runtime = "keras"

    def __init__(self, spec: EncoderSpec, weights: Weights, batch_size: int | None = None) -> None:
        self.spec = spec
        self._weights = weights
        self._batch_size = batch_size
        self._replicas: list[Compiled] = []
        self._networks: list[tuple[str, keras.Model]] = []
        """The device of each replica, and its network."""
        self._cells: Compiled | None = None
        self._loading = threading.Lock()

    @property
    def batch_size(self) -> int:
        """How many images to encode at once; on GPUs it is measured when the model is loaded."""
        return self._batch_size or CPU_BATCH_SIZE

    @property
    def shares_cores(self) -> bool:
        """Whether it computes on the CPU."""
        return not gpus()

    def load(self) -> None:
        """Import Keras and load the model; later calls do nothing.

        Raises :class:`~indexer.errors.WeightsUnavailable` if the file does not fit the model.
        """
        with self._loading:
            if self._replicas:
                return
            import_keras()
            devices = gpus()
            replicas = [self._replica(device) for device in devices or ["cpu:0"]]
            if devices and self._batch_size is None:
                self._batch_size = len(devices) * fastest_batch_size(replicas[0])
            self._replicas = replicas

    def start(self, images: Images) -> Callable[[], Vectors]:
        """Begin to encode on all GPUs, and return a function that waits for the vectors."""
        self.load()
        count = len(self._replicas)
        largest = -(-self.batch_size // count)
        waits = [
            replica(part, largest)
            for replica, part in zip(self._replicas, np.array_split(images, count), strict=True)
            if len(part)
        ]
        return lambda: normalise(np.concatenate([wait() for wait in waits]))

    def encode(self, images: Images) -> Vectors:
        """Encode uint8 (n, 224, 224, 3) RGB images to float32 (n, dim) vectors of norm 1."""
        return self.start(images)()

    def cells(self, images: Images) -> Cells | None:
        """Return the activations whose mean is the vector, before it gets norm 1, if there are."""
        self.load()
        import keras

        device, network = self._networks[0]
        last = network.layers[-1]
        if not isinstance(last, keras.layers.GlobalAveragePooling2D):
            return None
        with self._loading:
            if self._cells is None:
                self._cells = self._compiled(keras.Model(network.inputs, last.input), device)
        return self._cells(images, self.batch_size)()

    def _replica(self, device: str) -> Compiled:
        import keras

        with keras.device(device), computing_in(self.spec.precision):
            network = build_network(self.spec, self._weights)
        self._networks.append((device, network))
        return self._compiled(network, device)

    def _compiled(self, network: "keras.Model", device: str) -> Compiled:
        import keras

        with keras.device(device), computing_in(self.spec.precision):
            call = compiled(network, preprocessing_of(self.spec.model))

        def start(images: Images, largest: int) -> Callable[[], Vectors]:
            with keras.device(device):
                return call(images, largest)

        return start


def fastest_batch_size(network: Compiled) -> int:
    """Return the largest batch for which the GPU has the memory, unless half of it is faster."""
    best, best_rate = 1, 0.0
    for size in GPU_BATCH_SIZES:
        try:
            rate = _rate(network, size)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            continue
        if rate < best_rate * MUCH_FASTER:
            break
        best, best_rate = size, rate
    return best


def _rate(network: Compiled, size: int) -> float:
    """Return how many grey images per second are encoded in batches of this size."""
    images = np.full((size, 224, 224, 3), 128, np.uint8)
    network(images, size)()  # may compile
    began = time.perf_counter()
    waits = [network(images, size) for _ in range(3)]
    for wait in waits:
        wait()
    return len(waits) * size / (time.perf_counter() - began)
