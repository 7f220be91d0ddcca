"""The available models: their layers, preprocessing and specification."""

from dataclasses import dataclass
from typing import Literal

from indexer.config import EncoderConfig
from indexer.encoders.spec import EncoderSpec
from indexer.encoders.weights import Weights


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How RGB pixels become a network's input: ``(x - mean) * scale``, channels in ``order``."""

    order: Literal["rgb", "bgr"]
    mean: tuple[float, float, float]
    scale: float = 1.0

    def __str__(self) -> str:
        return f"bicubic 224x224, {self.order}, (x - {self.mean}) * {self.scale}"


# keras.applications.vgg16.preprocess_input: the mean of ImageNet's training images, in BGR.
VGG16 = Preprocessing("bgr", (103.939, 116.779, 123.68))
EFFICIENTNET_LITE0 = Preprocessing("rgb", (127.0, 127.0, 127.0), 1 / 128)

DIMS = {"fc1": 4096, "fc2": 4096, "avg_pool": 1280}


def preprocessing_of(model: str) -> Preprocessing:
    """Return the preprocessing a model was trained with."""
    return VGG16 if model == "vgg16" else EFFICIENTNET_LITE0


def specify(config: EncoderConfig, weights: Weights) -> EncoderSpec:
    """Return the specification of the configured model with these weights."""
    layer = config.layer if config.model == "vgg16" else "avg_pool"
    return EncoderSpec(
        model=config.model,
        layer=layer,
        weights=weights.setting,
        weights_sha256=weights.sha256,
        dim=DIMS[layer],
        preprocessing=str(preprocessing_of(config.model)),
        precision=config.precision,
    )
