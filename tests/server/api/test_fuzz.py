"""Generated requests: every answer must be a documented one."""

import os
import random
import struct
import zipfile
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from PIL import Image
from schemathesis import checks
from schemathesis.specs.openapi import checks as documented

from indexer.config import Config
from tests.server.helpers import assert_error, ready_app, upload

LONG = bool(os.environ.get("FUZZ_LONG"))
"""With FUZZ_LONG=1 thousands of random requests, else a few, always the same."""

OPERATIONS = [
    "POST /api/v1/search",
    "POST /api/v1/search/batch",
    "POST /api/v1/embed",
    "GET /api/v1/images",
    "GET /api/v1/images/{image_id}",
    "GET /api/v1/images/{image_id}/file",
    "GET /api/v1/images/{image_id}/thumbnail",
    "GET /api/v1/images/{image_id}/why/{other_id}",
    "GET /api/v1/index",
    "GET /api/v1/map",
    "GET /api/v1/map/marks",
    "GET /api/v1/reports/{name}",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
]
CHECKS = [
    checks.not_a_server_error,
    documented.status_code_conformance,
    documented.content_type_conformance,
    documented.response_schema_conformance,
]


@pytest.fixture(scope="module")
def operations(demo_config: Config) -> dict[str, Any]:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", ready_app(demo_config))
    return {found.ok().label: found.ok() for found in schema.get_all_operations()}


def test_every_operation_is_tried(operations: dict[str, Any]) -> None:
    assert set(operations) == set(OPERATIONS)


@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode))
@pytest.mark.parametrize("operation", OPERATIONS)
def test_generated_requests_get_documented_answers(
    operations: dict[str, Any], operation: str, mode: schemathesis.GenerationMode
) -> None:
    """Valid and invalid requests, generated from the OpenAPI document."""

    @given(case=operations[operation].as_strategy(generation_mode=mode))
    @settings(
        max_examples=300 if LONG else 15,
        deadline=None,
        derandomize=not LONG,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def ask(case: schemathesis.Case) -> None:
        case.call_and_validate(checks=CHECKS)

    try:
        ask()
    except (Unsatisfiable, SkipTest):
        pytest.skip("there is no such request of this operation")


def mutated(data: bytes, chance: random.Random) -> bytes:
    """An image file with some bytes changed, removed, repeated or cut off."""
    changed = bytearray(data)
    for _ in range(chance.randint(1, 12)):
        place = chance.randrange(len(changed))
        kind = chance.randrange(4)
        if kind == 0:
            changed[place] = chance.randrange(256)
        elif kind == 1:
            del changed[place : place + chance.randint(1, 64)]
        elif kind == 2:
            changed[place:place] = changed[place : place + chance.randint(1, 64)]
        elif len(changed) > 400:
            del changed[place + 200 :]
    return bytes(changed)


def test_mutated_images_are_answered_or_refused(client: FlaskClient, photos: list[Path]) -> None:
    chance = random.Random(None if LONG else 7)  # noqa: S311 -- mutations, no secrets
    originals = [photos[0].read_bytes(), photos[9].read_bytes()]
    for kind in ("PNG", "GIF", "WEBP", "BMP", "TIFF"):
        buffer = BytesIO()
        Image.open(photos[3]).resize((90, 60)).save(buffer, kind)
        originals.append(buffer.getvalue())
    seen = set()
    for _ in range(3000 if LONG else 150):
        data = mutated(chance.choice(originals), chance)
        answer = upload(client, data, k=1)
        seen.add(answer.status_code)
        assert answer.status_code in (200, 400, 413, 415), (answer.text, data[:40])
    assert {200, 400} <= seen


def png_of(width: int, height: int, idat: bytes) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", idat) + chunk(b"IEND", b"")


def test_bombs_are_refused_by_their_heads(client: FlaskClient) -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)  # 50 kB that become gigabytes of pixels
    assert_error(upload(client, png_of(60_000, 60_000, bomb)), 413, "image_too_large")
    buffer = BytesIO()
    Image.new("L", (1, 1)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    start = jpeg.index(b"\xff\xc0") + 5
    huge = jpeg[:start] + struct.pack(">HH", 65_000, 65_000) + jpeg[start + 4 :]
    assert_error(upload(client, huge), 413, "image_too_large")


def test_compressed_text_beyond_all_bounds_is_refused(client: FlaskClient) -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    text = b"zTXt" + b"a\0\0" + bomb
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    png = png_of(4, 4, zlib.compress(bytes(52)))
    assert upload(client, png[:33] + chunk + png[33:]).status_code in (200, 400)


def archive() -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a", bytes(1_000_000))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        archive(),
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>",
        b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n",
        b"<html><script>alert(1)</script></html>",
        b"GIF89a",
        b"P6 10 10 255\n" + bytes(300),
    ],
)
def test_what_is_not_on_the_list_of_formats_is_refused(client: FlaskClient, data: bytes) -> None:
    assert upload(client, data).status_code in (400, 415)


def test_an_image_that_is_also_something_else_is_an_image(
    client: FlaskClient, photos: list[Path]
) -> None:
    """A browser gets it with the type of the image, and does not sniff another."""
    data = photos[0].read_bytes() + b"<script>alert(1)</script>" + archive()
    answer = upload(client, data)
    assert answer.status_code == 200
    file = client.get(answer.json["results"][0]["url"])  # type: ignore[index]
    assert (file.mimetype, file.headers["X-Content-Type-Options"]) == ("image/jpeg", "nosniff")


@pytest.mark.parametrize(
    "form",
    [
        b"",
        b"--b",
        b"--b\r\n\r\n\r\n--b--",
        b"--b\r\nContent-Disposition: form-data; name=image; filename=a\r\n\r\n",
        b'--b\r\nContent-Disposition: form-data; name="image\r\n\r\nx\r\n--b--',
        b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\nx\r\n--b--",
        b"--b\r\nContent-Disposition: form-data; name=k\r\n\r\n1\r\n" * 500 + b"--b--",
        b"\xff" * 1000,
    ],
)
def test_malformed_forms_are_refused(client: FlaskClient, form: bytes) -> None:
    media_type = "multipart/form-data; boundary=b"
    for path in ("/api/v1/search", "/api/v1/search/batch", "/api/v1/embed"):
        answer = client.post(path, data=form, content_type=media_type)
        assert answer.status_code in (400, 413, 415, 422), answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static//etc/passwd",
        "/docs/..%2f..%2f__init__.py",
    ],
)
def test_paths_outside_the_routes_are_not_found(client: FlaskClient, path: str) -> None:
    assert client.get(path, follow_redirects=True).status_code == 404


def test_no_header_can_be_made_from_a_request(client: FlaskClient, photos: list[Path]) -> None:
    asked = client.get("/?image_id=1%0d%0aX-Evil:%201&drop=2%0d%0aX-Evil:%201")
    also = client.get("/export.csv?image_id=1&name=%0d%0aX-Evil:1")
    for answer in (asked, also):
        assert "X-Evil" not in answer.headers
