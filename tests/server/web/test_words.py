"""A search with words on the page: its state is in the URL, and the page says what it finds."""

import re

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

from indexer.config import Config
from server.web.page_state import PageState
from tests.server.helpers import form_fields, ready_app

SUMMARY = "4 captions of 2 images say so; these look like them."


@pytest.fixture(scope="module")
def captioned(captioned_config: Config) -> FlaskClient:
    return ready_app(captioned_config).test_client()


def ids(page: str) -> list[str]:
    """The ids of the results, nearest first."""
    return re.findall(r'href="/\?image_id=(\d+)" aria-label="More like this', page)


def test_a_url_holds_the_words() -> None:
    url = "/?text=surf+%22board%22+%26&image_id=3&not=20&threshold=1.3&page=2"
    fields = MultiDict([("text", ' surf "board" & '), ("image_id", "3"), ("not", "20"),
                        ("threshold", "1.3"), ("page", "2")])  # fmt: skip
    state = PageState.parse(fields, {})
    assert (state.text, state.is_empty, state.url()) == ('surf "board" &', False, url)
    query = state.query()
    assert (query.text, query.image_id, query.positives[0].image_id) == (state.text, None, 3)
    assert PageState.parse(MultiDict([("text", " ")]), {}).is_empty


def test_the_start_page_has_a_field_for_words_if_there_are_any(
    client: FlaskClient, captioned: FlaskClient
) -> None:
    assert 'name="text"' in captioned.get("/").text
    assert 'name="text"' not in client.get("/").text


def test_results_say_what_they_are_and_can_be_refined(captioned: FlaskClient) -> None:
    page = captioned.get("/?text=dogs&k=5&duplicates=show").text
    assert SUMMARY in page
    assert 'name="text" value="dogs"' in page  # to search with others
    assert 'id="crop"' not in page
    assert "<title>dogs " in page
    assert form_fields(page) == MultiDict([("text", "dogs"), ("k", "5")])
    second = captioned.get("/?text=dogs&k=5&duplicates=show&page=2").text
    assert len({*ids(page), *ids(second)}) == 10
    combined = captioned.get("/?text=dogs&image_id=4&not=5&k=5&duplicates=show").text
    assert (combined.count("like this, too"), combined.count("not like this")) == (1, 1)
    assert SUMMARY in combined


def test_other_pages_keep_the_words(captioned: FlaskClient) -> None:
    filtered = captioned.get("/?text=dogs&filter=width>1").text
    (again,) = re.findall(r'<form class="words".*?</form>', filtered, re.S)
    assert 'name="filter" value="width&gt;1"' in again
    image = captioned.get("/images/7?text=dogs").text
    assert 'href="/?text=dogs#i7">Back to the results' in image
    assert "similar to the query, at a distance of" in image
    rows = captioned.get("/export.csv?text=dogs&count=4").text.splitlines()
    page = captioned.get("/?text=dogs&k=4&duplicates=show").text
    assert [row.split(",")[1] for row in rows[1:]] == ids(page)


@pytest.mark.parametrize(
    ("text", "status", "message"),
    [("<b>cat", 404, "No text of an image says &lt;b&gt;cat."), ("!", 422, "There is no word in")],
)
def test_words_that_find_nothing_can_be_changed(
    captioned: FlaskClient, text: str, status: int, message: str
) -> None:
    answer = captioned.get("/", query_string={"text": text})
    assert answer.status_code == status
    assert message in answer.text
    assert "<b>cat" not in answer.text
    assert 'name="text" value="' in answer.text


def test_words_and_an_upload_are_two_queries(captioned: FlaskClient) -> None:
    fields = form_fields(captioned.get("/?image_id=1").text)
    upload = {"name": "a.jpg", "feature": "AACAPw==", "text": "dog"}
    answer = captioned.post("/", data={**fields.to_dict(), **upload})
    assert answer.status_code == 422
    assert "Give one of image, image_id, vector and text" in answer.text
