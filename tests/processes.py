"""Processes that tests start and send signals to."""

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT

Running = subprocess.Popen[str]


@contextmanager
def started(command: Sequence[str], cwd: Path = ROOT) -> Iterator[Running]:
    """Start a process in a folder; at the end it is gone and its pipes are closed.

    A SIGINT reaches it even if the tests run in the background, where a shell has SIGINT ignored
    and every child inherits that; a handler, which a child cannot inherit, becomes the default.
    """
    pipe = subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True)
    finally:
        signal.signal(signal.SIGINT, before)
    with process:
        try:
            yield process
        finally:
            process.kill()
