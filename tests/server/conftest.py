"""A client of the real application; every answer is compared with the OpenAPI document."""

from collections.abc import Callable, Iterator
from functools import partialmethod
from typing import Any, NamedTuple

import pytest
from flask import Response, request, request_finished
from flask.testing import FlaskClient
from flask_openapi.utils import parse_rule
from werkzeug.test import Client

from indexer.config import Config
from server.app import Application
from server.errors import CODES
from tests.server.helpers import ready_app
from tests.server.processes import running_server


@pytest.fixture(scope="session")
def client(demo_config: Config) -> FlaskClient:
    return ready_app(demo_config).test_client()


def _buffered_open(
    client: Client, unbuffered: Callable[..., Any], *args: Any, buffered: bool = True, **more: Any
) -> Any:
    return unbuffered(client, *args, buffered=buffered, **more)


@pytest.fixture(autouse=True)
def _read_every_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read each answer to its end and close it, as WSGI servers do, unless ``buffered=False``."""
    for kind in (Client, FlaskClient):  # schemathesis uses the first
        monkeypatch.setattr(kind, "open", partialmethod(_buffered_open, kind.open))


class RecordedAnswer(NamedTuple):
    """An answer of an application, and the application's OpenAPI document."""

    document: dict[str, Any]
    method: str
    path: str
    response: Response


@pytest.fixture(autouse=True)
def _check_every_answer() -> Iterator[None]:
    """Compare every answer in every test with the OpenAPI document."""
    answers: list[RecordedAnswer] = []

    def record(app: Application, response: Response, **_: object) -> None:
        path = parse_rule(request.url_rule.rule) if request.url_rule else ""
        method = "get" if request.method == "HEAD" else request.method.lower()
        answers.append(RecordedAnswer(app.api_doc, method, path, response))

    with request_finished.connected_to(record):
        yield
    for answer in answers:
        _check_answer(answer)


def _check_answer(answer: RecordedAnswer) -> None:
    document, response = answer.document, answer.response
    if response.status_code >= 400 and response.mimetype == "application/json":
        code = response.json["error"]["code"]  # type: ignore[index]
        assert CODES[code].status == response.status_code
    operation = document["paths"].get(answer.path, {}).get(answer.method)
    if operation is None:
        return
    asked = f"{answer.method} {answer.path} {response.status_code}"
    assert str(response.status_code) in operation["responses"], asked
    documented = operation["responses"][str(response.status_code)]
    if "$ref" in documented:
        documented = document["components"]["responses"][documented["$ref"].rpartition("/")[2]]
    promised = {name for name in documented["headers"] if not name.startswith("X-RateLimit")}
    assert promised <= set(response.headers.keys()), asked


@pytest.fixture(scope="module")
def small(demo_config: Config) -> Iterator[int]:
    """A server with two slots that accepts uploads up to 100 kB."""
    with running_server(demo_config, "/readyz", threads=2, max_upload_bytes=100_000) as (_, port):
        yield port
