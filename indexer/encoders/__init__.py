"""Encoders, which turn images into vectors: open the configured one."""

import sys
from importlib.util import find_spec
from pathlib import Path

from indexer.config import EncoderConfig, is_weights_path
from indexer.encoders.models import specify
from indexer.encoders.spec import Cells, Encoder, EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights, embedded_weights, local_weights, random_weights
from indexer.errors import ConfigError, MissingDependency
from indexer.machine import may_have_gpu

__all__ = ["Cells", "Encoder", "EncoderSpec", "Images", "Vectors", "normalise", "open_encoder"]


def open_encoder(config: EncoderConfig, cores: int | None = None) -> Encoder:
    """Return the configured encoder; its weights are checked, its model is not loaded yet.

    ``cores`` is how many cores ncnn may use, by default all that this process may use.

    Raises :class:`~indexer.errors.WeightsUnavailable` if there are no weights to load.
    """
    weights = _find_weights(config)
    spec = specify(config, weights)
    batch_size = None if config.batch_size == "auto" else config.batch_size
    if _choose_runtime(config) == "ncnn":
        from indexer.encoders.ncnn import NcnnEncoder

        return NcnnEncoder(spec, weights, batch_size, cores)
    from indexer.encoders.keras import KerasEncoder  # light: Keras itself is imported by load()

    return KerasEncoder(spec, weights, batch_size)


def _choose_runtime(config: EncoderConfig) -> str:
    """Resolve ``auto``: Keras where there is a GPU, else ncnn where it is installed, else Keras."""
    installed = find_spec("ncnn") is not None
    if config.precision != "float32":
        if config.runtime == "ncnn":
            raise ConfigError(
                f"encoder.precision is {config.precision}, but ncnn computes in float32.",
                "Set encoder.runtime to keras (on a GPU), or encoder.precision to float32.",
            )
        return "keras"
    if config.runtime == "ncnn" and not installed:
        raise MissingDependency(
            "encoder.runtime is ncnn, which is not installed.",
            "Install it (pip install ncnn), or set encoder.runtime to auto.",
        )
    if config.runtime != "auto":
        return config.runtime
    if may_have_gpu():
        from indexer.encoders.keras.backend import gpus

        if gpus():
            return "keras"
    if not installed:
        sys.stderr.write("ncnn is not installed: encoding in Keras, several times slower.\n")
    return "ncnn" if installed else "keras"


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
