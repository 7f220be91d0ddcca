"""The OpenAPI document, with what many operations share, and the files of Swagger UI."""

from http import HTTPStatus
from importlib import resources
from typing import Any

from flask import Response, jsonify, request, send_from_directory
from flask_openapi import OpenAPI, Tag
from pydantic import BaseModel

from server.errors import codes_of

DESCRIPTION = (
    "Image-similarity search. Results are ordered by Euclidean distance between features, nearest "
    "first. Every error has the shape {error: {code, message, hint}}, including 404 and 405 for "
    "paths and methods that are not described here."
)

SEARCH = Tag(
    name="search", description="Find images similar to an image, a vector, words or examples."
)
IMAGES = Tag(name="images", description="The indexed images: metadata, files and thumbnails.")
INDEX = Tag(name="index", description="The collection as a whole.")
OPERATIONS = Tag(name="operations", description="Health and metrics, for monitoring.")
TAGS = (SEARCH, IMAGES, INDEX, OPERATIONS)
"""In the order in which the page shows them."""

SECURITY_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The API key, for programs."},
    "basic": {
        "type": "http",
        "scheme": "basic",
        "description": "The API key as password, for browsers; with any user name.",
    },
}
SECURITY: list[dict[str, list[str]]] = [{"bearer": []}, {"basic": []}, {}]
"""A key in either form, or none if the server has no keys."""

ERROR_DESCRIPTIONS = {
    HTTPStatus.BAD_REQUEST: "The request or the image cannot be read.",
    HTTPStatus.UNAUTHORIZED: "The server requires an API key, and the request has no valid one.",
    HTTPStatus.FORBIDDEN: "The key may search, but this operation needs one of scope admin.",
    HTTPStatus.NOT_FOUND: "There is no such image, it was removed or changed, or no text has the "
    "words.",
    HTTPStatus.CONFLICT: "The index has no approximate search, or none of its metadata.",
    HTTPStatus.PRECONDITION_FAILED: "The content is not the one that If-Match names.",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "The upload has too many bytes or the image too many "
    "pixels: server.max_upload_bytes, server.max_pixels.",
    HTTPStatus.REQUEST_URI_TOO_LONG: "The URL is too long.",
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE: "The body is neither JSON nor a form, or the file is not an "
    "image of a supported format.",
    HTTPStatus.UNPROCESSABLE_ENTITY: "A field is missing, unknown or out of bounds; the message "
    "names it.",
    HTTPStatus.TOO_MANY_REQUESTS: "The client sent more requests than server.rate_limit allows.",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "The headers of the request are too large.",
    HTTPStatus.INTERNAL_SERVER_ERROR: "An unexpected error occurred; the server's log has it under "
    "the request's id.",
    HTTPStatus.SERVICE_UNAVAILABLE: "The server is busy, still loading, or has no index; the "
    "message says which.",
}
"""Every status of an operation's errors. Not 405: a method that is no operation answers it."""

COMMON_ERRORS = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.REQUEST_URI_TOO_LONG,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    HTTPStatus.INTERNAL_SERVER_ERROR,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
"""Errors that every operation can answer."""

ACCESS_ERRORS = (HTTPStatus.UNAUTHORIZED, HTTPStatus.TOO_MANY_REQUESTS)
"""Errors that every operation can answer except the health checks."""


def _header(description: str, kind: str = "string") -> dict[str, Any]:
    return {"description": description, "schema": {"type": kind}}


HEADERS = {
    "X-Request-Id": _header(
        "The id of the request, also in the server's log: the one the client sent, if it has up to "
        "64 letters, digits, dots, dashes and underscores, else a new one."
    ),
    "Retry-After": _header("Seconds to wait before the next try.", "integer"),
    "WWW-Authenticate": _header("Makes browsers ask for the key."),
    "X-RateLimit-Limit": _header(
        "With server.rate_limit: requests allowed in a period.", "integer"
    ),
    "X-RateLimit-Remaining": _header(
        "With server.rate_limit: requests left in this period.", "integer"
    ),
    "X-RateLimit-Reset": _header(
        "With server.rate_limit: when the next period begins, in seconds since 1970.", "integer"
    ),
    "ETag": _header(
        "Names the content. Send it as If-None-Match to get 304 for unchanged content."
    ),
    "Cache-Control": _header("immutable if the URL has the content's version as v."),
}
RATE_HEADERS = ("X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset")
CACHE_HEADERS = ("ETag", "Cache-Control")
ERROR_HEADERS = {
    HTTPStatus.UNAUTHORIZED: ("WWW-Authenticate",),
    HTTPStatus.TOO_MANY_REQUESTS: ("Retry-After", *RATE_HEADERS),
    HTTPStatus.SERVICE_UNAVAILABLE: ("Retry-After",),
}


def _example(summary: str, value: dict[str, Any]) -> dict[str, Any]:
    return {"summary": summary, "value": value}


BOX = {"x": 0.1, "y": 0.2, "width": 0.5, "height": 0.5}

EXAMPLES: dict[str, dict[str, Any]] = {
    "SearchStored": {
        "image_id": _example("Similar to an indexed image", {"image_id": 12, "k": 10}),
        "vector": _example(
            "Similar to a vector, here of an encoder with four dimensions",
            {"vector": [0.12, 0.0, 0.87, 0.48], "threshold": 1.1},
        ),
        "text": _example(
            "Similar to the images whose captions have both words", {"text": "surf board", "k": 10}
        ),
        "positives": _example(
            "Similar to two images, the second with half the weight, and not to a third",
            {
                "positives": [{"image_id": 12}, {"image_id": 15, "weight": 0.5}],
                "negatives": [{"image_id": 31}],
            },
        ),
        "filter": _example(
            "Similar to an indexed image, among some of the images, with counts of categories",
            {
                "image_id": 12,
                "filter": ["category=dog", "category!=person", "width>=640"],
                "facets": ["category"],
            },
        ),
        "crop": _example(
            "Similar to a region of an image, among some of the images",
            {
                "image_id": 12,
                "crop": BOX,
                "allowed": {"key_prefix": "cats/", "metadata": {"class": "tabby"}},
            },
        ),
    },
    "BatchStored": {
        "queries": _example(
            "Two searches", {"queries": [{"image_id": 12, "k": 5}, {"image_id": 15, "k": 5}]}
        )
    },
    "SearchAnswer": {
        "image_id": _example(
            "The nearest image to an indexed one: itself",
            {
                "version": "00000001",
                "encoder": {
                    "model": "vgg16",
                    "layer": "fc2",
                    "weights": "imagenet",
                    "dim": 4096,
                    "preprocessing": "bicubic 224x224, bgr, (x - (103.939, 116.779, 123.68)) * 1.0",
                    "fingerprint": "1f6e0c8a5d3b7294",
                    "random_weights": False,
                },
                "mode": "exact",
                "query": {
                    "kind": "image_id",
                    "image_id": 12,
                    "text": None,
                    "url": None,
                    "crop": None,
                    "allowed": None,
                    "filter": [],
                    "positives": [],
                    "negatives": [],
                    "k": 1,
                    "page": 1,
                    "threshold": None,
                    "collapse_duplicates": False,
                    "note": "",
                },
                "timings_ms": {"decode": 0.0, "encode": 0.0, "search": 1.9, "total": 2.2},
                "results": [
                    {
                        "rank": 1,
                        "image_id": 12,
                        "key": "000000000139.jpg",
                        "distance": 0.0,
                        "cosine": 1.0,
                        "percentile": 0.0,
                        "share_alike": None,
                        "url": "/api/v1/images/12/file?v=3f2a90c1d7e4",
                        "thumbnail_url": "/api/v1/images/12/thumbnail?v=3f2a90c1d7e4",
                        "metadata": {"caption": ["A dining room with a table and chairs."]},
                        "duplicates": [],
                    }
                ],
                "more": True,
                "no_match": False,
                "label_field": "folder",
            },
        )
    },
}


def cacheable_file(media_type: str) -> dict[Any, Any]:
    """Return an operation's ``responses`` for a file that clients can cache and revalidate."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {
        HTTPStatus.OK: {"content": content},
        HTTPStatus.NOT_MODIFIED: {"headers": _headers(*CACHE_HEADERS)},
    }


def cacheable_answer(model: type[BaseModel]) -> dict[Any, Any]:
    """Return an operation's ``responses`` for JSON that clients can revalidate."""
    return {HTTPStatus.OK: model, HTTPStatus.NOT_MODIFIED: {"headers": _headers(*CACHE_HEADERS)}}


def complete(document: dict[str, Any]) -> None:
    """Add to the generated document what many operations share."""
    document["tags"] = [tag.model_dump(exclude_none=True) for tag in TAGS]
    components = document["components"]
    components["headers"] = HEADERS
    components["responses"] = {
        f"Error{status.value}": _error(status) for status in ERROR_DESCRIPTIONS
    }
    for operations in document["paths"].values():
        for operation in operations.values():
            _complete(operation)


def register(app: OpenAPI) -> None:
    """Add ``/openapi.json``, and the files of Swagger UI for the page that shows it."""
    swagger = str(resources.files("flask_openapi_swagger") / "templates" / "swagger")

    @app.route("/openapi.json")
    def openapi_document() -> Response:
        return jsonify({**app.api_doc, "servers": [{"url": request.script_root or "/"}]})

    @app.route("/docs/<path:name>")
    def docs_file(name: str) -> Response:
        return send_from_directory(swagger, name, max_age=86_400)


def _complete(operation: dict[str, Any]) -> None:
    """Add to an operation the errors and headers that many operations share."""
    is_health_check = "security" not in operation
    declared = {int(status): answer for status, answer in operation["responses"].items()}
    if "parameters" not in operation and "requestBody" not in operation:
        del declared[HTTPStatus.UNPROCESSABLE_ENTITY]  # which the library adds everywhere
    headers = _headers("X-Request-Id", *(() if is_health_check else RATE_HEADERS))
    cached = _headers(*(CACHE_HEADERS if HTTPStatus.NOT_MODIFIED in declared else ()))
    for status, answer in declared.items():
        if status < HTTPStatus.BAD_REQUEST:
            answer["headers"] = answer.get("headers", {}) | cached | headers
    errors = {status for status in declared if status >= HTTPStatus.BAD_REQUEST}
    for status in errors.union(COMMON_ERRORS, () if is_health_check else ACCESS_ERRORS):
        declared[status] = {"$ref": f"#/components/responses/Error{int(status)}"}
    operation["responses"] = {str(status): declared[status] for status in sorted(declared)}
    for body in (operation.get("requestBody", {}), *declared.values()):
        _add_examples(body)


def _add_examples(body: dict[str, Any]) -> None:
    """Add the examples of its models to the body of a request or an answer."""
    for media_type in body.get("content", {}).values():
        model = media_type["schema"].get("$ref", "").rpartition("/")[2]
        if model in EXAMPLES:
            media_type["examples"] = EXAMPLES[model]


def _error(status: HTTPStatus) -> dict[str, Any]:
    """Return the shared response for a status of errors."""
    description, codes = ERROR_DESCRIPTIONS[status], codes_of(status)
    example = {
        "code": codes[0],
        "message": description,
        "hint": "What to do about it.",
    }
    return {
        "description": f"{description} Code: {', '.join(f'`{code}`' for code in codes)}.",
        "headers": _headers("X-Request-Id", *ERROR_HEADERS.get(status, ())),
        "content": {
            "application/json": {
                "schema": {"$ref": "#/components/schemas/Error"},
                "example": {"error": example},
            }
        },
    }


def _headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
