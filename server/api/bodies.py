"""Bodies of requests and answers: from JSON and forms to models, and from models to JSON."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Response, request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from server.current_index import current_index
from server.errors import InvalidRequest, invalid_request

Model = TypeVar("Model", bound=BaseModel)
Schema = Mapping[str, Any]

JSON = "application/json"
FORM = "multipart/form-data"
NDJSON = "application/x-ndjson"

MAX_JSON_BYTES = 10_000_000
"""Enough for a batch of 100 vectors of 4,096 numbers, which has up to 9 MB."""

MAX_FIELDS = 64
"""More fields than any JSON object of a request can have."""


def content(
    blueprint: APIBlueprint, media_types: Mapping[str, type[BaseModel] | Schema]
) -> dict[str, Any]:
    """Return the ``content`` of a body that has several media types, for the OpenAPI document.

    The OpenAPI library supports one model for each body. Where there are several, the view chooses
    the model by media type, and this function adds the models to the document.
    """
    documented = {}
    for media_type, model in media_types.items():
        if isinstance(model, Mapping):
            documented[media_type] = {"schema": model}
            continue
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        # As plain dicts: the library's schema type drops keywords that it does not know.
        blueprint.components_schemas |= {**schema.pop("$defs", {}), model.__name__: schema}
        documented[media_type] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {"content": documented}


def validate(model: type[Model], fields: object) -> Model:
    """Return the model made of the fields. Raises :class:`~server.errors.InvalidRequest`."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


def json_body() -> object:
    """Return the JSON of the request, which has a limited number of fields.

    Validation makes an error for each unknown field: for a million of them it takes gigabytes.
    Raises BadRequest, RequestEntityTooLarge or :class:`~server.errors.InvalidRequest`.
    """
    limit = min(MAX_JSON_BYTES, request.max_content_length or MAX_JSON_BYTES)
    if (request.content_length or 0) > limit:
        raise RequestEntityTooLarge(
            f"The JSON has {request.content_length:,} bytes; the limit is {limit:,}."
        )
    request.max_content_length = limit + 1  # a longer chunked body is cut there, without an error
    data = request.get_data()
    if len(data) > limit:
        raise RequestEntityTooLarge(f"The JSON has more bytes than the limit of {limit:,}.")
    try:
        body = json.loads(data)
        _check_fields(body)
    except RecursionError:
        raise BadRequest("The JSON is nested too deeply.") from None
    except ValueError as error:
        raise BadRequest(f"The body is not JSON: {error}.") from None
    return body


def _check_fields(value: object) -> None:
    if isinstance(value, dict):
        if len(value) > MAX_FIELDS:
            raise InvalidRequest(
                f"An object has {len(value):,} fields; the limit is {MAX_FIELDS}.",
                "The API is described at /docs.",
            )
        for part in value.values():
            _check_fields(part)
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        for part in value:
            _check_fields(part)


def form_fields() -> dict[str, str]:
    """Return the text fields of a form.

    Raises :class:`~server.errors.InvalidRequest` if a field was sent more than once.
    """
    for name, texts in request.form.lists():
        if len(texts) > 1:
            raise InvalidRequest(f"{name}: sent {len(texts)} times.", "Send it once.")
    return request.form.to_dict()


def uploaded_image() -> dict[str, bytes]:
    """Return the uploaded files by field name; the model refuses all but ``image``.

    Raises :class:`~server.errors.InvalidRequest` if there are several images, and
    RequestEntityTooLarge if the image is too large.
    """
    if len(request.files.getlist("image")) > 1:
        raise InvalidRequest(
            "image: a search takes one image.", "Send several to /api/v1/search/batch."
        )
    files = {name: file.read() for name, file in request.files.items()}
    size, limit = len(files.get("image", b"")), current_index().config.server.max_upload_bytes
    if size > limit:
        raise RequestEntityTooLarge(f"The image has {size:,} bytes; the limit is {limit:,}.")
    return files


def json_answer(model: BaseModel) -> Response:
    """Return a model as a JSON answer."""
    return Response(model.model_dump_json(), mimetype=JSON)


def local_url(path: str) -> str:
    """Return the URL of a path of this server, below the prefix that a proxy may add."""
    return f"{request.script_root}{path}"
