"""Errors as HTTP: one shape for all of them, statuses by domain code, a page for browsers."""

import logging
from http import HTTPStatus
from typing import Annotated, Any, NoReturn

from flask import Flask, Response, current_app, g, jsonify, render_template, request
from pydantic import BaseModel, Field, ValidationError
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge, SecurityError

from indexer.errors import LookalikeError

logger = logging.getLogger(__name__)

STATUSES = {
    "invalid_image": HTTPStatus.BAD_REQUEST,
    "unsupported_image": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "image_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "invalid_query": HTTPStatus.UNPROCESSABLE_ENTITY,
    "invalid_request": HTTPStatus.UNPROCESSABLE_ENTITY,
    "url_refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unknown_image": HTTPStatus.NOT_FOUND,
    "image_gone": HTTPStatus.NOT_FOUND,
    "unreadable": HTTPStatus.NOT_FOUND,
    "no_approximate_index": HTTPStatus.CONFLICT,
    "no_published_index": HTTPStatus.SERVICE_UNAVAILABLE,
    "store_corrupt": HTTPStatus.SERVICE_UNAVAILABLE,
    "weights_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "encoder_mismatch": HTTPStatus.SERVICE_UNAVAILABLE,
    "missing_dependency": HTTPStatus.SERVICE_UNAVAILABLE,
    "not_ready": HTTPStatus.SERVICE_UNAVAILABLE,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""The status of each domain error; one that is missing here is a fault of the server's, 500."""

CODES: dict[str, HTTPStatus] = {
    **STATUSES,
    "bad_request": HTTPStatus.BAD_REQUEST,
    "unauthorized": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "precondition_failed": HTTPStatus.PRECONDITION_FAILED,
    "upload_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "address_too_long": HTTPStatus.REQUEST_URI_TOO_LONG,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "too_many_requests": HTTPStatus.TOO_MANY_REQUESTS,
    "header_too_large": HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""Those of the domain, and those of HTTP itself."""

REASONS: dict[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST: "The request, or the image, cannot be read.",
    HTTPStatus.UNAUTHORIZED: "The server has keys, and none of them was sent.",
    HTTPStatus.FORBIDDEN: "The key may search; this takes one of scope admin.",
    HTTPStatus.NOT_FOUND: "There is no such image, or no longer.",
    HTTPStatus.CONFLICT: "The index has no approximate search.",
    HTTPStatus.PRECONDITION_FAILED: "The content is not the one that If-Match names.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The upload has too many bytes or the image too many "
    "pixels: server.max_upload_bytes, server.max_pixels.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The address is too long.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is no JSON and no form, or the file no image of a "
    "known format.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field is missing, unknown or out of bounds; the message "
    "names it.",
    HTTPStatus.TOO_MANY_REQUESTS: "The client asked more often than server.rate_limit.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The head of the request is too long.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "Something unexpected went wrong; the server's log has it "
    "under the request's id.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The server is busy, still loading, or has no index to answer "
    "from; the message tells which.",
}
"""Why an operation answers with each status; 405 is not here, for it answers other methods."""

PUBLIC = {
    "no_published_index": (
        "There is no index yet.",
        "Make one on the server with: make index IMAGES=<folder>",
    ),
    "store_corrupt": ("The index is damaged.", "The server's log says where."),
    "weights_unavailable": ("The encoder's weights are missing.", "The server's log says more."),
    "encoder_mismatch": ("The encoder is not that of the index.", "The server's log says more."),
    "missing_dependency": ("A library is missing.", "The server's log says which."),
}
"""What clients read of errors that concern the operator and name paths of the machine."""

API_HINT = "The API is described at /docs."
MAX_PROBLEMS = 10
"""How many faults of a request are named."""
MAX_NAME = 100
"""How much of a field's name is repeated."""

RETRY_AFTER_S = {
    "overloaded": 1,
    "not_ready": 5,
    "no_published_index": 10,
    "store_corrupt": 60,
}
"""When it is worth to ask again; other troubles do not pass while the server runs."""


def codes_of(status: HTTPStatus) -> list[str]:
    """Return the codes that come with a status."""
    return sorted(code for code, its in CODES.items() if its == status)


def refusals(*statuses: HTTPStatus) -> dict[Any, Any]:
    """Document statuses that an operation answers with an error, beside those that all can."""
    return dict.fromkeys(statuses, Error)


class ErrorDetail(BaseModel):
    """What is wrong and what to do about it."""

    code: Annotated[
        str,
        Field(
            description="What is wrong, for programs; there may be more codes one day. "
            + "; ".join(
                f"{status.value}: {', '.join(codes_of(status))}"
                for status in sorted(set(CODES.values()))
            )
            + ".",
        ),
    ]
    message: Annotated[str, Field(description="What is wrong, in a sentence.")]
    hint: Annotated[str, Field(description="What to do about it; empty where nobody can tell.")]


class Error(BaseModel):
    """The shape of every error."""

    error: ErrorDetail


class InvalidRequest(LookalikeError):
    """The request's fields are not what the API documents."""

    code = "invalid_request"


def register(app: Flask) -> None:
    """Answer every error of the application in the documented shape."""
    app.register_error_handler(LookalikeError, _domain_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected_error)


def invalid_request(error: ValidationError) -> InvalidRequest:
    """Return pydantic's complaints as one sentence each."""
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        field = ".".join(str(part) for part in problem["loc"]) or "request"
        said = problem["msg"].removeprefix("Value error, ")
        unknown = problem["type"] == "extra_forbidden"
        problems.append(f"{field[:MAX_NAME]}: {'there is no such field' if unknown else said}")
    more = [f"and {len(problems) - MAX_PROBLEMS} more"] if len(problems) > MAX_PROBLEMS else []
    return InvalidRequest("; ".join(problems[:MAX_PROBLEMS] + more) + ".", API_HINT)


def raise_invalid_request(error: ValidationError) -> NoReturn:
    """Turn a parameter the OpenAPI library refused into the documented error."""
    raise invalid_request(error)


def error_response(status: int, code: str, message: str, hint: str) -> Response:
    """Build the answer: JSON, or the error page where a person is looking at HTML."""
    if _wants_html():
        page = render_template("error.html", status=status, message=message, hint=hint)
        response = Response(page, status, mimetype="text/html")
    else:
        response = jsonify({"error": {"code": code, "message": message, "hint": hint}})
        response.status_code = status
    return retry_later(response, code)


def retry_later(response: Response, code: str) -> Response:
    """Say in an answer when it is worth to ask again, if it is."""
    if code in RETRY_AFTER_S:
        response.headers["Retry-After"] = str(RETRY_AFTER_S[code])
    return response


def _wants_html() -> bool:
    """Tell a browser looking at a page from the API's callers, who always get JSON."""
    if request.path.startswith(("/api/", "/healthz", "/readyz", "/metrics", "/openapi.json")):
        return False
    accepted = request.accept_mimetypes
    return accepted.quality("text/html") > accepted.quality("application/json")


def status_of(error: LookalikeError) -> HTTPStatus:
    """Return the status an error is answered with."""
    return STATUSES.get(error.code, HTTPStatus.INTERNAL_SERVER_ERROR)


def words(error: LookalikeError) -> tuple[str, str]:
    """Return what clients read of an error: its message and hint."""
    return PUBLIC.get(error.code, (error.message, error.hint))


def public(error: LookalikeError) -> dict[str, str]:
    """Return an error for clients. What is kept from them is logged, once until it changes."""
    message, hint = words(error)
    told = (error.code, error.message)
    if error.code in PUBLIC and current_app.extensions.get("told") != told:
        current_app.extensions["told"] = told
        logger.error("%s: %s %s", error.code, error.message, error.hint)
    return {"code": error.code, "message": message, "hint": hint or API_HINT}


def _domain_error(error: LookalikeError) -> Response:
    return error_response(status_of(error), **public(error))


def _http_error(error: HTTPException) -> Response:
    status = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    code = HTTPStatus(status).phrase.lower().replace(" ", "_").replace("'", "")
    message, hint = str(error.description), API_HINT
    if isinstance(error, RequestEntityTooLarge):
        code, hint = "upload_too_large", "Send less, or raise server.max_upload_bytes."
        if message == RequestEntityTooLarge.description:
            message = _too_large()
    if status == HTTPStatus.UNAUTHORIZED:
        hint = "Send the key as a bearer token, or in a browser as the password."
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        hint = "Retry-After says in how many seconds to go on."
    if isinstance(error, SecurityError):
        hint = "The names it answers to are in server.trusted_hosts."
    response = error_response(status, code, message, hint)
    for name, value in error.get_headers():
        if name not in ("Content-Type", "Content-Length"):  # such as Allow, with 405
            response.headers[name] = value
    return response


def _too_large() -> str:
    """Say which of Werkzeug's limits a form or its fields are beyond."""
    limit = current_app.config["MAX_CONTENT_LENGTH"]
    size = request.content_length or 0
    if size > limit:
        return f"The request has {size:,} bytes; the limit is {limit:,}."
    return "The form has too many fields, or too much text in them."


def _unexpected_error(error: Exception) -> Response:
    logger.error("Unexpected error at %s", request.path, exc_info=error)
    return error_response(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        "Something unexpected went wrong; it has been logged.",
        f"Look into the server's log for request {g.get('request_id')}.",
    )
