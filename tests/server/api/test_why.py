"""Explanations by HTTP: their JSON, their errors, and what clients may keep."""

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from indexer.search import why
from server.app import create_app
from tests.server.helpers import ask, assert_error, body

URL = "/api/v1/images/5/why/6"


def test_an_explanation_says_which_parts_make_the_similarity(client: FlaskClient) -> None:
    answer = body(client.get(URL))
    assert list(answer) == [
        "encoder", "method", "cosine", "distance", "rows", "columns", "first", "second", "meaning",
    ]  # fmt: skip
    assert (answer["method"], answer["rows"], answer["columns"]) == ("contributions", 7, 7)
    (result,) = (one for one in ask(client, image_id=5, k=40)["results"] if one["image_id"] == 6)
    assert answer["distance"] == pytest.approx(result["distance"], abs=1e-4)
    assert answer["second"]["thumbnail_url"] == result["thumbnail_url"]
    for side, image_id in ((answer["first"], 5), (answer["second"], 6)):
        assert side["image_id"] == image_id
        assert sum(map(sum, side["grid"])) == pytest.approx(answer["cosine"], abs=1e-5)
    assert "does not tell" in answer["meaning"]


def test_each_cell_can_be_covered_instead(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(why, "CELLS", 2)
    answer = body(client.get(f"{URL}?method=occlusion"))
    assert (answer["method"], answer["rows"], answer["columns"]) == ("occlusion", 2, 2)
    assert body(client.get(f"{URL}?method=contributions"))["method"] == "contributions"
    etags = {client.get(f"{URL}{query}").headers["ETag"] for query in ("", "?method=occlusion")}
    assert len(etags) == 2
    assert_error(client.get(f"{URL}?method=guess"), 422, "invalid_request")


def test_it_can_be_revalidated(client: FlaskClient) -> None:
    first = client.get(URL)
    etag = first.headers["ETag"]
    again = client.get(URL, headers={"If-None-Match": etag})
    assert (again.status_code, again.data) == (304, b"")
    assert client.get("/api/v1/images/6/why/5").headers["ETag"] != etag
    refused = client.get(URL, headers={"If-Match": '"other"'})
    assert_error(refused, 412, "precondition_failed")


def test_unknown_images_are_errors(client: FlaskClient) -> None:
    assert_error(client.get("/api/v1/images/5/why/999"), 404, "unknown_image")
    assert_error(client.get("/api/v1/images/999/why/5"), 404, "unknown_image")
    assert_error(client.get(f"/api/v1/images/5/why/{2**63}"), 422, "invalid_request")


def test_it_takes_a_slot_and_the_encoder(demo_config: Config, client: FlaskClient) -> None:
    slots = client.application.extensions["capacity"].long_searches
    held = [slots.hold() for _ in range(demo_config.server.max_encoding)]
    for one in held:
        one.__enter__()
    try:
        assert_error(client.get("/api/v1/images/7/why/8"), 503, "overloaded")
    finally:
        for one in held:
            one.__exit__(None, None, None)
    app = create_app(demo_config)
    app.extensions["current_index"]._load_encoder = lambda _: None
    assert_error(app.test_client().get(URL), 503, "not_ready")
