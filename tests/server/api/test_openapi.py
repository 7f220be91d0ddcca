"""The OpenAPI document says what the application does, all of it and nothing else.

That every answer of every test is documented is checked by a fixture, see ``conftest.py``.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from flask.testing import FlaskClient
from flask_openapi.utils import parse_rule
from openapi_spec_validator import validate

from indexer import errors
from server.api import requests, search_answers
from server.api.openapi import ERROR_DESCRIPTIONS, EXAMPLES
from server.errors import CODES
from tests.conftest import ROOT

Document = dict[str, Any]


@pytest.fixture(scope="module")
def document(client: FlaskClient) -> Document:
    found: Document = client.get("/openapi.json", buffered=True).json  # type: ignore[assignment]
    return found


def operations(document: Document) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every operation with its method and path."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_the_document_is_valid_and_has_every_route(client: FlaskClient, document: Document) -> None:
    validate(document)
    assert document["openapi"].startswith("3.1")
    rules = {
        f"{method.lower()} {parse_rule(rule.rule)}"
        for rule in client.application.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith(("/api/", "/healthz", "/readyz", "/metrics"))
    }
    assert rules == dict(operations(document)).keys()


def test_every_operation_may_be_refused_and_fail(document: Document) -> None:
    """By the proxy or gunicorn, when the server is busy, or by a fault."""
    for name, operation in operations(document):
        documented = {int(status) for status in operation["responses"]}
        assert documented >= {400, 414, 431, 500, 503}, name
        assert (401 in documented) == (429 in documented) == ("security" in operation), name
        assert (413 in documented) == (415 in documented) == ("requestBody" in operation), name
        assert (422 in documented) == bool({"requestBody", "parameters"} & operation.keys()), name


def test_every_scheme_of_security_is_described(document: Document) -> None:
    schemes = document["components"]["securitySchemes"]
    assert {scheme["scheme"] for scheme in schemes.values()} == {"bearer", "basic"}
    for name, operation in operations(document):
        asked = {scheme for choice in operation.get("security", []) for scheme in choice}
        assert asked in (set(), set(schemes)), name


def test_every_operation_has_a_name_and_a_tag(document: Document) -> None:
    """Generated clients name functions after them, so they must not change."""
    assert {name: found["operationId"] for name, found in operations(document)} == {
        "post /api/v1/search": "search",
        "post /api/v1/search/batch": "searchBatch",
        "post /api/v1/embed": "embed",
        "get /api/v1/images": "listImages",
        "get /api/v1/images/{image_id}": "getImage",
        "get /api/v1/images/{image_id}/file": "getImageFile",
        "get /api/v1/images/{image_id}/thumbnail": "getImageThumbnail",
        "get /api/v1/images/{image_id}/why/{other_id}": "explain",
        "get /api/v1/index": "getIndex",
        "get /api/v1/map": "getMap",
        "get /api/v1/map/marks": "getMapMarks",
        "get /api/v1/reports/{name}": "getReport",
        "get /healthz": "getHealth",
        "get /readyz": "getReadiness",
        "get /metrics": "getMetrics",
    }
    tags = [tag["name"] for tag in document["tags"] if tag["description"]]
    assert tags == ["search", "images", "index", "operations"]
    for name, operation in operations(document):
        (tag,) = operation["tags"]
        assert tag in tags, name


def test_everything_is_described(document: Document) -> None:
    described = document["components"]["schemas"]
    for name, schema in described.items():
        assert schema["description"], name
        for field, about in schema["properties"].items():
            of_its_type = described.get(about.get("$ref", "").rpartition("/")[2], {})
            assert about.get("description") or of_its_type.get("description"), f"{name}.{field}"
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert all(parameter["description"] for parameter in operation.get("parameters", [])), name


def test_files_are_binary_and_json_in_forms_says_that_it_is_text(document: Document) -> None:
    binary = {"type": "string", "format": "binary"}
    form = document["components"]["schemas"]["SearchUpload"]["properties"]
    images = document["components"]["schemas"]["BatchUpload"]["properties"]["image"]
    assert binary.items() <= form["image"].items()
    assert images["items"] == binary
    for path in ("images/{image_id}/file", "images/{image_id}/thumbnail", "map"):
        answer = document["paths"][f"/api/v1/{path}"]["get"]["responses"]["200"]
        assert [content["schema"] for content in answer["content"].values()] == [binary]
    for field in ("crop", "allowed", "positives", "negatives"):
        assert form[field]["description"].endswith("JSON, as text.")
        (example,) = form[field]["examples"]
        assert requests.SearchUpload.model_validate({"image": b"", field: example})


def test_examples_are_valid(client: FlaskClient, document: Document) -> None:
    written = json.dumps(document)
    models = (requests.SearchStored, requests.BatchStored, search_answers.SearchAnswer)
    assert [model.__name__ for model in models] == [*EXAMPLES]
    for model in models:
        assert json.dumps(EXAMPLES[model.__name__]) in written
        for example in EXAMPLES[model.__name__].values():
            model.model_validate(example["value"])
    answer = client.post("/api/v1/search", json={"image_id": 3, "k": 1}).json
    (shown,) = EXAMPLES["SearchAnswer"].values()
    readme = (ROOT / "README.md").read_text().partition("An answer:\n\n```json\n")[2]
    for example in (shown["value"], json.loads(readme.partition("```")[0])):
        assert names(example) == names(answer)


def names(value: Any) -> Any:
    """The names of an object's members, recursively, without those of metadata."""
    if isinstance(value, list):
        return [names(item) for item in value]
    if isinstance(value, dict):
        return {name: names(item) for name, item in value.items() if name != "metadata"}
    return None


def test_every_error_is_described_once(document: Document) -> None:
    assert {code.status for code in CODES.values()} - set(ERROR_DESCRIPTIONS) == {
        405,
        416,
    }  # fmt: skip -- which no operation answers
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert response == {"$ref": f"#/components/responses/Error{status}"}, name


def test_every_domain_error_has_a_status_or_is_the_operators_business() -> None:
    codes = {
        error.code
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.LookalikeError)
    }
    never_in_a_request = {
        "error", "config_error", "dataset_error", "disk_too_small", "export_error",
        "extraction_stalled", "index_would_shrink", "indexes_differ", "no_graph",
        "object_storage_error", "remote_error", "server_error", "store_busy", "unknown_version",
    }  # fmt: skip
    of_the_server = {"invalid_request", "no_report", "not_ready", "overloaded", "url_refused"}
    of_http = {
        "bad_request", "unauthorized", "forbidden", "not_found", "method_not_allowed",
        "precondition_failed", "upload_too_large", "address_too_long", "unsupported_media_type",
        "range_not_satisfiable", "too_many_requests", "header_too_large", "internal_error",
    }  # fmt: skip
    assert codes - never_in_a_request == CODES.keys() - of_the_server - of_http


def test_every_code_is_in_the_table_of_errors_with_its_status() -> None:
    section = (ROOT / "docs" / "api.md").read_text().partition("## Errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([\d, ]+) \| ([^|]+) \|", section, re.M)
    listed = {}
    for statuses, codes in rows:
        found = re.findall(r"`(\w+)`", codes)
        assert {str(CODES[code].status.value) for code in found} == set(statuses.split(", "))
        listed |= dict.fromkeys(found, statuses)
    assert listed.keys() == CODES.keys()


def test_the_readme_asks_every_route_and_no_other(document: Document) -> None:
    readme = (ROOT / "README.md").read_text().partition("## The HTTP API")[2].partition("\n## ")[0]
    asked = set(re.findall(r"http://127\.0\.0\.1:8000(/[\w/]+)", readme))
    ids = {"{image_id}": "12", "{other_id}": "15", "{name}": "duplicates"}
    paths = {re.sub(r"{\w+}", lambda name: ids[name[0]], path) for path in document["paths"]}
    assert asked == paths
