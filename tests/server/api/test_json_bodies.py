"""The JSON of requests: what is counted before it is parsed, from both sides of each limit."""

import json

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from server.admission.capacity import LARGE_BODIES, Capacity
from server.api.json_bodies import BATCH_LIMITS, MAX_DEPTH, MAX_FIELDS, SEARCH_LIMITS, JsonLimits
from tests.server.helpers import BATCH, assert_error

SEARCH = "/api/v1/search"
KINDS = [(SEARCH, SEARCH_LIMITS), (BATCH, BATCH_LIMITS)]


def post(client: FlaskClient, text: str | bytes, path: str = SEARCH) -> TestResponse:
    return client.post(path, data=text, content_type="application/json")


def fields(count: int) -> str:
    return "{" + ",".join(f'"f{n}":1' for n in range(count)) + "}"


def listed(item: str, count: int) -> str:
    return "[" + ",".join([item] * count) + "]"


@pytest.mark.parametrize(("path", "limits"), KINDS)
def test_bytes_within_the_limit_and_beyond(
    client: FlaskClient, path: str, limits: JsonLimits
) -> None:
    query = '{"image_id":1,"k":1}'
    text = query if path == SEARCH else f'{{"queries":[{query}]}}'
    assert post(client, text.ljust(limits.bytes), path).status_code == 200
    refused = assert_error(
        post(client, text.ljust(limits.bytes + 1), path), 413, "upload_too_large"
    )
    assert f"{limits.bytes:,}" in refused["message"]


@pytest.mark.parametrize(("path", "limits"), KINDS)
@pytest.mark.parametrize("what", ["values", "objects and lists", "texts"])
def test_what_a_body_may_contain_and_one_more(
    client: FlaskClient, path: str, limits: JsonLimits, what: str
) -> None:
    """The text never ends. Within the limit the parser says so; beyond it nothing is parsed."""
    item, most = {
        "values": ("1,", limits.values - 1),  # and the list
        "objects and lists": ("[],", limits.containers - 1),
        "texts": ('""', limits.values),
    }[what]
    within = assert_error(post(client, "[" + item * most, path), 400, "bad_request")
    assert "not JSON" in within["message"]
    beyond = assert_error(post(client, "[" + item * (most + 1), path), 422, "invalid_request")
    assert beyond["message"].endswith(f" {what}.")


def test_nesting_within_the_limit_and_beyond(client: FlaskClient) -> None:
    for path, _ in KINDS:
        deepest = "[" * MAX_DEPTH + "]" * MAX_DEPTH
        assert_error(post(client, deepest, path), 422, "invalid_request")
        for deeper in (f"[{deepest}]", '{"a":' * (MAX_DEPTH + 1), "[1," * (MAX_DEPTH + 1)):
            error = assert_error(post(client, deeper, path), 400, "bad_request")
            assert "nested" in error["message"]


@pytest.mark.parametrize(
    "text",
    [
        "[[[[[[[[[,{{" * 30,
        '\\"' * 300 + "]" * 300,
        '"' + "[" * 500,
        "日本語, [" * 100,
        "\\",
        "'",
    ],
)
def test_what_texts_contain_is_not_counted(client: FlaskClient, text: str) -> None:
    allowed = {"key_prefix": text[:1000], "metadata": {text[:1000]: "[,{" * 333}}
    for escape in (True, False):
        query = json.dumps({"image_id": 1, "allowed": allowed}, ensure_ascii=escape)
        assert post(client, query).status_code == 200


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (SEARCH, '{"vector":' + listed('""', 19_000) + "}"),
        (SEARCH, '{"vector":' + listed("1.0", 19_000) + "}"),
        (SEARCH, '{"positives":' + listed("{}", 90) + "}"),
        (SEARCH, '{"positives":[0,' + fields(10_000) + "]}"),
        (SEARCH, '{"image_id":1,"allowed":{"metadata":' + fields(15_000) + "}}"),
        (SEARCH, fields(15_000)),
        (BATCH, '{"queries":[' + fields(400_000) + "]}"),
        (BATCH, '{"queries":[0,' + fields(400_000) + "]}"),
        (BATCH, '{"queries":' + listed("{}", 9_000) + "}"),
        (BATCH, '{"queries":' + listed(fields(60), 100) + "}"),
        (BATCH, '{"queries":' + listed('{"vector":' + listed('"x"', 4_000) + "}", 100) + "}"),
    ],
)
def test_a_request_with_many_faults_gets_a_short_error(
    client: FlaskClient, path: str, text: str
) -> None:
    """The error does not list every fault with its value."""
    refused = post(client, text, path)
    assert_error(refused, 422, "invalid_request")
    assert len(refused.data) < 3000


def test_as_many_fields_as_can_be_and_one_more(client: FlaskClient) -> None:
    for count, words in ((MAX_FIELDS, "no such field"), (MAX_FIELDS + 1, "65 fields")):
        for text in (fields(count), '{"positives":[0,' + fields(count) + "]}"):
            error = assert_error(post(client, text), 422, "invalid_request")
            assert words in error["message"] or "positives" in text


def test_a_field_may_not_come_twice(client: FlaskClient) -> None:
    for text in ('{"image_id":1,"image_id":2}', '{"positives":[{"image_id":1,"image_id":1}]}'):
        assert (
            "more than once" in assert_error(post(client, text), 422, "invalid_request")["message"]
        )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "line 1 column 2"),
        (b"[" * 200_000, "nested"),
        (b"\xff", "utf-8"),
        ('{"image_id":1}'.encode("utf-16"), "utf-8"),
        (b'{"image_id":' + b"9" * 5000 + b"}", "digits"),
        (b'{"image_id":1}]', "Extra data"),
    ],
)
def test_invalid_json_is_reported_with_its_position(
    client: FlaskClient, text: bytes, words: str
) -> None:
    for path in (SEARCH, BATCH):
        assert words in assert_error(post(client, text, path), 400, "bad_request")["message"]


def test_a_mark_of_byte_order_is_no_error(client: FlaskClient) -> None:
    """Some programs write one; RFC 8259, 8.1, allows to ignore it."""
    assert post(client, '{"image_id":1}'.encode("utf-8-sig")).status_code == 200


def test_large_bodies_are_parsed_in_slots(client: FlaskClient) -> None:
    """A small one needs none. The hundred vectors of a batch are a large body that is accepted."""
    vectors = {"queries": [{"vector": [0.123456789] * 1280, "k": 1}] * 100}
    large, small = json.dumps(vectors), json.dumps({"queries": [{"image_id": 1, "k": 1}]})
    assert len(large) > SEARCH_LIMITS.bytes
    capacity: Capacity = client.application.extensions["capacity"]
    assert post(client, large, BATCH).status_code == 200
    for _ in range(LARGE_BODIES):
        assert capacity.large_bodies.acquire()
    try:
        assert_error(post(client, large, BATCH), 503, "overloaded")
        assert post(client, small, BATCH).status_code == 200
    finally:
        for _ in range(LARGE_BODIES):
            capacity.large_bodies.release()
    assert post(client, large, BATCH).status_code == 200
