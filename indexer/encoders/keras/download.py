"""The VGG16 ImageNet weights, from Keras' cache or downloaded into it by Keras."""

import hashlib
import socket
import sys
from contextlib import redirect_stdout
from pathlib import Path

from indexer.encoders.keras.backend import import_keras
from indexer.encoders.weights import Weights, file_sha256, unavailable
from indexer.errors import WeightsUnavailable
from indexer.machine import NoHome, user_folder

# The file that keras.applications.VGG16(weights="imagenet") uses, by its name in Keras 3.
FILE_NAME = "vgg16_weights_tf_dim_ordering_tf_kernels.h5"
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/vgg16/{FILE_NAME}"
MD5 = "64373286793e3c8b2b4e3219cbf3544b"

CONNECT_TIMEOUT_S = 15.0


def imagenet_weights() -> Weights:
    """Return the cached ImageNet weights, or download them, with a message on stderr.

    Raises :class:`~indexer.errors.WeightsUnavailable` if that fails.
    """
    try:
        home = user_folder("KERAS_HOME", ".keras")
    except NoHome as error:
        raise unavailable(str(error)) from None
    path = home / "models" / FILE_NAME
    if not path.is_file():
        path = _download(home)
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if md5 != MD5:
        raise WeightsUnavailable(
            f"{path} is not the file Keras publishes: its MD5 is {md5}, not {MD5}.",
            "Delete it; Keras downloads it again.",
        )
    return Weights("imagenet", file_sha256(path), path)


def _download(home: Path) -> Path:
    sys.stderr.write(f"Keras downloads the VGG16 ImageNet weights (553 MB) from {URL} to {home}.\n")
    import_keras()
    import keras

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT_S)  # Keras sets none: a dead proxy would hang it
    try:
        with redirect_stdout(sys.stderr):  # Keras' progress bar; stdout is for results
            file = keras.utils.get_file(
                FILE_NAME, URL, cache_subdir="models", cache_dir=str(home), file_hash=MD5
            )
        return Path(file)
    except Exception as error:  # get_file wraps urllib's errors in a plain Exception
        raise unavailable(str(error).rpartition(": ")[2].rpartition(" -- ")[2]) from error
    finally:
        socket.setdefaulttimeout(before)
