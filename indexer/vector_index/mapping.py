"""Arrays mapped into memory: their pages are read when they are needed, no file stays open."""

import ctypes
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def map_array(path: Path) -> NDArray[Any]:
    """Map a ``.npy`` file, read-only, flat. Raises :class:`OSError` or :class:`ValueError`.

    ``np.load`` does so as well but keeps a file descriptor of each file, since Python's ``mmap``
    does (before 3.13); with a file for each segment they would run out.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("the file is of another version of NumPy's format")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        start, size = file.tell(), os.fstat(file.fileno()).st_size
        if dtype.hasobject or size != start + int(np.prod(shape)) * dtype.itemsize:
            raise ValueError("the file does not hold what its header says")
        content = memoryview(_map(file.fileno(), size)).toreadonly()
    array: NDArray[Any] = np.frombuffer(content, dtype, offset=start)
    return array


def _map(descriptor: int, size: int) -> ctypes.Array[ctypes.c_ubyte]:
    """Map a file as long as the result is referred to."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    address = libc.mmap(
        None,
        ctypes.c_size_t(size),
        mmap.PROT_READ,
        mmap.MAP_SHARED,
        descriptor,
        ctypes.c_long(0),
    )
    if address == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    mapped = (ctypes.c_ubyte * size).from_address(address)
    weakref.finalize(mapped, libc.munmap, ctypes.c_void_p(address), ctypes.c_size_t(size))
    return mapped
