"""Batches, ``/embed``, and filters."""

import json
from collections import Counter
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

from server.admission.capacity import Capacity
from tests.server.helpers import BATCH, ask, assert_error, body, upload

NDJSON = {"Accept": "application/x-ndjson"}


def files(photos: list[Path], **fields: object) -> dict[str, Any]:
    images = [("image", (BytesIO(photo.read_bytes()), photo.name)) for photo in photos]
    return {"data": MultiDict([*images, *fields.items()]), "content_type": "multipart/form-data"}


def without_times(answer: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "timings_ms"}


def test_a_batch_of_ids_and_vectors_is_answered_as_one_by_one(client: FlaskClient) -> None:
    vector = np.random.default_rng(1).random(1280).tolist()
    queries = [{"image_id": 3, "k": 2}, {"vector": vector}, {"positives": [{"image_id": 5}]}]
    answers = body(client.post(BATCH, json={"queries": queries}))["answers"]
    alone = [ask(client, **query) for query in queries]
    assert [*map(without_times, answers)] == [*map(without_times, alone)]


def test_a_batch_of_uploads_shares_its_fields(client: FlaskClient, photos: list[Path]) -> None:
    some = photos[:15:5]
    answers = body(client.post(BATCH, **files(some, k=4)))["answers"]
    assert [answer["query"]["k"] for answer in answers] == [4, 4, 4]
    alone = [body(upload(client, photo.read_bytes(), k=4)) for photo in some]
    assert [answer["results"] for answer in answers] == [answer["results"] for answer in alone]


def test_a_batch_is_encoded_and_searched_together(client: FlaskClient, photos: list[Path]) -> None:
    searcher = client.application.extensions["current_index"].searcher()
    searcher.load_encoder()
    searched, encoded = (
        Counter(own.sizes) for own in (searcher.search_batcher, searcher.encode_batcher)
    )
    form = files(photos[:20], k=1)
    form["data"].add("image", (BytesIO(b"no image"), "x.jpg"))
    answers = body(client.post(BATCH, **form))["answers"]
    assert ["results" in answer for answer in answers] == [True] * 20 + [False]
    assert searcher.encode_batcher.sizes - encoded == {16: 1, 4: 1}
    assert searcher.search_batcher.sizes - searched == {20: 1}
    queries = [{"image_id": 1 + n % 5, "k": 1 + n} for n in range(40)]
    queries[7]["image_id"] = 99999
    answers = body(client.post(BATCH, json={"queries": queries}))["answers"]
    assert [n for n, answer in enumerate(answers) if "error" in answer] == [7]
    assert searcher.search_batcher.sizes - searched == {20: 1, 31: 1, 8: 1}
    alone = [ask(client, **queries[n]) for n in (0, 39)]
    assert [answer["results"] for answer in answers[::39]] == [own["results"] for own in alone]


def test_a_batch_comes_line_by_line_on_request(client: FlaskClient, photos: list[Path]) -> None:
    queries = [{"image_id": 1, "k": 1}, {"image_id": 99999}, {"image_id": 2, "k": 1}]
    response = client.post(BATCH, json={"queries": queries}, headers=NDJSON)
    assert response.mimetype == "application/x-ndjson"
    lines = [json.loads(line) for line in response.text.splitlines()]
    assert [line["results"][0]["image_id"] for line in lines[::2]] == [1, 2]
    assert lines[1]["error"]["code"] == "unknown_image"
    streamed = client.post(BATCH, headers=NDJSON, **files(photos[:2], k=1))
    assert len(streamed.text.splitlines()) == 2


def test_a_search_that_fails_has_its_error_in_its_position(
    client: FlaskClient, photos: list[Path]
) -> None:
    form = files(photos[:1])
    form["data"].add("image", (BytesIO(b"no image"), "x.jpg"))
    first, second = body(client.post(BATCH, **form))["answers"]
    assert first["results"]
    assert set(second["error"]) == {"code", "message", "hint"}
    assert second["error"]["code"] == "unsupported_image"


@pytest.mark.parametrize("count", [1, 100])
def test_a_batch_within_its_limits(client: FlaskClient, count: int) -> None:
    queries = [{"image_id": 1, "k": 1}] * count
    assert len(body(client.post(BATCH, json={"queries": queries}))["answers"]) == count


@pytest.mark.parametrize("queries", [[], [{"image_id": 1}] * 101, [{}], [{"image_id": "1"}], 5])
def test_a_batch_above_its_limits(client: FlaskClient, queries: object) -> None:
    assert_error(client.post(BATCH, json={"queries": queries}), 422, "invalid_request")


def test_an_invalid_batch(client: FlaskClient) -> None:
    assert_error(client.post(BATCH, data={"k": "3"}), 415, "unsupported_media_type")
    empty = client.post(BATCH, data={"k": "3"}, content_type="multipart/form-data")
    assert_error(empty, 422, "invalid_request")


def test_slots_are_released_after_a_stream(client: FlaskClient, photos: list[Path]) -> None:
    for _ in range(10):  # more than there are slots
        with client.post(BATCH, headers=NDJSON, **files(photos[:1], k=1)) as response:
            assert response.status_code == 200


def test_a_batch_without_a_slot_is_refused_and_an_abandoned_one_releases_its_slot(
    client: FlaskClient, photos: list[Path]
) -> None:
    capacity: Capacity = client.application.extensions["capacity"]
    with ExitStack() as taken:
        for _ in range(6):
            taken.enter_context(capacity.long_searches.hold())
        assert_error(client.post(BATCH, **files(photos[:2])), 503, "overloaded")
        taken.pop_all().close()
    hung_up = [
        client.post(BATCH, headers=NDJSON, buffered=False, **files(photos[:9])) for _ in range(6)
    ]
    one_more = client.post(BATCH, headers=NDJSON, **files(photos[:2]))
    assert_error(one_more, 503, "overloaded")  # a slot is held until the last line
    for response in reversed(hung_up):  # contexts of one thread end in this order
        response.close()  # before any line of it was read
    assert client.post(BATCH, headers=NDJSON, **files(photos[:2])).status_code == 200


def test_embed_gives_the_vector_a_search_uses(client: FlaskClient, photos: list[Path]) -> None:
    form = {"image": (photos[0].open("rb"), "a.jpg")}
    embedded = body(client.post("/api/v1/embed", data=form))
    assert abs(np.linalg.norm(embedded["vector"]) - 1) < 1e-5
    by_vector = ask(client, vector=embedded["vector"], k=5)["results"]
    by_image = body(upload(client, photos[0].read_bytes(), k=5))["results"]
    assert [hit["image_id"] for hit in by_vector] == [hit["image_id"] for hit in by_image]
    assert_error(client.post("/api/v1/embed", json={}), 415, "unsupported_media_type")


def test_only_allowed_images_are_found_and_as_many_as_there_are(client: FlaskClient) -> None:
    everything = ask(client, image_id=1, k=1000)["results"]
    prefix = everything[7]["key"].partition("/")[0] + "/"
    expected = [hit["image_id"] for hit in everything if hit["key"].startswith(prefix)]
    assert 0 < len(expected) < 40
    found = ask(client, image_id=1, k=1000, allowed={"key_prefix": prefix})
    assert [hit["image_id"] for hit in found["results"]] == expected
    assert [hit["rank"] for hit in found["results"]] == [*range(1, len(expected) + 1)]
    assert found["query"]["allowed"] == {"key_prefix": prefix, "metadata": {}}
    one = ask(client, image_id=1, k=1, allowed={"key_prefix": prefix}, mode="approximate")
    assert [hit["image_id"] for hit in one["results"]] == expected[:1]


@pytest.mark.parametrize(
    "allowed", [{"key_prefix": "nowhere/"}, {"key_prefix": "%"}, {"metadata": {"a'b\"": 1}}]
)
def test_where_no_image_is_allowed_none_is_found(client: FlaskClient, allowed: object) -> None:
    answer = ask(client, image_id=1, allowed=allowed)
    assert (answer["results"], answer["more"]) == ([], False)


@pytest.mark.parametrize(
    "allowed",
    [5, {"prefix": "a"}, {"metadata": {"a": []}}, {"key_prefix": 1}],
)
def test_invalid_filters(client: FlaskClient, allowed: object) -> None:
    refused = client.post("/api/v1/search", json={"image_id": 1, "allowed": allowed})
    assert_error(refused, 422, "invalid_request")
    lone_surrogate = '{"image_id": 1, "allowed": {"key_prefix": "\\ud800"}}'
    form = {"data": lone_surrogate, "content_type": "application/json"}
    assert_error(client.post("/api/v1/search", **form), 422, "invalid_request")
