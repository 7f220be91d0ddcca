"""Words over HTTP: images are listed, filtered and found by what their captions say."""

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from tests.server.helpers import assert_error, body, ready_app

IMAGES = "/api/v1/images"


@pytest.fixture(scope="module")
def captioned(captioned_config: Config) -> FlaskClient:
    return ready_app(captioned_config).test_client()


@pytest.mark.parametrize(
    ("text", "listed"),
    [
        ("surfboard", [1]),
        ("surf board", [1, 3]),
        ('"surf board" old', [3]),
        ("old dog", [2]),
        ("dogs beach", []),  # of different captions
        ("DOG", [1, 2]),
        ("malaga cafe", [5]),
        ("cat", []),
    ],
)
def test_images_are_listed_by_what_their_texts_say(
    captioned: FlaskClient, text: str, listed: list[int]
) -> None:
    found = body(captioned.get(IMAGES, query_string={"text": text}))
    assert [image["image_id"] for image in found["images"]] == listed
    assert (found["total"], found["more"]) == (len(listed), False)


def test_words_go_with_filters_facets_and_pages(captioned: FlaskClient) -> None:
    asked = {"text": "beach", "facets": "format,key", "per_page": 1, "page": 2}
    found = body(captioned.get(IMAGES, query_string=asked))
    assert [image["key"] for image in found["images"]] == ["03.jpg"]
    assert (found["total"], found["more"]) == (2, False)
    assert found["facets"]["format"]["values"] == [{"value": "JPEG", "count": 2}]
    asked = {"text": "beach", "filter": ["caption~bus,sofa", "format=JPEG"]}
    found = body(captioned.get(IMAGES, query_string=asked))
    assert [image["image_id"] for image in found["images"]] == [4]


def test_results_pass_a_filter_by_words(captioned: FlaskClient) -> None:
    asked = {"image_id": 9, "filter": ['caption~"surf board",dog']}
    found = body(captioned.post("/api/v1/search", json=asked))
    assert {result["image_id"] for result in found["results"]} == {1, 2, 3}
    assert found["query"]["filter"] == asked["filter"]


@pytest.mark.parametrize("text", ["", "!", "dog " * 33])
def test_a_list_without_words_is_refused(captioned: FlaskClient, text: str) -> None:
    assert_error(captioned.get(IMAGES, query_string={"text": text}), 422, "invalid_query")


def test_a_collection_without_texts_says_so(client: FlaskClient) -> None:
    error = assert_error(client.get(f"{IMAGES}?text=dog"), 422, "invalid_query")
    assert "No image has a text" in error["message"]


def test_an_index_without_words_is_refused(
    captioned_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as lacking:
        lacking.setattr("indexer.store.text_index.has_words", lambda connection, layer: False)
        other = ready_app(captioned_config).test_client()
        assert_error(other.get(f"{IMAGES}?text=dog"), 409, "no_metadata_index")
        assert body(other.get(f"{IMAGES}?filter=format%3DJPEG"))["total"] == 12
        refused = other.get(f"{IMAGES}?filter=caption~dog")
        assert "lookalike index" in assert_error(refused, 409, "no_metadata_index")["hint"]
    with monkeypatch.context() as lacking:
        lacking.setattr("indexer.store.text_index.has_fts5", lambda connection: False)
        other = ready_app(captioned_config).test_client()
        assert_error(other.get(f"{IMAGES}?text=dog"), 503, "missing_dependency")
