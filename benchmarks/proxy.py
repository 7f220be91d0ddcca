"""nginx with the settings of ``deploy/nginx.conf``, in front of a server of this machine."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from benchmarks.servers import free_port, status

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
CONFIGURATION = Path(__file__).parent.parent / "deploy" / "nginx.conf"
READY_S = 30


class Proxy(NamedTuple):
    """A running nginx: its port, and the file it logs to."""

    port: int
    log: Path


@contextmanager
def behind_nginx(server_port: int, prefix: str = "", also: str = "") -> Iterator[Proxy]:
    """Run nginx before the server that listens on a port of the loopback, until the block ends.

    With ``prefix``, such as ``/photos``, the server is found below that path; ``also`` are further
    settings. Raises RuntimeError, with what nginx wrote, if it does not answer.
    """
    with TemporaryDirectory(prefix="lookalike-nginx-") as name:
        folder, port = Path(name), free_port()
        (folder / "nginx.conf").write_text(_settings(folder, server_port, port, prefix, also))
        log = folder / "log"
        user = "user root; " if os.geteuid() == 0 else ""  # whoever may enter the folder
        command = [NGINX or "nginx", "-p", name, "-c", f"{name}/nginx.conf", "-e", "stderr", "-g"]
        command.append(f"{user}daemon off; pid {name}/pid;")
        with log.open("w") as written:
            process = subprocess.Popen(command, stderr=written)
        try:
            until = time.monotonic() + READY_S
            while status(port, f"{prefix}/healthz") != 200:
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"nginx did not start. It wrote:\n{log.read_text()}")
                time.sleep(0.05)
            yield Proxy(port, log)
        finally:
            process.terminate()
            process.wait()


def _settings(folder: Path, server_port: int, port: int, prefix: str, also: str) -> str:
    """Return ``deploy/nginx.conf`` with this machine's addresses and folders."""
    temporary = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n" for kind in ("proxy", "fastcgi", "uwsgi", "scgi")
    )
    changes = {
        "server lookalike:8000": f"server 127.0.0.1:{server_port}",
        "listen 8080": f"listen 127.0.0.1:{port}",
        "/dev/shm/lookalike-bodies": f"{folder}/bodies",  # noqa: S108 -- replaced, not used
        "http {\n": f"http {{\n{temporary}    {also}\n",
    }
    if prefix:
        changes["# set $prefix /photos;"] = f"set $prefix {prefix};"
        changes["^/photos("] = f"^{prefix}("
    settings = CONFIGURATION.read_text()
    for here, there in changes.items():
        if here not in settings:
            raise RuntimeError(f"{CONFIGURATION} has no {here!r} any more.")
        settings = settings.replace(here, there)
    return settings
