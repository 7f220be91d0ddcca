"""API keys: clients send a key, the configuration holds its digest."""

import hashlib
import hmac

from flask import g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from indexer.config import ApiKey
from server.admission import HEALTH_PATHS

ADMIN_PATHS = ("/metrics",)
"""Paths that need a key of scope admin."""


def digest(key: str) -> str:
    """Return a key's entry in the configuration: its SHA-256, 64 hexadecimal digits.

    A slow hash would add nothing: it protects secrets that can be guessed, and a key has 256 random
    bits.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def identify(keys: tuple[ApiKey, ...]) -> None:
    """Set ``g.key`` to the key of the request, sent as bearer token or as password, or None."""
    sent = digest(_sent_key())
    g.key = None
    for key in keys:  # always all of them, in constant time: the duration reveals nothing
        if hmac.compare_digest(sent, key.sha256):
            g.key = key


def _sent_key() -> str:
    """Return the key in the header Authorization; "" if there is none or it cannot be read."""
    try:
        given = request.authorization
    except ValueError:  # Werkzeug does not expect bytes beyond ASCII in Basic
        return ""
    return (given.token or given.password or "") if given else ""


def require() -> None:
    """Refuse a request without a key, or without the scope its path needs.

    Raises Unauthorized or Forbidden. Health checks need no key.
    """
    if request.path in HEALTH_PATHS:
        return
    if g.key is None:
        raise Unauthorized(
            "This server requires an API key.",
            www_authenticate=WWWAuthenticate("basic", {"realm": "Lookalike, password: the key"}),
        )
    if request.path in ADMIN_PATHS and g.key.scope != "admin":
        raise Forbidden(f"The key {g.key.name} may search; this path needs scope admin.")
