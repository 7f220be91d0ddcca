"""EfficientNet-Lite0 without its classifier: 1280 features after global average pooling.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
https://arxiv.org/abs/1905.11946; the Lite variants drop squeeze-and-excitation and use ReLU6.
"""

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray

from indexer.encoders.weights import Weights

Arrays = dict[str, NDArray[np.float32]]

REPEATS = (1, 2, 2, 3, 3, 4, 1)
STRIDES = (1, 2, 2, 2, 1, 2, 1)
EPSILON = 1e-3


def build(weights: Weights) -> keras.Model:
    """Return the network from its preprocessed input to the pooled features, (n, 1280)."""
    assert weights.path is not None
    with np.load(weights.path, allow_pickle=False) as file:
        arrays = {name: file[name].astype(np.float32) for name in file.files}
    images = keras.Input((224, 224, 3))
    x = _convolve(images, arrays, "_conv_stem", "_bn0", strides=2)
    strides = [
        stride if position == 0 else 1
        for repeats, stride in zip(REPEATS, STRIDES, strict=True)
        for position in range(repeats)
    ]
    for number, stride in enumerate(strides):
        x = _block(x, arrays, f"_blocks.{number}", stride)
    x = _convolve(x, arrays, "_conv_head", "_bn1")
    return keras.Model(images, layers.GlobalAveragePooling2D()(x))


def _block(x: keras.KerasTensor, arrays: Arrays, name: str, stride: int) -> keras.KerasTensor:
    """Expand, filter each channel, project: the inverted residual of MobileNetV2."""
    shortcut = x
    if f"{name}._expand_conv.weight" in arrays:
        x = _convolve(x, arrays, f"{name}._expand_conv", f"{name}._bn0")
    x = _convolve(x, arrays, f"{name}._depthwise_conv", f"{name}._bn1", strides=stride)
    x = _convolve(x, arrays, f"{name}._project_conv", f"{name}._bn2", relu6=False)
    return layers.add([x, shortcut]) if x.shape == shortcut.shape else x


def _convolve(
    x: keras.KerasTensor,
    arrays: Arrays,
    kernel_name: str,
    norm_name: str,
    *,
    strides: int = 1,
    relu6: bool = True,
) -> keras.KerasTensor:
    """Apply a convolution without bias, batch normalisation and, unless told otherwise, ReLU6."""
    kernel = arrays[f"{kernel_name}.weight"]  # PyTorch's order: out, in, height, width
    options = {"strides": strides, "padding": "same", "use_bias": False}
    if kernel.shape[1] == 1:
        convolution = layers.DepthwiseConv2D(kernel.shape[2], **options)
        kernel = kernel.transpose(2, 3, 0, 1)
    else:
        convolution = layers.Conv2D(kernel.shape[0], kernel.shape[2], **options)
        kernel = kernel.transpose(2, 3, 1, 0)
    x = convolution(x)
    convolution.set_weights([kernel])
    norm = layers.BatchNormalization(epsilon=EPSILON)
    x = norm(x)
    names = ("weight", "bias", "running_mean", "running_var")
    norm.set_weights([arrays[f"{norm_name}.{name}"] for name in names])
    return layers.ReLU(max_value=6)(x) if relu6 else x
