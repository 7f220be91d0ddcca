"""What crosses the wire: bodies that become models, and models that become answers."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Response, request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from server.current_index import index_holder
from server.errors import InvalidRequest, invalid_request

Model = TypeVar("Model", bound=BaseModel)
Schema = Mapping[str, Any]

JSON = "application/json"
FORM = "multipart/form-data"
NDJSON = "application/x-ndjson"

MAX_JSON_BYTES = 10_000_000
"""A batch of 100 vectors of 4,096 numbers has up to 9 MB."""

MAX_FIELDS = 64
"""More fields than any object of a request has."""


def content(
    blueprint: APIBlueprint, media_types: Mapping[str, type[BaseModel] | Schema]
) -> dict[str, Any]:
    """Document what may come in several media types, each with its own model or schema.

    The OpenAPI library takes one model per body and per answer. Where there are several the view
    picks the model by media type, and the same models are registered here for the document.
    """
    documented = {}
    for media_type, model in media_types.items():
        if isinstance(model, Mapping):
            documented[media_type] = {"schema": model}
            continue
        schema = model.model_json_schema(ref_template="#/components/schemas/{model}")
        # As they are: the library's own type for schemas would leave out what it does not know.
        blueprint.components_schemas |= {**schema.pop("$defs", {}), model.__name__: schema}
        documented[media_type] = {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}
    return {"content": documented}


def validated(model: type[Model], fields: object) -> Model:
    """Return the model of some fields. Raises :class:`~server.errors.InvalidRequest`."""
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        raise invalid_request(error) from None


def json_body() -> object:
    """Return the JSON of the request, of no more fields than any request has.

    Every field that is not known makes an error of its own: a million of them take gigabytes.
    Raises BadRequest, RequestEntityTooLarge or :class:`~server.errors.InvalidRequest`.
    """
    limit = min(MAX_JSON_BYTES, request.max_content_length or MAX_JSON_BYTES)
    if (request.content_length or 0) > limit:
        raise RequestEntityTooLarge(
            f"The JSON has {request.content_length:,} bytes; the limit is {limit:,}."
        )
    request.max_content_length = limit + 1  # a chunked body is cut there without a word
    data = request.get_data()
    if len(data) > limit:
        raise RequestEntityTooLarge(f"The JSON has more bytes than the limit, {limit:,}.")
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
                f"There are {len(value):,} fields where there can be {MAX_FIELDS} at most.",
                "The API is described at /docs.",
            )
        for part in value.values():
            _check_fields(part)
    elif isinstance(value, list) and value and isinstance(value[0], dict | list):
        for part in value:
            _check_fields(part)


def form_fields() -> dict[str, str]:
    """Return the text fields of a form. Raises :class:`~server.errors.InvalidRequest`."""
    for name, texts in request.form.lists():
        if len(texts) > 1:
            raise InvalidRequest(f"{name}: sent {len(texts)} times.", "Send it once.")
    return request.form.to_dict()


def uploaded_image() -> dict[str, bytes]:
    """Return the file of an upload form, and others under their names, to be refused.

    Raises :class:`~server.errors.InvalidRequest` if there are several images, and
    RequestEntityTooLarge beyond the limit.
    """
    if len(request.files.getlist("image")) > 1:
        raise InvalidRequest(
            "image: one search takes one.", "Send several to /api/v1/search/batch."
        )
    files = {name: file.read() for name, file in request.files.items()}
    size, limit = len(files.get("image", b"")), index_holder().config.server.max_upload_bytes
    if size > limit:
        raise RequestEntityTooLarge(f"The image has {size:,} bytes; the limit is {limit:,}.")
    return files


def answer(model: BaseModel) -> Response:
    """Return a model as the answer, JSON on one line."""
    return Response(model.model_dump_json(), mimetype=JSON)


def here(path: str) -> str:
    """Return where a path of this server's is found: below the prefix of a proxy, if it has one."""
    return f"{request.script_root}{path}"
