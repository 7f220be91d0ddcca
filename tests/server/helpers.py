"""Helpers that send requests to the application and check its answers."""

import re
from html import unescape
from io import BytesIO
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.datastructures import FileStorage, MultiDict
from werkzeug.test import TestResponse, encode_multipart

from indexer.config import Config
from server.app import Application, create_app
from server.current_index import CurrentIndex

BATCH = "/api/v1/search/batch"


def ready_app(config: Config) -> Application:
    """Return the application with its encoder loaded."""
    app = create_app(config)
    current: CurrentIndex = app.extensions["current_index"]
    current.searcher().load_encoder()
    return app


def upload(client: FlaskClient, data: bytes, **fields: object) -> TestResponse:
    boundary, form = encode_multipart({"image": FileStorage(BytesIO(data), "photo.jpg"), **fields})
    content_type = f"multipart/form-data; boundary={boundary}"
    return client.post("/api/v1/search", data=form, content_type=content_type)


def body(response: TestResponse) -> dict[str, Any]:
    assert isinstance(response.json, dict)
    return response.json


def assert_error(response: TestResponse, status: int, code: str) -> dict[str, str]:
    """Check the shape of an error, its status and its code."""
    assert response.status_code == status, response.text
    assert set(body(response)) == {"error"}
    error: dict[str, str] = body(response)["error"]
    assert set(error) == {"code", "message", "hint"}
    assert error["code"] == code
    assert error["message"]
    assert error["hint"]
    assert "Traceback" not in response.text
    return error


def png(width: int, height: int) -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (width, height)).save(buffer, "PNG")
    return buffer.getvalue()


def ask(client: FlaskClient, **query: Any) -> dict[str, Any]:
    return body(client.post("/api/v1/search", json=query))


def form_fields(page: str) -> MultiDict[str, str]:
    """Return the hidden fields of the state form."""
    (form,) = re.findall(r'<form class="controls".*?</form>', page, re.S)
    pairs = re.findall(r'type="hidden" name="([^"]*)" value="([^"]*)"', form)
    return MultiDict((name, unescape(value)) for name, value in pairs)
