"""The production server: gunicorn with one process and several threads."""

import resource
import socket
import sys
from pathlib import Path
from typing import Any

from flask import Response
from gunicorn.app.base import BaseApplication
from gunicorn.http.errors import ParseException
from werkzeug.exceptions import BadRequest

from indexer.config import Config
from indexer.errors import ServerError
from indexer.machine import MEMORY_FOLDER, is_writable
from server.admission.hosts import is_loopback
from server.admission.slots import SPARE_THREADS
from server.errors import answer_http_error
from server.monitoring.logs import logging_settings

RESERVED_FILES = 100
"""Files the server may have open beside its connections and its catalogues: vectors, thumbnails,
its log."""

CATALOGUE_FILES = 11
"""The most files of a connection to a catalogue: SQLite attaches up to ten to the first."""

IDLE_CATALOGUES = 16
"""Connections to a catalogue that are kept, by the version in use and by the one before it."""

EXPOSED_WARNING = """\
{host} is not a loopback address, and server.proxies is 0: clients connect without a proxy.
Images and keys then travel unencrypted, and {threads} clients that send or read slowly are enough
to block the server. Put nginx in front (deploy/nginx.conf, docs/operations.md) and set
server.proxies, or listen on 127.0.0.1."""


def serve(config: Config) -> int:
    """Serve until a signal stops the process; return the exit status.

    Raises :class:`~indexer.errors.ServerError` if it cannot listen on the address.
    """
    server = config.server
    _check_address(server.host, server.port)
    if not is_loopback(server.host) and not server.proxies:
        _print(EXPOSED_WARNING.format(host=server.host, threads=server.threads))
    Gunicorn(config).run()
    return 0


class Gunicorn(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn, configured from our settings instead of its own command line.

    The base class, unlike gunicorn's ``Application``, does not add the current folder to
    ``sys.path``: a file ``server.py`` there is not imported in place of this package.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        super().__init__()

    def load_config(self) -> None:
        """Set what differs from gunicorn's defaults."""
        server = self._config.server
        settings: dict[str, Any] = {
            "bind": _address(server.host, server.port),
            # One process: the vectors, the encoder and their caches exist once.
            "workers": 1,
            "worker_class": "server.gunicorn_worker.Worker",
            "threads": server.threads + SPARE_THREADS,
            "worker_connections": _max_connections(server.threads),
            # Measures whether the worker's loop is alive, not how long a request takes.
            "timeout": 60,
            "graceful_timeout": 30,
            "keepalive": 75,  # longer than nginx keeps an idle connection
            "control_socket_disable": True,
            # A worker shows there, in a file without a name, that it is alive.
            "worker_tmp_dir": MEMORY_FOLDER if is_writable(Path(MEMORY_FOLDER)) else None,
            "forwarder_headers": "",  # no header of a client becomes a WSGI variable
            "when_ready": lambda _: _print(f"Open {_url(server.host, server.port)}"),
            "loglevel": "warning",
            "logconfig_dict": logging_settings(),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Make the application, after the fork: FAISS and Keras do not survive one."""
        from server.app import create_app
        from server.current_index import CurrentIndex

        app = create_app(self._config)
        app.register_error_handler(ParseException, _answer_malformed_body)
        index: CurrentIndex = app.extensions["current_index"]
        reason = index.readiness_error()
        if reason and index.opened is None:
            _print(f"{reason.message} {reason.hint}")
        return app


def _answer_malformed_body(error: ParseException) -> Response:
    """Answer that gunicorn cannot read a body, such as one in malformed chunks."""
    return answer_http_error(BadRequest(f"The body cannot be read: {error}."))


def _max_connections(threads: int) -> int:
    """Return how many clients may be connected: gunicorn fails when it runs out of files.

    Each of ``threads`` can have a connection to a catalogue of its own; spare threads need none.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    reserved = RESERVED_FILES + (threads + IDLE_CATALOGUES) * CATALOGUE_FILES
    return max(threads + SPARE_THREADS + 1, min(1000, files - reserved))


def _check_address(host: str, port: int) -> None:
    """Raise ServerError for an address in use; gunicorn would retry and then only log it."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ServerError(
            f"Cannot listen on {host} port {port}: {error.strerror}.",
            "Choose another port with --port (PORT= with make).",
        ) from None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _url(host: str, port: int) -> str:
    """Return a URL that a browser on this machine can open."""
    loopback = {"0.0.0.0": "127.0.0.1", "::": "localhost", "::1": "localhost"}  # noqa: S104 -- compared, not bound
    return f"http://{_address(loopback.get(host, host), port)}"


def _print(text: str) -> None:
    sys.stderr.write(f"{text}\n")
