"""Image to vector: the configured encoder, its specification and its fingerprint."""

from pathlib import Path

from indexer.config import EncoderConfig, is_weights_path
from indexer.encoders.spec import Encoder, EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights, embedded_weights, local_weights, random_weights
from indexer.errors import ConfigError

__all__ = ["Encoder", "EncoderSpec", "Images", "Vectors", "normalise", "open_encoder"]


def open_encoder(config: EncoderConfig) -> Encoder:
    """Return the configured encoder with its weights found and checked, its model not yet loaded.

    Raises :class:`~indexer.errors.WeightsUnavailable` at once if there are no weights to load.
    """
    weights = _find_weights(config)
    from indexer.encoders.keras import KerasEncoder  # light: Keras itself is imported by load()

    return KerasEncoder(config, weights)


def _find_weights(config: EncoderConfig) -> Weights:
    if config.model == "efficientnet_lite0":
        if config.weights != "imagenet":
            raise ConfigError(
                f"efficientnet_lite0 comes with its weights and cannot use {config.weights}.",
                "Leave encoder.weights at imagenet, or set encoder.model to vgg16.",
            )
        return embedded_weights()
    if config.weights.startswith("random:"):
        return random_weights(config.weights)
    if is_weights_path(config.weights):
        return local_weights(Path(config.weights))
    from indexer.encoders.keras.download import imagenet_weights

    return imagenet_weights()
