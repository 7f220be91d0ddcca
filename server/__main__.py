"""``python -m server``: the production server, gunicorn with one process and several threads."""

import argparse
import resource
import secrets
import socket
import sys
from pathlib import Path
from typing import Any

from gunicorn.app.base import BaseApplication

from indexer.config import Config, load_config
from indexer.errors import LookalikeError, ServerError
from indexer.machine import limit_spinning
from server.admission.hosts import is_loopback
from server.admission.keys import digest
from server.admission.slots import SPARE_THREADS
from server.monitoring.logs import logging_settings

FILES_OF_ITS_OWN = 100
"""Files the server may have open beside its connections: the store's, thumbnails, its log."""

EXPOSED = """\
{host} is not the loopback, and server.proxies is 0: others reach this server without a proxy.
Images and keys then travel in clear, and {threads} clients that send or read slowly are enough
to stop it. Put nginx in front (deploy/nginx.conf, docs/operations.md) and set server.proxies,
or listen on 127.0.0.1."""


class Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn, configured from ours instead of its own command line."""

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        server = self._config.server
        threads = server.threads + SPARE_THREADS
        settings: dict[str, Any] = {
            "bind": _address(server.host, server.port),
            # One process: the vectors, the encoder and their caches exist once.
            "workers": 1,
            "worker_class": "gthread",
            "threads": threads,
            "worker_connections": _max_connections(threads),
            # Measures whether the worker's loop is alive, not how long a request takes.
            "timeout": 60,
            "graceful_timeout": 30,
            "keepalive": 75,  # longer than nginx keeps a connection that is idle
            "control_socket_disable": True,
            "forwarder_headers": "",  # no header of a client's becomes a variable of WSGI's
            "when_ready": lambda _: _say(f"Open {_url(server.host, server.port)}"),
            "loglevel": "warning",
            "logconfig_dict": logging_settings(),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, after the fork: FAISS and Keras do not survive one."""
        from server.app import create_app
        from server.current_index import IndexHolder

        app = create_app(self._config)
        holder: IndexHolder = app.extensions["lookalike"]
        reason = holder.not_ready()
        if reason and not holder.is_open:
            _say(f"{reason.message} {reason.hint}")
        return app


def main() -> int:
    """Serve until stopped. Exit status 1 if the server cannot start."""
    parser = argparse.ArgumentParser(prog="python -m server", description="Serve the index.")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings (config.yaml)")
    parser.add_argument("--store", metavar="FOLDER", help="where the index lives")
    parser.add_argument("--port", type=int, metavar="N", help="port to listen on")
    parser.add_argument("--new-key", choices=("read", "admin"), help="make an API key, and stop")
    options = parser.parse_args()
    if options.new_key:
        key = secrets.token_urlsafe(32)
        _say(
            "The key, which is not kept anywhere, and its entry in server.api_keys; give it a name."
        )
        entry = f"{{name: somebody, sha256: {digest(key)}, scope: {options.new_key}}}"
        sys.stdout.write(f"{key}\n{entry}\n")
        return 0
    flags: dict[str, Any] = {}
    if options.store is not None:
        flags["store"] = options.store
    if options.port is not None:
        flags["server"] = {"port": options.port}
    try:
        config = load_config(options.config, flags)
        _check_address(config.server.host, config.server.port)
    except LookalikeError as error:
        _say(f"Error: {error.message}\n{error.hint}")
        return 1
    server = config.server
    if not is_loopback(server.host) and not server.proxies:
        _say(EXPOSED.format(host=server.host, threads=server.threads))
    Gunicorn(config).run()
    return 0


def _max_connections(threads: int) -> int:
    """Return how many clients may be connected: gunicorn fails where there are no more files."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(threads + 1, min(1000, files - FILES_OF_ITS_OWN))


def _check_address(host: str, port: int) -> None:
    """Refuse an address that is taken, at once; gunicorn would retry and then only log it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ServerError(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            "Choose another port with PORT= (make) or --port.",
        ) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int) -> str:
    """Return an address a browser on this machine can open."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "localhost", "::1": "localhost"}  # noqa: S104 -- compared, not bound
    return f"http://{_address(loopback.get(host, host), port)}"


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    limit_spinning()
    raise SystemExit(main())
