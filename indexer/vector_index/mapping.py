"""Arrays mapped into memory, whose pages are read when needed; no file stays open."""

import ctypes
import mmap
import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def map_array(path: Path) -> NDArray[Any]:
    """Map a ``.npy`` file, read-only. Raises :class:`OSError` or :class:`ValueError`.

    ``np.load`` can map a file too, but keeps a descriptor of it open, as Python's ``mmap`` does
    before 3.13. With a file for each segment the process would run out of descriptors.
    """
    with path.open("rb") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError("the file is of another version of NumPy's format")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(file)
        start, size = file.tell(), os.fstat(file.fileno()).st_size
        if dtype.hasobject or by_columns or size != start + int(np.prod(shape)) * dtype.itemsize:
            raise ValueError("the file does not hold what its header says")
        content = memoryview(_map(file.fileno(), size)).toreadonly()
    array: NDArray[Any] = np.frombuffer(content, dtype, offset=start)
    return array.reshape(shape)


def _map(descriptor: int, size: int) -> ctypes.Array[ctypes.c_ubyte]:
    """Map a file for as long as something refers to the result."""
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
    unmap = weakref.finalize(mapped, libc.munmap, ctypes.c_void_p(address), ctypes.c_size_t(size))
    unmap.atexit = False  # daemon threads may still read when the process exits
    return mapped
