"""Forms: their limits from both sides, and images that have no file name."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from indexer.config import Config
from server.api.forms import FORM_OVERHEAD_BYTES, MAX_PARTS
from tests.conftest import small_config
from tests.server.helpers import BATCH, assert_error, body, png, ready_app

SEARCH, EMBED = "/api/v1/search", "/api/v1/embed"
URLENCODED = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=b"


def part(name: str, content: bytes, *more: str) -> bytes:
    lines = [f'Content-Disposition: form-data; name="{name}"', *more, "", ""]
    return b"--b\r\n" + "\r\n".join(lines).encode() + content + b"\r\n"


def post(client: FlaskClient, path: str, *parts: bytes) -> TestResponse:
    return client.post(path, data=b"".join(parts) + b"--b--\r\n", content_type=MULTIPART)


def urlencoded(client: FlaskClient, text: bytes) -> TestResponse:
    headers = {"Accept": "application/json"}
    return client.post("/", data=text, content_type=URLENCODED, headers=headers)


@pytest.mark.parametrize("size", [0, 400_000])
@pytest.mark.parametrize("more", [[], ["Content-Type: image/jpeg"]])
def test_an_image_needs_no_file_name(
    client: FlaskClient, photos: list[Path], size: int, more: list[str]
) -> None:
    """RFC 7578, 4.2. It may be larger than the fields of a form."""
    image = part("image", photos[0].read_bytes() + bytes(size), *more)
    found = body(post(client, SEARCH, image, part("k", b"1")))
    assert found["query"]["kind"] == "image"
    assert found["results"][0]["distance"] < 1e-5
    assert len(body(post(client, BATCH, image, image))["answers"]) == 2
    assert len(body(post(client, EMBED, image))["vector"]) == 1280
    assert 'id="results"' in post(client, "/", image).text


def test_the_limit_of_an_image_holds_without_a_file_name(demo_config: Config) -> None:
    server = {"max_upload_bytes": 400_000}
    root, store = demo_config.dataset.roots[0], demo_config.store
    client = ready_app(small_config(root, store, server=server)).test_client()
    image = png(100, 100)
    for size, status in ((400_000, 200), (400_001, 413)):
        padded = image + bytes(size - len(image))
        assert post(client, SEARCH, part("image", padded)).status_code == status


def test_as_many_parts_as_a_form_may_have_and_one_more(client: FlaskClient) -> None:
    for count, status, code in (
        (MAX_PARTS, 422, "invalid_request"),
        (MAX_PARTS + 1, 413, "upload_too_large"),
    ):
        answer = post(client, SEARCH, *(part(f"f{n}", b"") for n in range(count)))
        assert_error(answer, status, code)


def test_the_texts_of_a_form_have_one_limit(client: FlaskClient) -> None:
    """In one field or in several."""
    half = FORM_OVERHEAD_BYTES // 2
    for texts in ([half, half], [2 * half]):
        names = [f"f{n}" for n in range(len(texts))]
        within = [part(name, b"x" * size) for name, size in zip(names, texts, strict=True)]
        assert_error(post(client, SEARCH, *within), 422, "invalid_request")
        error = assert_error(
            post(client, SEARCH, *within, part("g", b"x")), 413, "upload_too_large"
        )
        assert "too much text" in error["message"]


@pytest.mark.parametrize("length_is_known", [True, False])
def test_a_form_without_files_is_short(client: FlaskClient, *, length_is_known: bool) -> None:
    for size, status in ((FORM_OVERHEAD_BYTES, 200), (FORM_OVERHEAD_BYTES + 1, 413)):
        text = b"image_id=1&name=".ljust(size, b"x")
        environ = {} if length_is_known else {"CONTENT_LENGTH": "", "wsgi.input_terminated": True}
        answer = client.post("/", data=text, content_type=URLENCODED, environ_overrides=environ)
        assert answer.status_code == status


def test_a_form_without_files_has_few_fields(client: FlaskClient) -> None:
    for count, status in ((MAX_PARTS, 200), (MAX_PARTS + 1, 413)):
        assert urlencoded(client, b"&".join([b"image_id=1"] * count)).status_code == status
    assert_error(urlencoded(client, b"a=b&" * 2_500_000), 413, "upload_too_large")


@pytest.mark.parametrize(
    ("media_type", "form"),
    [
        ("multipart/form-data", b"--b\r\n"),
        ("multipart/form-data; boundary=\xe9", b"--b\r\n"),
        (MULTIPART, b"--b\r\n\r\nx\r\n--b--"),
        (MULTIPART, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--"),
        (MULTIPART, part("image", b"x")),  # without its end
        (MULTIPART, b"--b\r\nContent-Disposition: form-data; name=\xff\r\n\r\nx\r\n--b--"),
        (URLENCODED, b"image_id=1&name=\xff"),
    ],
)
def test_a_form_that_cannot_be_read_is_not_an_empty_one(
    client: FlaskClient, media_type: str, form: bytes
) -> None:
    headers = {"Accept": "application/json"}
    answer = client.post("/", data=form, content_type=media_type, headers=headers)
    assert "cannot be read" in assert_error(answer, 400, "bad_request")["message"]
