"""Keras' backend: its quiet import, and the only TensorFlow calls of the project."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from indexer.encoders.spec import Images

if TYPE_CHECKING:
    import keras

Activations = Callable[[Images], NDArray[np.float32]]


def import_keras() -> None:
    """Import Keras and its backend without TensorFlow's start-up messages on stderr."""
    if "keras" not in sys.modules:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        with _stderr_held_back():
            import keras
            import tensorflow as tf

            assert keras.backend.backend() == "tensorflow"
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, enable=True)  # not all of it at once


def compiled(model: "keras.Model") -> Activations:
    """Wrap a model in one compiled function from uint8 images to its float32 activations.

    ``model.predict`` in a loop is slower and leaks; this is traced once, for any batch size.
    """
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec(model.input_shape, tf.uint8)], autograph=False)  # type: ignore[untyped-decorator]
    def call(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    def activations(images: Images) -> NDArray[np.float32]:
        return np.asarray(call(tf.constant(images)), dtype=np.float32)

    return activations


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what native code writes to stderr, and show it only if the block fails.

    TensorFlow's libraries write some messages before any of their log levels is in force.
    """
    sys.stderr.flush()
    original = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(original, held.read())
            raise
        finally:
            os.dup2(original, 2)
            os.close(original)
