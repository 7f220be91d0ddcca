"""The CPU encoder: ncnn, on a network converted once from the weights for Keras."""

import multiprocessing
import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType

from filelock import FileLock

from indexer.encoders.models import preprocessing_of
from indexer.encoders.ncnn.convert import convert
from indexer.encoders.ncnn.network import DamagedFiles, NcnnNetwork
from indexer.encoders.spec import Cells, EncoderSpec, Images, Vectors, normalise
from indexer.encoders.weights import Weights
from indexer.errors import WeightsUnavailable
from indexer.machine import (
    NoHome,
    available_cores,
    is_writable,
    scratch_folder,
    user_cache_folder,
)

# fc1 alone has 411 MB of weights, which are read once per batch.
AUTO_BATCH_SIZE = 32

FORMAT = 1
"""Version of the converted files, which is part of their folder's name."""


class NcnnEncoder:
    """VGG16 or EfficientNet-Lite0 in ncnn, without Keras in this process."""

    runtime = "ncnn"
    shares_cores = True

    def __init__(
        self,
        spec: EncoderSpec,
        weights: Weights,
        batch_size: int | None = None,
        cores: int | None = None,
    ) -> None:
        self.spec = spec
        self.batch_size = batch_size or AUTO_BATCH_SIZE
        self._weights = weights
        self._cores = cores or available_cores()
        self._network: NcnnNetwork | None = None
        self._loading = threading.Lock()

    def load(self) -> None:
        """Load the converted network; convert it first if it is missing or damaged.

        Raises :class:`~indexer.errors.WeightsUnavailable` if the file does not fit the model.
        """
        with self._loading:
            if self._network is None:
                self._network = _open(self.spec, self._weights, self._cores)

    def start(self, images: Images) -> Callable[[], Vectors]:
        """Return a function that encodes the images."""
        return partial(self.encode, images)

    def encode(self, images: Images) -> Vectors:
        """Encode uint8 (n, 224, 224, 3) RGB images to float32 (n, dim) vectors of norm 1."""
        self.load()
        assert self._network is not None
        return normalise(self._network(images))

    def cells(self, images: Images) -> Cells | None:
        """Return the activations whose mean is the vector, before it gets norm 1, if there are."""
        self.load()
        assert self._network is not None
        return self._network.cells(images)


def converted_folder(spec: EncoderSpec, weights: Weights) -> Path:
    """Return the folder of the converted network: beside its weights, named by their digest.

    It is in the user's cache folder for embedded and random weights, and if the folder of the
    weights cannot be written. If that cannot be written either, it lasts as long as this process.
    """
    name = f"{spec.model}-{spec.layer}-{spec.weights_sha256[:16]}.ncnn{FORMAT}"
    if weights.path and not weights.embedded and os.access(weights.path.parent, os.W_OK):
        return weights.path.parent / name
    try:
        cache = user_cache_folder()
    except NoHome:
        return scratch_folder() / name
    return (cache if is_writable(cache) else scratch_folder()) / name


def _open(spec: EncoderSpec, weights: Weights, cores: int) -> NcnnNetwork:
    folder = converted_folder(spec, weights)
    folder.parent.mkdir(parents=True, exist_ok=True)
    arguments = (folder, preprocessing_of(spec.model), cores)
    with FileLock(folder.with_suffix(".lock")):  # two processes, one conversion
        try:
            return NcnnNetwork(*arguments)
        except DamagedFiles:
            sys.stderr.write(f"Converting the weights of {spec.model} for ncnn, once: {folder}\n")
        for scratch in folder.parent.glob(f".{folder.name}-*"):  # of an interrupted conversion
            shutil.rmtree(scratch, ignore_errors=True)
        # A process of its own, as Keras would never free a gigabyte of memory.
        spawn = multiprocessing.get_context("spawn")
        receiver, sender = spawn.Pipe(duplex=False)
        process = spawn.Process(target=_convert, args=(sender, spec, weights, folder), daemon=True)
        with _hidden_main_module():
            process.start()
        sender.close()
        try:
            error = receiver.recv()
        except EOFError:
            process.join()
            error = WeightsUnavailable(
                f"The process that converts the weights for ncnn ended with {process.exitcode}.",
                "VGG16's need 2.4 GB of memory once; encoder.runtime: keras needs no conversion.",
            )
        finally:
            process.kill()  # it has finished, or this thread no longer waits
        if error is not None:
            raise error
        return NcnnNetwork(*arguments)


@contextmanager
def _hidden_main_module() -> Iterator[None]:
    """Keep a process that starts now from importing this one's main module.

    That may be somebody's script, which would build the index again.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _convert(sender: Connection, spec: EncoderSpec, weights: Weights, folder: Path) -> None:
    """Convert, and send the error or None. If the receiver is gone, sending fails and it ends."""
    try:
        _convert_weights(spec, weights, folder)
    except Exception as error:  # noqa: BLE001 -- raised in the other process
        sender.send(error)
    else:
        sender.send(None)


def _convert_weights(spec: EncoderSpec, weights: Weights, folder: Path) -> None:
    from indexer.encoders.keras.networks import build_network

    convert(build_network(spec, weights), folder)
