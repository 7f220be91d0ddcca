"""A Ray cluster of two nodes on this machine, 127.0.0.2 and 127.0.0.3, that a test may kill.

Nothing here imports Ray before :func:`environment` has been set: Ray reads it when it is imported.
"""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.conftest import ROOT
from tests.server.processes import free_port
from tests.waiting import eventually

HEAD, SECOND = "127.0.0.2", "127.0.0.3"
OBJECT_BYTES = 200_000_000


def environment() -> dict[str, str]:
    """Return what every process of a cluster needs in its environment, the driver included."""
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_raylet_start_wait_time_s": "180",  # on a busy machine
        "RAY_health_check_period_ms": "1000",  # a node that was killed is missed soon
        "RAY_health_check_timeout_ms": "3000",
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "PYTHONPATH": str(ROOT),  # actors import the library, and what the tests put into them
    }


class Node:
    """A node of the cluster: the processes of a session of its own, on one core of the machine."""

    def __init__(self, address: str, options: list[str], core: int, log: Path) -> None:
        self.address = address
        command = [
            "taskset", "--cpu-list", str(core),
            str(Path(sys.executable).with_name("ray")), "start", "--block",
            f"--node-ip-address={address}", "--num-gpus=0", f"--object-store-memory={OBJECT_BYTES}",
            "--min-worker-port=0", "--max-worker-port=0",  # any but those of free_port
            "--disable-usage-stats", "--log-style=record", "--log-color=false", *options,
        ]  # fmt: skip
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip

    @property
    def is_running(self) -> bool:
        """Whether its first process still runs."""
        return self._process.poll() is None

    def processes(self, title: str = "") -> list[int]:
        """Return the ids of its processes, or of those whose command begins with a title.

        That of an actor is ``ray::`` and the name of its class.
        """
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has just ended
                process = int(folder.name)
                if os.getsid(process) != self._process.pid:
                    continue
                if (folder / "cmdline").read_bytes().startswith(title.encode()):
                    found.append(process)
        return found

    def kill(self) -> None:
        """Kill all of its processes at once, as if the machine had lost its power."""
        while running := self.processes():
            for process in running:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.1)


class Cluster:
    """Two nodes, each with ``cores`` cores to assign. :meth:`stop` kills them."""

    def __init__(self, cores: int = 1) -> None:
        self._cores = cores
        self._folder = Path(tempfile.mkdtemp(prefix="ray-"))  # paths of sockets must be short
        self.address = f"{HEAD}:{free_port()}"
        self.head = self._start(HEAD)
        self.second: Node | None = None

    def start_second(self) -> Node:
        """Return the second node, which is started if it does not run, once Ray knows it."""
        if self.second is None or not self.second.is_running:
            self.second = self._start(SECOND)
        self.wait_for_nodes(2)
        return self.second

    def wait_for_nodes(self, count: int) -> None:
        """Wait until Ray knows that so many nodes are alive."""
        eventually(lambda: len(self.alive()) == count)

    def alive(self) -> list[str]:
        """Return the addresses of the nodes that Ray believes to be alive."""
        from ray._raylet import GcsClient  # of all of Ray, this alone needs no connected driver

        assert self.head.is_running, self.log()
        try:
            nodes = GcsClient(address=self.address).get_all_node_info(timeout=5).values()
        except Exception:  # noqa: BLE001 -- the head has not yet started, whatever it raises
            return []
        return [node.node_manager_address for node in nodes if node.state == 0]

    def processes(self, title: str) -> list[int]:
        """Return the ids of both nodes' processes whose command begins with a title."""
        nodes = [self.head, *([self.second] if self.second else [])]
        return [process for node in nodes for process in node.processes(title)]

    def stop(self) -> None:
        """Kill both nodes and remove their files."""
        for node in (self.second, self.head):
            if node:
                node.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def log(self) -> str:
        """Return what the nodes' first processes have printed."""
        return "\n".join(path.read_text() for path in sorted(self._folder.glob("127.*")))

    def _start(self, address: str) -> Node:
        options = [f"--num-cpus={self._cores}", f"--temp-dir={self._folder / address[-1]}"]
        if address == HEAD:
            port = self.address.rpartition(":")[2]
            options += ["--head", f"--port={port}", "--include-dashboard=false"]
        else:
            options += [f"--address={self.address}"]
        cores = sorted(os.sched_getaffinity(0))
        core = cores[0] if address == HEAD else cores[-1]
        return Node(address, options, core, self._folder / f"{address}.log")
