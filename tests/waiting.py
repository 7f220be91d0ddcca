"""Waiting for what happens in another thread or process."""

import time
from collections.abc import Callable

SECONDS = 120
"""For machines that are busy otherwise."""


def eventually(condition: Callable[[], bool]) -> None:
    """Return as soon as the condition holds. Fail if it does not for two minutes."""
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {SECONDS} s"
        time.sleep(0.02)
