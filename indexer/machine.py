"""What this process may use of the machine it runs on."""

import os
from pathlib import Path


def available_cores() -> int:
    """Return how many cores this process may use, which containers and ``taskset`` reduce."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def may_have_gpu() -> bool:
    """Tell from the device files whether asking a framework about GPUs is worth its import."""
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/kfd").exists()
