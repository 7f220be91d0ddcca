"""A converted network in ncnn: convolutions by Winograd on the CPU, dense layers in batches.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", https://arxiv.org/abs/1509.09308.
"""

import json
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ncnn
import numpy as np
from numpy.typing import NDArray

from indexer.encoders.models import Preprocessing
from indexer.encoders.spec import Cells, Images

MANIFEST, CHECKSUMS = "manifest.json", "checksums.json"
PARAM, WEIGHTS = "network.param", "network.bin"

# Below this, splitting one image's layers over cores costs more in waiting than it gains.
MULTIPLICATIONS_WORTH_SEVERAL_CORES = 2e9


class DamagedFiles(ValueError):
    """The folder of a converted network is missing, damaged or in another format."""


def checksum(path: Path) -> int:
    """Return the CRC-32 of a file, which takes little time even for half a gigabyte."""
    return zlib.crc32(np.memmap(path, mode="r").data)


class NcnnNetwork:
    """A network that ``convert`` wrote, run on ``threads`` cores.

    Safe to call from several threads at once, which share the cores. Each image runs on one core,
    except for small batches of a large network, where each runs on all cores in turn. The two
    ways have their own copies of the network, as ncnn arranges the weights for a number of threads.
    Raises :class:`DamagedFiles` unless every checksum matches.
    """

    def __init__(self, folder: Path, preprocessing: Preprocessing, threads: int) -> None:
        try:
            for name, expected in json.loads((folder / CHECKSUMS).read_bytes()).items():
                if checksum(folder / name) != expected:
                    raise DamagedFiles(f"{folder / name} is damaged")
            manifest = json.loads((folder / MANIFEST).read_bytes())
            self._input, self._output = manifest["input"], manifest["output"]
            self._pooled = None if manifest["dense"] else _averaged(folder / PARAM)
            self._large = manifest["multiplications"] > MULTIPLICATIONS_WORTH_SEVERAL_CORES
            self._dense = [
                (np.load(folder / name, mmap_mode="r", allow_pickle=False), bound)
                for name, bound in manifest["dense"].items()
            ]
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DamagedFiles(f"{folder}: {error}") from error
        self._folder = folder
        self._preprocessing = preprocessing
        self._threads = threads
        self._nets: dict[int, Any] = {}
        self._loading = threading.Lock()
        # Every thread that runs OpenMP code has its own team of threads, so few threads are used.
        self._together = ThreadPoolExecutor(1, thread_name_prefix="ncnn")
        self._apart = ThreadPoolExecutor(threads, thread_name_prefix="ncnn")

    def __call__(self, images: Images) -> NDArray[np.float32]:
        """Return the activations of uint8 RGB images (n, h, w, 3), float32 (n, dim)."""
        together = self._large and len(images) < self._threads
        pool, threads = (self._together, self._threads) if together else (self._apart, 1)
        x = np.array(list(pool.map(lambda image: self._features(image, threads), images)))
        for affine, bound in self._dense:
            x = x @ affine[:-1] + affine[-1]
            if bound is not None:
                np.clip(x, 0, bound, out=x)
        return x

    def cells(self, images: Images) -> Cells | None:
        """Return what the last layer averages, (n, rows, columns, dim); None if it does not."""
        pooled = self._pooled
        if pooled is None:
            return None
        outputs = self._apart.map(lambda image: self._run(image, 1, pooled), images)
        return np.array([output.transpose(1, 2, 0) for output in outputs])

    def _features(self, image: NDArray[np.uint8], threads: int) -> NDArray[np.float32]:
        """Run the convolutions on one image (h, w, 3) and flatten their output as Keras does."""
        values = self._run(image, threads, self._output)
        return values.transpose(1, 2, 0).ravel() if values.ndim == 3 else values

    def _run(self, image: NDArray[np.uint8], threads: int, blob: str) -> NDArray[np.float32]:
        """Return the output of a layer for one image (h, w, 3): (channels, rows, columns)."""
        pixels = np.ascontiguousarray(image)  # from_pixels ignores strides
        kinds = ncnn.Mat.PixelType
        kind = kinds.PIXEL_RGB if self._preprocessing.order == "rgb" else kinds.PIXEL_RGB2BGR
        mat = ncnn.Mat.from_pixels(pixels, kind, pixels.shape[1], pixels.shape[0])
        scale = self._preprocessing.scale
        mat.substract_mean_normalize(self._preprocessing.mean, (scale,) * 3 if scale != 1 else ())
        extractor = self._net(threads).create_extractor()
        extractor.input(self._input, mat)
        status, output = extractor.extract(blob)
        if status != 0:
            raise RuntimeError(f"{self._folder}: ncnn failed with status {status}")
        values: NDArray[np.float32] = np.array(output)  # a copy: the Mat owns its memory
        return values

    def _net(self, threads: int) -> Any:
        """Return the network for ``threads`` threads per image, loaded by a thread that runs it.

        Loading it in another thread would leave an idle OpenMP team there. With more threads than
        cores, libgomp puts threads to sleep between layers, which halves the speed of small
        networks.
        """
        with self._loading:
            if threads not in self._nets:
                net = ncnn.Net()
                for option in dir(net.opt):  # float32 throughout, on the CPU
                    if option.startswith(("use_fp16", "use_bf16", "use_int8", "use_vulkan")):
                        setattr(net.opt, option, False)
                net.opt.num_threads = threads
                failed = net.load_param(str(self._folder / PARAM))
                if failed or net.load_model(str(self._folder / WEIGHTS)):
                    raise RuntimeError(f"{self._folder}: ncnn cannot load it")
                self._nets[threads] = net
            return self._nets[threads]


def _averaged(param: Path) -> str | None:
    """Return the input of the last layer of a .param file if that averages all of it, else None."""
    kind, _, _, _, source, _, *values = param.read_text(encoding="ascii").splitlines()[-1].split()
    return source if kind == "Pooling" and {"0=1", "4=1"} <= set(values) else None
