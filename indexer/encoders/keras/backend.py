"""Keras' backend: everything that differs between TensorFlow, JAX and PyTorch."""

import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from indexer.config import Precision
from indexer.encoders.models import Preprocessing
from indexer.encoders.spec import Images
from indexer.machine import MEMORY_FOLDER, NoHome, user_cache_folder, user_folder

if TYPE_CHECKING:
    import keras

Compiled = Callable[[Images, int], Callable[[], NDArray[np.float32]]]
"""Begins to compute the activations of a batch, of which the largest has so many images, and
returns a function that waits for them: float32 (n, dim)."""

JAX_BATCH_SIZES = (1, 8)
"""Beside the largest one. JAX compiles a network for each size, which takes seconds."""


def choose_backend() -> None:
    """Set Keras' backend to JAX if it is installed with support for GPUs, unless it is set.

    On a GPU it encodes VGG16 1.7 times as fast as PyTorch; see benchmarks/README.md.
    """
    if any(find_spec(f"jax_cuda{version}_plugin") for version in (12, 13)):
        os.environ.setdefault("KERAS_BACKEND", "jax")


def import_keras() -> None:
    """Import Keras and its backend, and set float32 whatever ``keras.json`` says."""
    if "keras" in sys.modules:
        return
    choose_backend()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    _require_folders()
    with _stderr_held_back():
        import keras

        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            # Otherwise TensorFlow reserves all of the memory.
            for gpu in tf.config.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, enable=True)
        elif keras.backend.backend() == "jax":
            import jax

            with suppress(NoHome):  # the second start finds there what the first one compiled
                jax.config.update("jax_compilation_cache_dir", str(user_cache_folder() / "jax"))
    keras.config.set_floatx("float32")
    keras.config.set_image_data_format("channels_last")


def _require_folders() -> None:
    """Make the imports work without a home folder and without one for temporary files.

    Without a home, Keras would put its settings into a folder called ``~``; it does without them
    where no folder can be made. TensorFlow fails if it finds no folder for temporary files.
    """
    try:
        user_folder("KERAS_HOME", ".keras")
    except NoHome:
        os.environ["KERAS_HOME"] = f"{os.devnull}/keras"
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = MEMORY_FOLDER


def gpus() -> list[str]:
    """Return the GPUs Keras' backend sees, by Keras' names: ``gpu:0``, ``gpu:1``, ..."""
    import_keras()
    import keras

    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            count = len(tf.config.list_physical_devices("GPU"))
        case "torch":
            import torch

            count = torch.cuda.device_count()
        case _:
            import jax

            count = sum(device.platform == "gpu" for device in jax.devices())
    return [f"gpu:{number}" for number in range(count)]


@contextmanager
def computing_in(precision: Precision) -> Iterator[None]:
    """Set the precision of the backend, and of the networks that are built in the block.

    On GPUs every backend rounds the operands of float32 products to TF32 by default, so that
    vectors would differ in the fourth digit from those made on a CPU.
    """
    import keras

    tf32 = precision == "tf32"
    match keras.backend.backend():
        case "tensorflow":
            import tensorflow as tf

            tf.config.experimental.enable_tensor_float_32_execution(tf32)
        case "torch":
            import torch

            torch.backends.cudnn.allow_tf32 = tf32
            torch.backends.cuda.matmul.allow_tf32 = tf32
        case "jax":
            import jax

            jax.config.update(
                "jax_default_matmul_precision", "tensorfloat32" if tf32 else "float32"
            )
    keras.config.set_dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy("float32")


def compiled(network: "keras.Model", preprocessing: Preprocessing) -> Compiled:
    """Compile a network into one function from uint8 RGB images to float32 activations.

    ``model.predict`` in a loop is slower and leaks memory. The function includes the preprocessing,
    so that bytes rather than float32 are copied to a GPU.
    """
    import keras

    images = keras.Input(network.input_shape[1:], dtype="uint8")
    x = keras.ops.cast(images, "float32")
    if preprocessing.order == "bgr":
        x = keras.ops.flip(x, axis=-1)
    x = (x - np.array(preprocessing.mean, np.float32)) * preprocessing.scale
    model = keras.Model(images, network(x))
    backend = keras.backend.backend()
    call = _COMPILERS[backend](model)

    def start(images: Images, largest: int) -> Callable[[], NDArray[np.float32]]:
        count = len(images)
        computing = call(_padded(images, largest) if backend == "jax" else images)
        return lambda: _fetched(computing, backend)[:count]

    return start


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether a backend raised an error because the GPU's memory is too small."""
    name = type(error).__name__
    return name in {"ResourceExhaustedError", "OutOfMemoryError"} or (
        "RESOURCE_EXHAUSTED" in str(error)
    )


def _padded(images: Images, largest: int) -> Images:
    """Append black images up to a size that is compiled anyway."""
    size = next((n for n in (*JAX_BATCH_SIZES, largest) if n >= len(images)), len(images))
    if size == len(images):
        return images
    return np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), np.uint8)])


def _fetched(computing: Any, backend: str) -> NDArray[np.float32]:
    """Wait for activations and copy them from the GPU."""
    on_host = computing.cpu() if backend == "torch" else computing
    return np.asarray(on_host, dtype=np.float32)


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
            return model(images, training=False).float()

    return call


_COMPILERS = {
    "tensorflow": _compile_tensorflow,
    "jax": _compile_jax,
    "torch": _compile_torch,
}


@contextmanager
def _stderr_held_back() -> Iterator[None]:
    """Capture what native code writes to stderr, and show it only if the block fails.

    TensorFlow's libraries write some messages before their log level is set. Outside the main
    thread, as in a running server, nothing is captured.
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
