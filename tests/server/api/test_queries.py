"""Queries of the JSON API: examples, regions, pages, thresholds, duplicates, explanations."""

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.server.helpers import ask, assert_error, body, upload


def test_pages_have_no_overlap_and_no_end_before_the_last_image(client: FlaskClient) -> None:
    whole = ask(client, image_id=5, k=40)["results"]
    pages = [ask(client, image_id=5, per_page=15, page=page) for page in (1, 2, 3, 4)]
    assert [result for page in pages for result in page["results"]] == whole
    assert [page["more"] for page in pages] == [True, True, False, False]
    assert pages[1]["query"]["page"] == 2
    assert pages[1]["results"][0]["rank"] == 16


def test_the_limit_of_k_holds_for_a_page_and_not_for_the_depth(client: FlaskClient) -> None:
    assert ask(client, image_id=5, per_page=1000, page=5)["results"] == []
    response = client.post("/api/v1/search", json={"image_id": 5, "per_page": 1001})
    assert_error(response, 422, "invalid_query")


def test_examples_with_weights(client: FlaskClient, photos: list[Path]) -> None:
    positives = [{"image_id": 1}, {"image_id": 9, "weight": 0.5}]
    negatives = [{"image_id": 20, "weight": 2}]
    alone = ask(client, positives=positives, negatives=negatives, k=10)
    assert alone["query"]["kind"] == "examples"
    assert alone["query"]["negatives"] == [{"image_id": 20, "weight": 2.0}]
    beside = ask(client, image_id=1, positives=positives[1:], negatives=negatives, k=10)
    uploaded = body(
        upload(
            client,
            photos[0].read_bytes(),
            positives=json.dumps(positives[1:]),
            negatives=json.dumps(negatives),
            k=10,
        )
    )
    ids = [[r["image_id"] for r in a["results"]] for a in (alone, beside, uploaded)]
    assert ids[0] == ids[1] == ids[2]
    assert ids[0] != [r["image_id"] for r in ask(client, image_id=1, k=10)["results"]]


def test_a_region_of_an_upload_and_of_an_indexed_image(
    client: FlaskClient, photos: list[Path]
) -> None:
    box = {"x": 0.1, "y": 0.2, "width": 0.5, "height": 0.5}
    stored = ask(client, image_id=1, crop=box)
    uploaded = body(upload(client, photos[0].read_bytes(), crop=json.dumps(box)))
    assert stored["results"] == uploaded["results"]
    assert stored["query"]["crop"] == box
    assert stored["results"] != ask(client, image_id=1)["results"]


def test_thresholds_duplicates_and_explanations(client: FlaskClient) -> None:
    far = ask(client, image_id=5, k=40, explain=True)
    assert sum(far["distribution"]["counts"]) == 40
    assert len(far["distribution"]["edges"]) == len(far["distribution"]["counts"]) + 1
    limit = far["results"][4]["distance"]
    assert len(ask(client, image_id=5, threshold=limit)["results"]) == 5
    collapsed = ask(client, image_id=5, k=40, collapse_duplicates=True)["results"]
    assert sum(1 + len(result["duplicates"]) for result in collapsed) == 40


@pytest.mark.parametrize(
    "query",
    [
        {"image_id": 1, "k": 5, "per_page": 5},
        {"image_id": 1, "page": 0},
        {"image_id": 1, "page": "2"},
        {"image_id": 1, "threshold": -0.1},
        {"image_id": 1, "threshold": 2.1},
        {"image_id": 1, "collapse_duplicates": "yes"},
        {"image_id": 1, "crop": {"x": 0, "y": 0, "width": 0.5}},
        {"image_id": 1, "crop": {"x": 0.6, "y": 0, "width": 0.5, "height": 1}},
        {"image_id": 1, "crop": {"x": 0, "y": 0, "width": 0, "height": 1}},
        {"image_id": 1, "crop": {"x": 0, "y": 0, "width": 1, "height": 1, "z": 1}},
        {"positives": []},
        {"negatives": [{"image_id": 1}]},
        {"positives": [{"image_id": 0}]},
        {"positives": [{"image_id": 1, "weight": 0}]},
        {"positives": [{"image_id": 1, "weight": 101}]},
        {"positives": [{"image_id": 1}] * 65},
        {"image_id": 1, "negatives": [{"image_id": 1}]},
        {"vector": [1.0] * 1280, "crop": {"x": 0, "y": 0, "width": 1, "height": 1}},
    ],
)
def test_queries_the_document_does_not_allow(client: FlaskClient, query: object) -> None:
    response = client.post("/api/v1/search", json=query)
    assert response.status_code == 422, response.text
    assert body(response)["error"]["code"] in ("invalid_request", "invalid_query")


@pytest.mark.parametrize("field", ["crop", "positives", "negatives"])
@pytest.mark.parametrize("text", ["", "x", "5", "{}", '[{"image_id": "1"}]', "[" * 5000])
def test_forms_carry_json_that_is_checked(
    client: FlaskClient, photos: list[Path], field: str, text: str
) -> None:
    response = upload(client, photos[0].read_bytes(), **{field: text})
    assert_error(response, 422, "invalid_request")


def test_unknown_examples_are_not_found(client: FlaskClient) -> None:
    response = client.post("/api/v1/search", json={"positives": [{"image_id": 999}]})
    assert_error(response, 404, "unknown_image")


def test_the_map_is_sent_once_a_version(client: FlaskClient) -> None:
    response = client.get("/api/v1/map")
    assert response.mimetype == "application/octet-stream"
    assert len(response.data) == 4 + 40 * 8
    again = client.get("/api/v1/map", headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")
