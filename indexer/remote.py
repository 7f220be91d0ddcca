"""A query by image answered by a server, with nothing but the standard library."""

import json
import secrets
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from indexer.errors import ServerError

TIMEOUT_S = 60


def search_remotely(
    server: str, image: bytes, *, k: int | None, mode: str | None, key: str | None = None
) -> dict[str, Any]:
    """Return the JSON answer of the server at an address such as ``http://127.0.0.1:8000``.

    Raises :class:`ServerError` with the server's own message and hint if it refuses.
    """
    if urlsplit(server).scheme not in ("http", "https") or not urlsplit(server).hostname:
        raise ServerError(f"{server} is no address.", "Give one like http://127.0.0.1:8000.")
    fields = {name: str(value) for name, value in (("k", k), ("mode", mode)) if value is not None}
    body, media_type = _form(image, fields)
    headers = {"Content-Type": media_type, "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{server.rstrip('/')}/api/v1/search", body, headers)  # noqa: S310 -- checked
    try:
        with urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 -- checked above
            answer: dict[str, Any] = json.load(response)
            return answer
    except HTTPError as error:
        with error:
            raise _refusal(error) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ServerError(
            f"{server} gives no answer: {reason}.", "Is the server running, and at this address?"
        ) from None


def _refusal(error: HTTPError) -> ServerError:
    try:
        detail = json.load(error)["error"]
        return ServerError(f"{detail['message']} ({error.code})", detail["hint"])
    except (ValueError, KeyError, TypeError):
        return ServerError(f"The server answers {error.code}.", "Is it Lookalike's address?")


def _form(image: bytes, fields: dict[str, str]) -> tuple[bytes, str]:
    """Return an upload form and its media type."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'
    parts += [head.encode(), image, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
