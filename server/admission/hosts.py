"""The host a request is for: one that can be told, and under whose name the server answers."""

import ipaddress
from urllib.parse import urlsplit

from flask import Flask, request
from werkzeug.exceptions import BadRequest, SecurityError
from werkzeug.wsgi import get_host

from indexer.config import ServerConfig
from server.admission import HEALTH_PATHS

LOOPBACK_NAMES = ["localhost", "127.0.0.1"]  # Werkzeug does not compare IPv6 addresses


def register(app: Flask, server: ServerConfig) -> None:
    """Refuse requests whose host is unclear, or is a name that is not trusted."""
    names = trusted_hosts(server)
    app.before_request(_check_one_host)
    if names is not None:
        app.before_request(lambda: _check_trusted(names))


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


def _check_one_host() -> None:
    """Raise BadRequest for no host, or two: in the header, and in a target such as http://host/.

    RFC 9112, 3.2, demands both. A proxy could check the one, and the server answer for the other.
    """
    host = request.environ.get("HTTP_HOST", "")
    if not host and request.environ["SERVER_PROTOCOL"] != "HTTP/1.0":
        raise BadRequest("The request has no header Host.")
    target = request.environ.get("RAW_URI", "/")
    if target.startswith("/") or target == "*":
        return
    if urlsplit(target).netloc.lower() != host.lower():
        raise BadRequest("The request's target and its header Host name different hosts.")


def _check_trusted(names: list[str]) -> None:
    """Raise SecurityError for other names; health checks may use any, such as an IP address."""
    if request.path in HEALTH_PATHS:
        return
    try:
        get_host(request.environ, names)
    except SecurityError:
        raise SecurityError("The server does not answer to this host name.") from None
