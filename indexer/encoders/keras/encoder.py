"""The reference encoder: the model in Keras, called in batches inside one compiled function."""

import threading
from typing import TYPE_CHECKING

from indexer.config import EncoderConfig
from indexer.encoders.keras.backend import Activations, compiled, import_keras
from indexer.encoders.spec import EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights

if TYPE_CHECKING:
    import keras

LAYERS = {"fc1": 4096, "fc2": 4096, "avg_pool": 1280}
"""The layers that can be read, and the dimension of each."""

AUTO_BATCH_SIZE = 32


class KerasEncoder:
    """VGG16 or EfficientNet-Lite0 in Keras, on whatever device Keras' backend uses."""

    def __init__(self, config: EncoderConfig, weights: Weights) -> None:
        self._weights = weights
        self._activations: Activations | None = None
        self._loading = threading.Lock()
        vgg16 = config.model == "vgg16"
        layer = config.layer if vgg16 else "avg_pool"
        self.batch_size = AUTO_BATCH_SIZE if config.batch_size == "auto" else config.batch_size
        self.spec = EncoderSpec(
            model=config.model,
            layer=layer,
            weights=weights.setting,
            weights_sha256=weights.sha256,
            dim=LAYERS[layer],
            preprocessing=(
                "rgb, bicubic 224x224, bgr, imagenet mean subtracted"
                if vgg16
                else "rgb, bicubic 224x224, (x - 127) / 128"
            ),
        )

    def load(self) -> None:
        """Import Keras and load the model; later calls do nothing.

        Raises :class:`~indexer.errors.WeightsUnavailable` if the file does not fit the model.
        """
        with self._loading:
            if self._activations is None:
                self._activations = compiled(self._build())

    def encode(self, images: Images) -> Vectors:
        """Encode uint8 (n, 224, 224, 3) RGB images to float32 (n, dim) vectors of norm 1."""
        self.load()
        assert self._activations is not None
        return normalise(self._activations(images))

    def _build(self) -> "keras.Model":
        import_keras()
        if self.spec.model == "vgg16":
            from indexer.encoders.keras import vgg16

            return vgg16.build(self._weights, self.spec.layer)
        from indexer.encoders.keras import efficientnet_lite0

        return efficientnet_lite0.build(self._weights)
