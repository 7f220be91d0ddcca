"""The host names under which the server answers."""

import ipaddress

from flask import Flask, request
from werkzeug.exceptions import SecurityError
from werkzeug.wsgi import get_host

from indexer.config import ServerConfig
from server.admission import HEALTH_PATHS

LOOPBACK_NAMES = ["localhost", "127.0.0.1"]  # Werkzeug does not compare IPv6 addresses


def register(app: Flask, server: ServerConfig) -> None:
    """Refuse requests for host names that are not trusted."""
    names = trusted_hosts(server)
    if names is not None:
        app.before_request(lambda: _check_host(names))


def trusted_hosts(server: ServerConfig) -> list[str] | None:
    """Return the names under which the server answers, or None for any.

    A server on a loopback address answers only to names of this machine. Otherwise a foreign web
    page could point its own name to this address (DNS rebinding) and read the collection.
    """
    if server.trusted_hosts is None and is_loopback(server.host):
        return LOOPBACK_NAMES
    return server.trusted_hosts


def is_loopback(host: str) -> bool:
    """Tell whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_host(names: list[str]) -> None:
    """Raise SecurityError for other names; health checks may use any, such as an IP address."""
    if request.path in HEALTH_PATHS:
        return
    try:
        get_host(request.environ, names)
    except SecurityError:
        raise SecurityError("The server does not answer to this host name.") from None
