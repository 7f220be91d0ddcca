"""What holds for every page: to whom it answers, and that nothing foreign is loaded or framed."""

import ipaddress

from flask import Flask, Response, request
from werkzeug.exceptions import SecurityError
from werkzeug.wsgi import get_host

from indexer.config import ServerConfig
from server.admission.slots import ALWAYS_OPEN

LOOPBACK_NAMES = ["localhost", "127.0.0.1"]  # Werkzeug does not compare IPv6 addresses

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def register(app: Flask, server: ServerConfig) -> None:
    """Answer to trusted names only, and add the headers to what has not set its own."""
    names = trusted_hosts(server)
    if names is not None:
        app.before_request(lambda: _refuse_foreign(names))
    app.after_request(_add_headers)


def trusted_hosts(server: ServerConfig) -> list[str] | None:
    """Return the names the server answers to, or None for any.

    A server on the loopback answers to this machine's names only: a web page elsewhere could
    otherwise let its own name point here (DNS rebinding) and read what it is not meant to see.
    """
    if server.trusted_hosts is None and is_loopback(server.host):
        return LOOPBACK_NAMES
    return server.trusted_hosts


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_foreign(names: list[str]) -> None:
    """Refuse other names; whoever watches the server may call it by its address."""
    if request.path in ALWAYS_OPEN:
        return
    try:
        get_host(request.environ, names)
    except SecurityError:
        raise SecurityError("The server does not answer to this name.") from None


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("X-Frame-Options", "DENY")
    headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
    headers.setdefault("Referrer-Policy", "no-referrer")
    # Not no-store: with it the browser's back button could not return to an upload's results.
    headers.setdefault("Cache-Control", "private, no-cache")
    return response
