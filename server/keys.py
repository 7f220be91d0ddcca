"""Who may ask: keys that applications send, of which the configuration holds digests."""

import hashlib
import hmac

from flask import Flask, g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from indexer.config import ApiKey
from server.load import ALWAYS_OPEN

ADMINISTRATIVE = ("/metrics",)


def register(app: Flask, keys: tuple[ApiKey, ...]) -> None:
    """Ask for a key before everything else, if there are any."""
    if keys:
        app.before_request(lambda: _check(keys))


def digest(key: str) -> str:
    """Return what the configuration holds of a key, the hexadecimal SHA-256.

    A slow hash would protect nothing: those are for secrets that can be guessed, and nobody guesses
    256 random bits.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def _check(keys: tuple[ApiKey, ...]) -> None:
    """Let pass who sends a key: as a bearer token, or in a browser as the password."""
    if request.path in ALWAYS_OPEN:
        return
    given = request.authorization
    sent = digest((given.token or given.password or "") if given else "")
    found = None
    for key in keys:  # all of them, each in constant time: how long it takes tells nothing
        if hmac.compare_digest(sent, key.sha256):
            found = key
    if found is None:
        raise Unauthorized(
            "This server answers to those who have a key.",
            www_authenticate=WWWAuthenticate("basic", {"realm": "Lookalike, password: the key"}),
        )
    if request.path in ADMINISTRATIVE and found.scope != "admin":
        raise Forbidden(f"The key of {found.name} may search; this takes the scope admin.")
    g.client = found.name
