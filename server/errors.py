"""Errors as HTTP answers: their codes and statuses, and their one shape, JSON or a page."""

import logging
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple, NoReturn

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, SecurityError

from indexer.errors import LookalikeError, StoreUnavailable

logger = logging.getLogger(__name__)


class ErrorCode(NamedTuple):
    """How errors of one code are answered."""

    status: HTTPStatus
    retry_after_s: int | None = None
    """Value of Retry-After in seconds, for errors that can pass while the server runs."""
    public_text: tuple[str, str] | None = None
    """Message and hint for clients, for errors whose own text names paths of the server."""


DOMAIN_CODES = {
    "invalid_image": ErrorCode(HTTPStatus.BAD_REQUEST),
    "unsupported_image": ErrorCode(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    "decoder_missing": ErrorCode(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    "image_too_large": ErrorCode(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    "invalid_query": ErrorCode(HTTPStatus.UNPROCESSABLE_ENTITY),
    "invalid_request": ErrorCode(HTTPStatus.UNPROCESSABLE_ENTITY),
    "url_refused": ErrorCode(HTTPStatus.UNPROCESSABLE_ENTITY),
    "unknown_image": ErrorCode(HTTPStatus.NOT_FOUND),
    "no_text_matches": ErrorCode(HTTPStatus.NOT_FOUND),
    "no_report": ErrorCode(HTTPStatus.NOT_FOUND),
    "image_gone": ErrorCode(HTTPStatus.NOT_FOUND),
    "unreadable": ErrorCode(HTTPStatus.NOT_FOUND),
    "no_approximate_index": ErrorCode(HTTPStatus.CONFLICT),
    "no_metadata_index": ErrorCode(HTTPStatus.CONFLICT),
    "out_of_memory": ErrorCode(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "overloaded": ErrorCode(HTTPStatus.SERVICE_UNAVAILABLE, 1),
    "not_ready": ErrorCode(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "no_published_index": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        10,
        ("There is no index yet.", "Make one on the server with: lookalike index FOLDER"),
    ),
    "store_corrupt": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        60,
        ("The index is damaged.", "The server's log says which file."),
    ),
    "store_unavailable": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        5,
        ("The index cannot be read at the moment.", "The server's log says why."),
    ),
    "shard_unavailable": ErrorCode(HTTPStatus.SERVICE_UNAVAILABLE, 5),
    "cluster_unavailable": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        60,
        ("The cluster that searches cannot be reached.", "The server's log says why."),
    ),
    "weights_unavailable": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        60,
        ("The encoder's weights are missing.", "The server's log says more."),
    ),
    "encoder_mismatch": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        60,
        (
            "The index was made with another encoder.",
            "The server's log says more.",
        ),
    ),
    "missing_dependency": ErrorCode(
        HTTPStatus.SERVICE_UNAVAILABLE,
        60,
        ("A library is missing.", "The server's log says which."),
    ),
}
"""The codes of domain errors. One whose code is missing here is a fault: 500."""

HTTP_CODES = {
    "bad_request": ErrorCode(HTTPStatus.BAD_REQUEST),
    "unauthorized": ErrorCode(HTTPStatus.UNAUTHORIZED),
    "forbidden": ErrorCode(HTTPStatus.FORBIDDEN),
    "not_found": ErrorCode(HTTPStatus.NOT_FOUND),
    "method_not_allowed": ErrorCode(HTTPStatus.METHOD_NOT_ALLOWED),
    "precondition_failed": ErrorCode(HTTPStatus.PRECONDITION_FAILED),
    "upload_too_large": ErrorCode(HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    "address_too_long": ErrorCode(HTTPStatus.REQUEST_URI_TOO_LONG),
    "unsupported_media_type": ErrorCode(HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    "range_not_satisfiable": ErrorCode(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE),
    "too_many_requests": ErrorCode(HTTPStatus.TOO_MANY_REQUESTS),
    "header_too_large": ErrorCode(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE),
    "internal_error": ErrorCode(HTTPStatus.INTERNAL_SERVER_ERROR),
}
"""The codes of HTTP errors, one for each status."""

CODES = DOMAIN_CODES | HTTP_CODES
"""Every code an answer can have."""

API_HINT = "The API is described at /docs."
MAX_PROBLEMS = 10
"""How many problems of a request an error lists."""
MAX_NAME_LENGTH = 100
"""How many characters of a field's name an error repeats."""


def codes_of(status: HTTPStatus) -> list[str]:
    """Return the codes that come with a status."""
    return sorted(name for name, code in CODES.items() if code.status == status)


def code_of(status: int) -> str:
    """Return the code of HTTP errors with a status."""
    for name, code in HTTP_CODES.items():
        if code.status == status:
            return name
    return "bad_request" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "internal_error"


def error_responses(*statuses: HTTPStatus) -> dict[Any, Any]:
    """Return an operation's ``responses`` for errors that not every operation has."""
    return dict.fromkeys(statuses, Error)


class ErrorDetail(BaseModel):
    """What went wrong and what to do about it."""

    code: Annotated[
        str,
        Field(
            description="The kind of error, for programs; new codes may be added. "
            + "; ".join(
                f"{status.value}: {', '.join(codes_of(status))}"
                for status in sorted({code.status for code in CODES.values()})
            )
            + ".",
        ),
    ]
    message: Annotated[str, Field(description="What went wrong, in a sentence.")]
    hint: Annotated[str, Field(description="What to do about it.")]


class Error(BaseModel):
    """The shape of every error."""

    error: ErrorDetail


class InvalidRequest(LookalikeError):
    """The request's fields are not what the API documents."""

    code = "invalid_request"


class BodyTooLarge(LookalikeError):
    """The request's JSON has more bytes than any such request needs."""

    code = "upload_too_large"

    def __init__(self, message: str) -> None:
        super().__init__(message, "Send fewer numbers, with fewer digits, or fewer searches.")


def register(app: Flask) -> None:
    """Answer every error of the application in the documented shape."""
    app.register_error_handler(LookalikeError, _answer_domain_error)
    app.register_error_handler(OSError, _answer_os_error)
    app.register_error_handler(HTTPException, answer_http_error)
    app.register_error_handler(Exception, answer_unexpected_error)


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Convert pydantic's errors, each to one clause of the message."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"]) or "request"
        text = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            text = "there is no such field"
        problems.append(f"{field[:MAX_NAME_LENGTH]}: {text}")
    more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return InvalidRequest("; ".join(problems[:MAX_PROBLEMS] + more) + ".", API_HINT)


def raise_invalid_request(error: ValidationError) -> NoReturn:
    """Raise the documented error for parameters that the OpenAPI library refused."""
    raise invalid_request(error)


def public_text(error: LookalikeError) -> tuple[str, str]:
    """Return the message and hint that clients get, which name no paths of the server."""
    if not is_expected(error):
        return "An unexpected error occurred.", "The server's log says more."
    return CODES[error.code].public_text or (error.message, error.hint)


def is_expected(error: LookalikeError) -> bool:
    """Tell whether an error has a documented code; any other is a fault of the server."""
    return error.code in CODES


def public_error(error: LookalikeError) -> dict[str, str]:
    """Return an error's code, message and hint for clients.

    The error is an expected one. If clients do not get its own text it is logged, unless it is the
    one logged last.
    """
    message, hint = public_text(error)
    if CODES[error.code].public_text:
        logged = (error.code, error.message)
        if current_app.extensions.get("last_logged_error") != logged:
            current_app.extensions["last_logged_error"] = logged
            logger.error("%s: %s %s", error.code, error.message, error.hint)
    return {"code": error.code, "message": message, "hint": hint or API_HINT}


def status_of(error: LookalikeError) -> HTTPStatus:
    """Return the status an expected error is answered with."""
    return CODES[error.code].status


def set_retry_after(response: Response, code: str) -> Response:
    """Set Retry-After if errors of this code can pass."""
    if code in CODES and CODES[code].retry_after_s is not None:
        response.headers["Retry-After"] = str(CODES[code].retry_after_s)
    return response


def _answer_domain_error(error: LookalikeError) -> Response:
    if not is_expected(error):
        return answer_unexpected_error(error)
    return _error_response(status_of(error), **public_error(error))


def _answer_os_error(error: OSError) -> Response:
    """Answer that the store, the only thing that views read from disk, is unavailable."""
    return _answer_domain_error(StoreUnavailable(str(error)))


def answer_http_error(error: HTTPException) -> Response:
    """Answer an error of HTTP in the documented shape."""
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    code, message, hint = code_of(status), str(error.description), API_HINT
    if isinstance(error, RequestEntityTooLarge):
        hint = "Send less, or raise server.max_upload_bytes."
        if message == RequestEntityTooLarge.description:
            message = _exceeded_limit()
    if status == HTTPStatus.UNAUTHORIZED:
        hint = "Send the key as a bearer token, or in a browser as the password."
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        hint = "Wait as many seconds as Retry-After says."
    if isinstance(error, SecurityError):
        hint = "The setting server.trusted_hosts lists the names it answers to."
    response = _error_response(status, code, message, hint)
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):  # such as Allow, with 405
            response.headers[name] = value
    return response


def _exceeded_limit() -> str:
    """Return which of Werkzeug's limits a form exceeds."""
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    size = request.content_length or 0
    if size > limit:
        return f"The request has {size:,} bytes; the limit is {limit:,}."
    return "The form has too many fields, or too much text in them."


def answer_unexpected_error(error: Exception) -> Response:
    """Log an error with its traceback, and answer without its text."""
    logger.error("Unexpected error at %s", request.path, exc_info=error)
    return _error_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "An unexpected error occurred; it has been logged.",
        f"Search the server's log for request {g.get('request_id')}.",
    )


def _error_response(status: int, code: str, message: str, hint: str) -> Response:
    """Return an error as JSON, or as a page for a browser that opened a page."""
    if wants_html():
        page = render_template("error.html", status=status, message=message, hint=hint)
        response = Response(page, status, mimetype="text/html")
    else:
        response = jsonify({"error": {"code": code, "message": message, "hint": hint}})
        response.status_code = status
    return set_retry_after(response, code)


def wants_html() -> bool:
    """Tell whether the answer is a page; the API answers in JSON whatever the client accepts."""
    if request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/openapi.json")):
        return False
    accepted = request.accept_mimetypes
    return accepted.quality("text/html") > accepted.quality("application/json")
