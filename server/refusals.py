"""Refusals of what never reaches the application, in the shape of every error.

A request that came too slowly, is too long or cannot be read is refused by the worker. It gets an
id, a line in the log and a place in the metrics as every other one does.
"""

import json
import logging
import secrets
import threading
from collections import Counter
from http import HTTPStatus
from typing import NamedTuple

from gunicorn.http import errors

logger = logging.getLogger(__name__)

_STATUSES = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.LENGTH_REQUIRED,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
refused: Counter[HTTPStatus] = Counter(dict.fromkeys(_STATUSES, 0))
"""How many requests this process has refused before its application saw them, by status."""

_counting = threading.Lock()


class Refusal(NamedTuple):
    """Why a request is refused."""

    status: HTTPStatus
    code: str
    message: str
    hint: str

    def answer(self, client: object, cause: Exception | None = None) -> bytes:
        """Return the answer as it goes over the wire; log it, with its cause, and count it."""
        request_id = secrets.token_hex(8)
        with _counting:
            refused[self.status] += 1
        fields = {"request_id": request_id, "status": self.status.value, "client": client}
        logger.log(
            logging.ERROR if cause else logging.INFO,
            "refused %d %s",
            self.status,
            self.code,
            exc_info=cause,
            extra={"fields": fields},
        )
        error = {"code": self.code, "message": self.message, "hint": self.hint}
        body = json.dumps({"error": error}).encode()
        head = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "X-Content-Type-Options: nosniff",
            f"X-Request-Id: {request_id}",
            "Connection: close",
        ]
        if self.status == HTTPStatus.SERVICE_UNAVAILABLE:
            head.append("Retry-After: 1")
        return "\r\n".join([*head, "", ""]).encode("ascii") + body


TOO_SLOW = Refusal(
    HTTPStatus.REQUEST_TIMEOUT,
    "request_timeout",
    "The request took too long to arrive.",
    "Send less, or raise server.request_timeout_s; the head of a request has 10 seconds.",
)
LENGTH_REQUIRED = Refusal(
    HTTPStatus.LENGTH_REQUIRED,
    "length_required",
    "The request does not say how long its body is: chunked requests are not read.",
    "Send Content-Length and no Transfer-Encoding.",
)
LENGTH_UNCLEAR = Refusal(
    HTTPStatus.BAD_REQUEST,
    "bad_request",
    "The Content-Length of the request is no number, or there are several.",
    "Send one, in decimal digits.",
)
HEAD_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "header_too_large",
    "The head of the request is too long.",
    "Send fewer or shorter header fields.",
)
ADDRESS_TOO_LONG = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG,
    "address_too_long",
    "The address is too long.",
    "Send what is asked in the body of a POST.",
)
TOO_MUCH = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE, "overloaded", "The server is busy.", "Try again in a second."
)
UNEXPECTED = Refusal(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal_error",
    "Something unexpected went wrong; it has been logged.",
    "The server's log has more under the X-Request-Id of this answer.",
)


def refusal_of(error: Exception) -> Refusal:
    """Return how a request is refused that gunicorn could not read, or not answer."""
    if isinstance(error, errors.LimitRequestLine):
        return ADDRESS_TOO_LONG
    if isinstance(error, errors.LimitRequestHeaders):
        return HEAD_TOO_LONG
    if isinstance(error, errors.ParseException):
        message = f"The head of the request cannot be read. {str(error)[:200]}"
        hint = "Write it as HTTP/1.1 (RFC 9112) wants it."
        return Refusal(HTTPStatus.BAD_REQUEST, "bad_request", message, hint)
    return UNEXPECTED
