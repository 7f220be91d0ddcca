"""Bodies of requests and answers: from forms to models, and from models to JSON."""

from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Response, request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from server.current_index import current_index
from server.errors import InvalidRequest, invalid_request

Model = TypeVar("Model", bound=BaseModel)
Schema = Mapping[str, Any]

JSON = "application/json"
FORM = "multipart/form-data"
NDJSON = "application/x-ndjson"

FILTER = "filter"
"""The one field of a form that may be repeated, beside the images of a batch."""


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


def form_fields() -> dict[str, str | list[str]]:
    """Return the text fields of a form. There is a clause of a filter in each field ``filter``.

    Raises :class:`~server.errors.InvalidRequest` if another field was sent more than once.
    """
    fields: dict[str, str | list[str]] = {}
    for name, texts in request.form.lists():
        if len(texts) > 1 and name != FILTER:
            raise InvalidRequest(f"{name}: sent {len(texts)} times.", "Send it once.")
        fields[name] = texts if name == FILTER else texts[0]
    return fields


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
