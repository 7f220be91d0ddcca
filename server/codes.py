"""Every code an error can have, with its status, and the shape of errors on the wire."""

from http import HTTPStatus
from typing import Annotated, Any

from pydantic import BaseModel, Field

from server.errors import STATUSES

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
