"""Keras' backend, the one place for what differs between TensorFlow, JAX and PyTorch."""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexer.encoders.models import Preprocessing
from indexer.encoders.spec import Images

if TYPE_CHECKING:
    import keras

Activations = Callable[[Images], NDArray[np.float32]]


def import_keras() -> None:
    """Import Keras and its backend, set to float32 arithmetic whatever ``keras.json`` says.

    On GPUs every backend would otherwise round to TF32 by itself, and vectors made on a GPU would
    differ from those made on a CPU in the fourth digit.
    """
    if "keras" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _stderr_held_back():
        import keras

        backend = keras.backend.backend()
        if backend == "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(False)
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, enable=True)  # not all at once
        elif backend == "torch":
            import torch

            torch.backends.cudnn.allow_tf32 = False
            torch.backends.cuda.matmul.allow_tf32 = False
        elif backend == "jax":
            import jax

            jax.config.update("jax_default_matmul_precision", "float32")
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def has_gpu() -> bool:
    """Tell whether Keras' backend sees a GPU."""
    import_keras()
    import keras

    return bool(keras.distribution.list_devices("gpu"))


def compiled(network: "keras.Model", preprocessing: Preprocessing) -> Activations:
    """Wrap a network in one compiled function from uint8 RGB images to float32 activations.

    ``model.predict`` in a loop is slower and leaks; this is traced once, for any batch size. The
    preprocessing is part of it, so that a quarter of the bytes travel to a GPU.
    """
    import keras

    images = keras.Input(network.input_shape[1:], dtype="uint8")
    x = keras.ops.cast(images, "float32")
    if preprocessing.order == "bgr":
        x = x[..., ::-1]
    x = (x - np.array(preprocessing.mean, np.float32)) * preprocessing.scale
    model = keras.Model(images, network(x))
    call = _COMPILERS[keras.backend.backend()](model)
    return lambda batch: np.asarray(call(batch), dtype=np.float32)


def _compile_tensorflow(model: "keras.Model") -> Callable[[Images], Any]:
    import tensorflow as tf

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec(model.input_shape, tf.uint8)], autograph=False
    )
    def call(images: tf.Tensor) -> tf.Tensor:
        return model(images, training=False)

    return lambda images: call(tf.constant(images))


def _compile_jax(model: "keras.Model") -> Callable[[Images], Any]:
    import jax

    variables = [v.value for v in model.trainable_variables]
    others = [v.value for v in model.non_trainable_variables]
    call = jax.jit(lambda *values: model.stateless_call(*values, training=False)[0])
    return lambda images: call(variables, others, images)


def _compile_torch(model: "keras.Model") -> Callable[[Images], Any]:
    import torch

    def call(images: Images) -> Any:
        with torch.inference_mode():
            return model(images, training=False).cpu()

    return call


_COMPILERS = {
    "tensorflow": _compile_tensorflow,
    "jax": _compile_jax,
    "torch": _compile_torch,
}


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Keep what native code writes to stderr, and show it only if the block fails.

    TensorFlow's libraries write some messages before any of their log levels is in force. Outside
    the main thread, as in a server that loads its encoder while it answers, nothing is held back.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
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
