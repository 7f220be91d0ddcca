"""VGG16 from Keras Applications, cut at fc1 or fc2.

Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
https://arxiv.org/abs/1409.1556.
"""

import keras
import numpy as np
from keras import layers
from keras.applications import vgg16

from indexer.encoders.weights import Weights
from indexer.errors import WeightsUnavailable


def build(weights: Weights, layer: str) -> keras.Model:
    """Return the network from its preprocessed input to the activations of ``layer``, (n, 4096)."""
    network = _architecture()
    if weights.path is None:
        set_random(network, weights.seed)
    else:
        _read(network, weights)
    return keras.Model(network.input, network.get_layer(layer).output)


def _architecture() -> keras.Model:
    """Return ``vgg16.VGG16(weights=None)``, layer by layer, but with zeros in the dense layers.

    Keras would draw 124 million random numbers, in seconds and a gigabyte, that are overwritten
    immediately.
    """
    convolutions = vgg16.VGG16(include_top=False, weights=None, input_shape=(224, 224, 3))
    x = layers.Flatten(name="flatten")(convolutions.output)
    for name, units, activation in (
        ("fc1", 4096, "relu"),
        ("fc2", 4096, "relu"),
        ("predictions", 1000, "softmax"),
    ):
        x = layers.Dense(units, activation=activation, kernel_initializer="zeros", name=name)(x)
    return keras.Model(convolutions.input, x, name="vgg16")


def _read(network: keras.Model, weights: Weights) -> None:
    try:
        if str(weights.path).endswith(".keras"):
            saved = keras.saving.load_model(weights.path, compile=False, safe_mode=True)
            network.set_weights(saved.get_weights())
        else:
            network.load_weights(weights.path)
    except Exception as error:  # h5py, zipfile and Keras raise many types of errors
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise WeightsUnavailable(
            f"The file {weights.path} does not hold the weights of VGG16: {reason[0]}",
            "Use the weights of keras.applications.VGG16(include_top=True); delete a damaged "
            "download from ~/.keras/models to have it fetched again.",
        ) from error


def set_random(network: keras.Model, seed: int | None) -> None:
    """Set He-normal kernels (He et al., 2015), drawn in NumPy so that all backends agree."""
    draw = np.random.default_rng(seed)
    for array in network.weights:
        if len(array.shape) > 1:
            fan_in = float(np.prod(array.shape[:-1]))
            kernel = draw.standard_normal(array.shape, dtype=np.float32)
            kernel *= np.float32(np.sqrt(2 / fan_in))
            array.assign(kernel)
        else:
            array.assign(np.zeros(array.shape, np.float32))
