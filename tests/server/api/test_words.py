"""Words over HTTP: images are listed, filtered and found by what their captions say."""

from contextlib import ExitStack
from io import BytesIO

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from indexer.search import Query, Searcher, Selection
from server.admission.slots import Slots
from tests.server.api.test_library_answers import assert_same
from tests.server.helpers import BATCH, ask, assert_error, body, ready_app

IMAGES, SEARCH = "/api/v1/images", "/api/v1/search"


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
    found = body(captioned.post(SEARCH, json=asked))
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


def test_images_are_found_by_words_in_json_forms_and_batches(
    captioned: FlaskClient, captioned_config: Config
) -> None:
    searcher = Searcher.open(captioned_config)
    asked = {"text": '"surf board"', "k": 5, "page": 2}
    own = searcher.search(Query(text='"surf board"'), Selection(k=5, page=2))
    assert_same(own, ask(captioned, **asked))
    assert_same(own, body(captioned.post(SEARCH, data=asked, content_type="multipart/form-data")))
    found, missing = body(captioned.post(BATCH, json={"queries": [asked, {"text": "old cat"}]}))[
        "answers"
    ]
    assert_same(own, found)
    assert missing["error"]["code"] == "no_text_matches"


def test_the_answer_says_what_the_words_stand_for(captioned: FlaskClient) -> None:
    found = ask(captioned, text="dog", filter=['key>="06"'])
    assert (found["query"]["kind"], found["query"]["text"]) == ("text", "dog")
    assert found["words"] == {
        "text": "dog",
        "texts": {"caption": 4},
        "images": 2,
        "used": [2, 1],
        "summary": "4 captions of 2 images say so; these look like them.",
    }
    assert {result["image_id"] for result in found["results"]} == {*range(7, 13)}
    assert "words" not in ask(captioned, image_id=1)


def test_words_that_no_text_has_are_not_found(captioned: FlaskClient) -> None:
    missing = captioned.post(SEARCH, json={"text": "old cat"})
    assert "old cat" in assert_error(missing, 404, "no_text_matches")["message"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"text": ""}, "invalid_query"),
        ({"text": "dog", "crop": {"x": 0, "y": 0, "width": 1, "height": 1}}, "invalid_query"),
        ({"text": "dog", "image_id": 1}, "invalid_request"),
        ({"text": "dog", "vector": [1.0]}, "invalid_request"),
        ({"text": "x" * 1001}, "invalid_request"),
        ({"text": 5}, "invalid_request"),
        ({"text": None}, "invalid_request"),
    ],
)
def test_wrong_searches_by_words_are_refused(
    captioned: FlaskClient, asked: dict[str, object], code: str
) -> None:
    assert_error(captioned.post(SEARCH, json=asked), 422, code)


def test_a_form_has_an_image_or_words(captioned: FlaskClient) -> None:
    both = {"text": "dog", "image": (BytesIO(b"a"), "a.jpg")}
    for fields in ({"k": "1"}, both):
        refused = captioned.post(SEARCH, data=fields, content_type="multipart/form-data")
        error = assert_error(refused, 422, "invalid_request")
        assert "give an image or a text, and not both" in error["message"]


def test_words_take_a_slot(captioned: FlaskClient) -> None:
    """As filters do: a frequent word takes a core for a while."""
    slots: Slots = captioned.application.extensions["capacity"].long_searches
    with ExitStack() as held:
        while slots.acquire():
            held.callback(slots.release)
        for refused in (
            captioned.post(SEARCH, json={"text": "dog"}),
            captioned.get(f"{IMAGES}?text=dog"),
        ):
            assert_error(refused, 503, "overloaded")
        assert captioned.post(SEARCH, json={"image_id": 1}).status_code == 200
