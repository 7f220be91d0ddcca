"""Real servers in processes of their own, for the tests that need sockets and signals."""

import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from indexer.config import Config
from tests.conftest import ROOT


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def running_server(
    config: Config,
    ready: str = "/healthz",
    log: Path | None = None,
    max_files: int | None = None,
    **settings: object,
) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start ``python -m server`` with some settings of ``server`` and wait until it answers."""

    def limit() -> None:
        if max_files is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max_files, max_files))

    port = free_port()
    variables = {f"LOOKALIKE_SERVER__{name.upper()}": str(it) for name, it in settings.items()}
    command = [sys.executable, "-m", "server", "--store", str(config.store), "--port", str(port)]
    with (log or Path(os.devnull)).open("w") as errors:  # a pipe nobody reads would fill up
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **variables},
            stderr=errors,
            text=True,
            preexec_fn=limit,
        )
    try:
        wait_until_answering(port, ready)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def wait_until_answering(port: int, path: str = "/healthz") -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
            return
        except (URLError, OSError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def children(pid: int) -> list[int]:
    """The process ids of a process' children: gunicorn's workers."""
    return [int(i) for i in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
