"""What crosses the wire: bodies that become models, and models that become answers."""

from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Response, request
from flask_openapi import APIBlueprint
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from server.errors import invalid_request
from server.index_holder import index_holder

Model = TypeVar("Model", bound=BaseModel)
Schema = Mapping[str, Any]

JSON = "application/json"
FORM = "multipart/form-data"
NDJSON = "application/x-ndjson"


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


def uploaded_files() -> dict[str, bytes]:
    """Return the files of an upload form. Raises RequestEntityTooLarge beyond the limit."""
    files = {name: file.read() for name, file in request.files.items()}
    if len(files.get("image", b"")) > index_holder().config.server.max_upload_bytes:
        raise RequestEntityTooLarge
    return files


def answer(model: BaseModel) -> Response:
    """Return a model as the answer, JSON on one line."""
    return Response(model.model_dump_json(), mimetype=JSON)
