"""Images that are damaged, too large or too much for the memory: what the API says."""

import struct
import zlib
from pathlib import Path

from flask.testing import FlaskClient

from indexer.build import build
from indexer.config import Config
from tests.indexer.images.matrix.writers import chunk
from tests.server.helpers import assert_error, body, ready_app, upload

NOTE = "The file ends without an end marker."


def test_damage_is_noted_of_queries_and_of_indexed_images(config: Config, images: Path) -> None:
    for photo in images.rglob("*.jpg"):
        photo.write_bytes(photo.read_bytes().removesuffix(b"\xff\xd9"))
    build(config)
    client = ready_app(config).test_client()
    image = body(client.get("/api/v1/images/1"))
    assert image["note"] == NOTE
    data = (images / image["key"]).read_bytes()
    answer = body(upload(client, data, k=1))
    assert answer["query"]["note"] == NOTE
    assert answer["results"][0]["distance"] < 1e-5
    answer = body(upload(client, data + b"\xff\xd9", k=1))
    assert answer["query"]["note"] == ""
    assert answer["results"][0]["distance"] < 1e-5
    assert NOTE in client.get("/images/1").text
    page = client.post("/", data={"image": ((images / image["key"]).open("rb"), "a.jpg")})
    assert f"<strong>The image file is damaged.</strong> {NOTE}" in page.text


def test_a_picture_of_one_column_is_refused_by_its_header(client: FlaskClient) -> None:
    """74 bytes, which took two gigabytes and ended as an internal error."""
    header = struct.pack(">IIBBBBB", 1, 100_000_000, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    response = upload(client, b"\x89PNG\r\n\x1a\n" + body)
    assert (
        "no side may have more than 65,500"
        in assert_error(response, 413, "image_too_large")["message"]
    )
