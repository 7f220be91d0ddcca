"""Who may ask: keys that applications send, of which the configuration holds digests."""

import hashlib
import hmac

from flask import g, request
from werkzeug.datastructures import WWWAuthenticate
from werkzeug.exceptions import Forbidden, Unauthorized

from indexer.config import ApiKey
from server.admission.slots import ALWAYS_OPEN

ADMINISTRATIVE = ("/metrics",)


def digest(key: str) -> str:
    """Return what the configuration holds of a key, the hexadecimal SHA-256.

    A slow hash would protect nothing: those are for secrets that can be guessed, and nobody guesses
    256 random bits.
    """
    return hashlib.sha256(key.encode()).hexdigest()


def identify(keys: tuple[ApiKey, ...]) -> None:
    """Note whose key is sent: as a bearer token, or in a browser as the password."""
    given = request.authorization
    sent = digest((given.token or given.password or "") if given else "")
    g.key = None
    for key in keys:  # all of them, each in constant time: how long it takes tells nothing
        if hmac.compare_digest(sent, key.sha256):
            g.key = key


def require() -> None:
    """Let pass who has a key, of scope admin where it takes one."""
    if request.path in ALWAYS_OPEN:
        return
    if g.key is None:
        raise Unauthorized(
            "This server answers to those who have a key.",
            www_authenticate=WWWAuthenticate("basic", {"realm": "Lookalike, password: the key"}),
        )
    if request.path in ADMINISTRATIVE and g.key.scope != "admin":
        raise Forbidden(f"The key of {g.key.name} may search; this takes the scope admin.")
