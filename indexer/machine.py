"""What this process may use of the machine it runs on."""

import os
from pathlib import Path


def limit_spinning() -> None:
    """Keep idle threads of OpenMP and OpenBLAS from spinning. Call it before NumPy is imported.

    Both libraries let a thread that waits for work burn a core for a while. With the other one, or
    with another process, on the same cores that slows everything several times over.
    """
    for name, value in {
        "OPENBLAS_THREAD_TIMEOUT": "4",  # 2^4 loops, not 2^28
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "1000",
    }.items():
        os.environ.setdefault(name, value)


def available_cores() -> int:
    """Return how many cores this process may use, which containers and ``taskset`` reduce."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Tell from the device files whether asking a framework about GPUs is worth its import."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()
