"""The resources of the machine that this process may use, and the folders of the user."""

import os
from pathlib import Path


def limit_spinning() -> None:
    """Keep idle threads of OpenMP and OpenBLAS from spinning. Call it before NumPy is imported.

    In both libraries a thread that waits for work keeps its core busy for a while, which slows the
    other library, and other processes on the same cores, several times.
    """
    for name, value in {
        "OPENBLAS_THREAD_TIMEOUT": "4",  # 2^4 loops, not 2^28
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "1000",
    }.items():
        os.environ.setdefault(name, value)


def isolate_imports() -> None:
    """Keep Python processes that this one starts from importing out of the current folder.

    Python looks there first when it starts one, :mod:`multiprocessing`'s included: a file
    ``random.py`` among somebody's images would replace the standard library's module.
    """
    os.environ.setdefault("PYTHONSAFEPATH", "1")


def available_cores() -> int:
    """Return how many cores this process may use, as limited by ``taskset`` or a container."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Tell from the device files whether there may be a GPU, without importing a framework."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()


def user_data_folder() -> Path:
    """Return where a user keeps data for good: ``~/.local/share/lookalike``, or as XDG says."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "lookalike"


def user_cache_folder() -> Path:
    """Return where a user keeps what can be made again: ``~/.cache/lookalike``, or as XDG says."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lookalike"
