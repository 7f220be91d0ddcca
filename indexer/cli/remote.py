"""A query by image answered by a server, with nothing but the standard library."""

import json
import secrets
from collections.abc import Sequence
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from indexer.errors import RemoteError

TIMEOUT_S = 60
NOT_OURS = "Is it Lookalike's address?"


def search_remotely(
    server: str, image: bytes | None, fields: Sequence[tuple[str, str]], *, key: str | None = None
) -> dict[str, Any]:
    """Return the JSON answer of the server at an address such as ``http://127.0.0.1:8000``.

    ``fields`` are those of the upload form beside the image, such as ``k`` or ``text``. Raises
    :class:`RemoteError`: with the server's own message, hint and code if it refuses, else with what
    keeps it from answering.
    """
    if not _is_address(server):
        raise RemoteError(f"{server} is no address.", "Give one like http://127.0.0.1:8000.")
    body, media_type = _form(image, fields)
    headers = {"Content-Type": media_type, "Accept": "application/json"}
    if key:
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{server.rstrip('/')}/api/v1/search", body, headers)  # noqa: S310 -- checked
    try:
        with urlopen(request, timeout=TIMEOUT_S) as response:  # noqa: S310 -- checked above
            content = response.read()
    except HTTPError as error:
        with error:
            raise _refusal(error) from None
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise RemoteError(
            f"{server} gives no answer: {reason}.", "Is the server running, and at this address?"
        ) from None
    return _answer(content)


def _is_address(server: str) -> bool:
    try:
        parts = urlsplit(server)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _answer(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not _has_results(answer):
        raise RemoteError("The server answers, but not with results.", NOT_OURS)
    return answer


def _has_results(answer: dict[str, Any]) -> bool:
    """Tell whether the fields that are printed are there, and of their types."""
    try:
        return (
            isinstance(answer["mode"], str)
            and isinstance(answer["encoder"]["random_weights"], bool)
            and isinstance(answer["timings_ms"]["total"], int | float)
            and isinstance(answer["results"], list)
            and all(
                isinstance(result["rank"], int)
                and isinstance(result["distance"], int | float)
                and isinstance(result["key"], str)
                for result in answer["results"]
            )
            and all(map(_is_facet, answer.get("facets", {}).values()))
            and isinstance(answer.get("words", {"summary": ""})["summary"], str)
        )
    except (AttributeError, KeyError, TypeError):
        return False


def _is_facet(facet: dict[str, Any]) -> bool:
    """Tell whether a field's values and their counts are there. Raises as the caller expects."""
    counts = [one["count"] for one in facet["values"] if "value" in one]
    whole = len(counts) == len(facet["values"])
    return whole and all(isinstance(count, int) for count in (facet["others"], *counts))


def _refusal(error: HTTPError) -> RemoteError:
    try:
        detail = json.load(error)["error"]
        return RemoteError(f"{detail['message']} ({error.code})", detail["hint"], detail["code"])
    except (OSError, HTTPException, ValueError, RecursionError, KeyError, TypeError):
        return RemoteError(f"The server answers {error.code}.", NOT_OURS)


def _form(image: bytes | None, fields: Sequence[tuple[str, str]]) -> tuple[bytes, str]:
    """Return an upload form, which may have no image, and its media type."""
    boundary = secrets.token_hex(16)
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields
    ]
    if image is not None:
        disposition = 'form-data; name="image"; filename="image"'
        head = f"--{boundary}\r\nContent-Disposition: {disposition}\r\n\r\n"
        parts += [head.encode(), image, b"\r\n"]
    return b"".join(
        [*parts, f"--{boundary}--\r\n".encode()]
    ), f"multipart/form-data; boundary={boundary}"
