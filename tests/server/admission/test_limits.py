"""Limits of requests that are small but costly, and the errors that name the limits."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from indexer.config import Config
from tests.conftest import small_config
from tests.server.helpers import BATCH, assert_error, body, png, ready_app, upload

SEARCH = "/api/v1/search"


def post(client: FlaskClient, content: object, path: str = SEARCH) -> TestResponse:
    return client.post(path, data=json.dumps(content), content_type="application/json")


def images(*files: bytes) -> dict[str, Any]:
    fields = [("image", (BytesIO(data), f"{number}.png")) for number, data in enumerate(files)]
    return {"data": MultiDict(fields), "content_type": "multipart/form-data"}


@pytest.fixture
def frugal(demo_config: Config) -> FlaskClient:
    """A server that accepts 10,000 pixels and encodes one image at a time."""
    server = {"max_pixels": 10_000, "max_encoding": 1}
    return ready_app(
        small_config(demo_config.dataset.roots[0], demo_config.store, server=server)
    ).test_client()


@pytest.mark.parametrize(
    "allowed",
    [
        {"metadata": {"\ud800": 1}},
        {"metadata": {"a": "\ud800"}},
        {"key_prefix": "\ud800"},
        {"metadata": {"a": None}},
        {"metadata": {"a": [1]}},
        {"metadata": {"a": 2**63}},
        {"metadata": {"a": "x" * 1001}},
        {"metadata": {"x" * 1001: 1}},
    ],
)
def test_filters_with_values_metadata_cannot_have(client: FlaskClient, allowed: object) -> None:
    error = assert_error(post(client, {"image_id": 1, "allowed": allowed}), 422, "invalid_request")
    assert error["message"].startswith("allowed.")
    assert error["message"].count(";") == 0


def test_a_batch_decodes_no_more_pixels_than_one_upload(frugal: FlaskClient) -> None:
    """Pixels count, not bytes."""
    half, more = png(50, 100), png(51, 100)
    assert all(
        "results" in found for found in body(frugal.post(BATCH, **images(half, half)))["answers"]
    )
    refused = frugal.post(BATCH, **images(half, more))
    assert "10,100 pixels" in assert_error(refused, 413, "image_too_large")["message"]
    one_is_too_large = body(frugal.post(BATCH, **images(png(101, 100))))["answers"]
    assert one_is_too_large[0]["error"]["code"] == "image_too_large"


def test_regions_of_indexed_images_count_as_well(client: FlaskClient, frugal: FlaskClient) -> None:
    crop = {"x": 0, "y": 0, "width": 0.5, "height": 0.5}
    queries = [{"image_id": image_id, "crop": crop} for image_id in (1, 2, 99_999)]
    assert_error(post(frugal, {"queries": queries}, BATCH), 413, "image_too_large")
    answers = body(post(client, {"queries": queries}, BATCH))["answers"]
    assert [*answers[0]][:1] == ["version"]
    assert answers[2]["error"]["code"] == "unknown_image"


def test_a_batch_holds_no_deep_pages(client: FlaskClient) -> None:
    queries = [{"image_id": 1, "k": 30, "page": page} for page in (1, 100)]
    assert post(client, {"queries": queries}, BATCH).status_code == 200
    queries[1]["page"] = 101
    assert_error(post(client, {"queries": queries}, BATCH), 422, "invalid_query")


def test_a_batch_counts_as_many_requests_as_it_has_searches(demo_config: Config) -> None:
    server = {"rate_limit": "5/hour"}
    client = ready_app(
        small_config(demo_config.dataset.roots[0], demo_config.store, server=server)
    ).test_client()
    two, three = ({"queries": [{"image_id": 1}] * count} for count in (2, 3))
    assert [post(client, content, BATCH).status_code for content in (two, three)] == [200, 200]
    assert_error(post(client, two, BATCH), 429, "too_many_requests")
    six = {"queries": [{"image_id": 1}] * 6}
    other = {"REMOTE_ADDR": "10.0.0.9"}  # never allowed, whatever was sent before
    refused = client.post(BATCH, json=six, environ_overrides=other)
    assert "Send fewer" in assert_error(refused, 422, "invalid_query")["hint"]
    assert client.get("/api/v1/index", environ_overrides=other).status_code == 200
    five, third = {"queries": six["queries"][:5]}, {"REMOTE_ADDR": "10.0.0.10"}
    assert client.post(BATCH, json=five, environ_overrides=third).status_code == 200


def test_nothing_that_is_sent_is_dropped_silently(client: FlaskClient, photos: list[Path]) -> None:
    data = photos[0].read_bytes()
    two = client.post(SEARCH, **images(data, data))
    assert "batch" in assert_error(two, 422, "invalid_request")["hint"]
    other = images(data)
    other["data"].add("photo", (BytesIO(data), "b.jpg"))
    for path in (SEARCH, BATCH, "/api/v1/embed"):
        refused = client.post(path, data=MultiDict(list(other["data"].items(multi=True))))
        assert refused.status_code == 422
        other["data"] = MultiDict(
            [("image", (BytesIO(data), "a")), ("photo", (BytesIO(data), "b"))]
        )
    twice = client.post(
        SEARCH, data=MultiDict([("image", (BytesIO(data), "a.jpg")), ("k", "1"), ("k", "2")])
    )
    assert "k: sent 2 times" in assert_error(twice, 422, "invalid_request")["message"]


def test_an_upload_that_is_too_large_is_reported_with_the_limit(demo_config: Config) -> None:
    server = {"max_upload_bytes": 100_000}
    client = ready_app(
        small_config(demo_config.dataset.roots[0], demo_config.store, server=server)
    ).test_client()
    for size, words in (
        (100_001, "The image has 100,001 bytes; the limit is 100,000."),
        (300_000, "The request has"),
    ):
        error = assert_error(upload(client, bytes(size)), 413, "upload_too_large")
        assert error["message"].startswith(words)
    long = upload(client, b"a", positives="x" * 140_000)
    assert "too much text" in assert_error(long, 413, "upload_too_large")["message"]
