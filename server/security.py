"""Response headers that hold on every page: nothing foreign is loaded, framed or sniffed."""

from flask import Flask, Response

from indexer.config import ServerConfig

LOOPBACK_NAMES = ["localhost", "127.0.0.1"]  # Werkzeug does not compare IPv6 addresses

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; img-src 'self' data: blob:; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def register(app: Flask) -> None:
    """Add the headers to every response that has not set its own."""
    app.after_request(_add_headers)


def trusted_hosts(server: ServerConfig) -> list[str] | None:
    """Return the names the server answers to, or None for any.

    A server on the loopback answers to this machine's names only: a web page elsewhere could
    otherwise let its own name point here (DNS rebinding) and read what it is not meant to see.
    """
    if server.trusted_hosts is None and server.host in ("127.0.0.1", "localhost", "::1"):
        return LOOPBACK_NAMES
    return server.trusted_hosts


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
