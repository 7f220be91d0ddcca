"""The server as it runs in production, started and stopped, and its memory.

It can have several processes here, which the product does not offer: to see what they would bring.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, NamedTuple

from benchmarks.settings import Defaults
from indexer.config import Config, ServerConfig
from server.gunicorn_server import Gunicorn

READY_S = 300
"""How long a server may take to start: VGG16 is converted at the first time."""


class Processes(Gunicorn):
    """The production server with several processes in place of one."""

    def __init__(self, config: Config, workers: int) -> None:
        self._workers = workers
        super().__init__(config)

    def load_config(self) -> None:
        """Set what the product sets, then the number of processes."""
        super().load_config()
        self.cfg.set("workers", self._workers)


class Server(NamedTuple):
    """A running server: the process that gunicorn's workers belong to, the port, the capacity."""

    pid: int
    port: int
    capacity: int
    """How many requests all workers take on at once."""

    def workers(self) -> list[int]:
        """Return the process ids of the workers."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(child) for child in children.split()]

    def memory(self) -> dict[str, Any]:
        """Return the workers' memory in MB, mapped vectors included (Linux).

        Resident of each; the sum of that, where what they share counts for each of them; and the
        sum of the proportional, where it counts once.
        """
        rollups = [_rollup(worker) for worker in self.workers()]
        return {
            "rss_mb": [rollup["Rss"] for rollup in rollups],
            "rss_sum_mb": round(sum(rollup["Rss"] for rollup in rollups), 1),
            "pss_sum_mb": round(sum(rollup["Pss"] for rollup in rollups), 1),
        }


@contextmanager
def running(store: Path, workers: int = 1, **settings: object) -> Iterator[Server]:
    """Serve a store until the block ends; it begins when every kind of query is answered.

    ``workers`` processes share what one is allowed: slots, and those for what takes long.
    ``settings`` are others of the section ``server``. Raises RuntimeError, with what the server
    wrote, if it stops or is not ready in time.
    """
    shared = ("threads", "max_encoding")
    shares = {name: -(-getattr(ServerConfig(), name) // workers) for name in shared}
    config = Defaults(store=store, server={"port": free_port(), **shares, **settings})
    settings, server = config.model_dump_json(), config.server
    command = [sys.executable, "-m", "benchmarks.servers", settings, str(workers)]
    with TemporaryFile("w+") as log:  # a pipe that nobody reads would fill up
        process = subprocess.Popen(command, stderr=log)
        try:
            until = time.monotonic() + READY_S
            while not _is_ready(server.port, workers):
                if process.poll() is not None or time.monotonic() > until:
                    log.seek(0)
                    raise RuntimeError(f"The server did not start. It wrote:\n{log.read()}")
                time.sleep(0.1)
            capacity = workers * server.threads
            yield Server(process.pid, server.port, capacity)
        finally:
            process.terminate()
            process.wait()


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _is_ready(port: int, workers: int) -> bool:
    """Ask often enough to meet every worker: the one that accepts a connection answers it."""
    return all(status(port, "/readyz") == 200 for _ in range(10 * workers))


def status(port: int, path: str) -> int:
    """Return the status of an answer, 0 if there is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except (OSError, HTTPException):
        return 0
    finally:
        connection.close()


def _rollup(pid: int) -> dict[str, float]:
    """Return the sums over a process' mappings by name, in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): round(int(kib) * 1024 / 1e6, 1) for name, kib, _ in fields}


if __name__ == "__main__":
    Processes(Defaults.model_validate_json(sys.argv[1]), int(sys.argv[2])).run()
