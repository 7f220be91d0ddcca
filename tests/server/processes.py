"""Starts real servers as processes, for tests that need sockets and signals."""

import os
import random
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from indexer.config import Config
from tests.conftest import ROOT
from tests.waiting import eventually


def free_port() -> int:
    """Return a free port.

    It is not one that the system assigns to clients: tests run in parallel, and a client of another
    test could get it before the server starts.
    """
    for port in random.Random().sample(range(10_000, 32_000), 100):  # noqa: S311 -- no secret
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("Of a hundred ports none is free.")


@contextmanager
def running_server(
    config: Config,
    ready: str = "/healthz",
    log: Path | None = None,
    max_files: int | None = None,
    start: Sequence[str] = (sys.executable, "-m", "server"),
    folder: Path = ROOT,
    **settings: object,
) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """Start ``python -m server`` with some settings of ``server`` and wait until it answers.

    ``start`` replaces that command, ``folder`` is where it runs.
    """
    port = free_port()
    variables = {f"LOOKALIKE_SERVER__{name.upper()}": str(it) for name, it in settings.items()}
    command = [*start, "--store", str(config.store), "--port", str(port)]
    if max_files is not None:
        command = ["/bin/sh", "-c", f'ulimit -n {max_files} && exec "$0" "$@"', *command]
    with (log or Path(os.devnull)).open("w") as errors:  # a pipe that is not read would fill up
        process = subprocess.Popen(
            command,
            cwd=folder,
            env={**os.environ, **variables},
            stderr=errors,
            text=True,
        )
    try:
        wait_until_answering(port, ready)
        yield process, port
    finally:
        process.kill()
        process.communicate()


def wait_until_answering(port: int, path: str = "/healthz") -> None:
    def answers() -> bool:
        try:
            urlopen(f"http://127.0.0.1:{port}{path}", timeout=5).close()
        except (URLError, OSError):
            return False
        return True

    eventually(answers)


def children(pid: int) -> list[int]:
    """Return the process ids of a process's children: gunicorn's workers."""
    return [int(i) for i in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
