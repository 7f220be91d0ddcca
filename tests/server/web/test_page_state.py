"""The state of the search page is in its URL or, after an upload, in its form."""

import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

from indexer.build import build
from server.app import create_app
from server.web.page_state import PageState
from tests.conftest import small_config
from tests.server.helpers import form_fields

FULL = (
    "/?image_id=3&image_id=9&not=20&crop=0.1,0.2,0.5,0.5&k=7"
    "&mode=exact&threshold=1.3&duplicates=show&page=2"
)


def keys(page: str) -> list[str]:
    return re.findall(r'<span class="key filename" title="([^"]*)">', page)


def test_a_url_has_the_whole_state() -> None:
    fields = MultiDict(pair.split("=") for pair in FULL.removeprefix("/?").split("&"))
    state = PageState.parse(fields, {})
    assert state.url() == FULL
    assert state.positives == (3, 9)
    assert state.selection().collapse_duplicates is False
    assert PageState.parse(MultiDict([("image_id", "3")]), {}).url() == "/?image_id=3"


def test_empty_fields_and_repeated_images_count_once() -> None:
    pairs = [("image_id", "3"), ("image_id", "3"), ("not", "3"), ("not", "4"), ("not", "4")]
    state = PageState.parse(MultiDict([*pairs, ("crop", ""), ("threshold", ""), ("k", "")]), {})
    assert (state.positives, state.negatives) == ((3,), (4,))
    assert state.url() == "/?image_id=3&not=4"


def test_examples_are_shown_and_can_be_removed(client: FlaskClient) -> None:
    page = client.get("/?image_id=3&image_id=9&not=20").text
    assert page.count("like this, too") == 1
    assert page.count("not like this") == 1
    shorter = client.get("/?image_id=3&image_id=9&not=20&drop=20")
    assert (shorter.status_code, shorter.location) == (302, "/?image_id=3&image_id=9")
    assert "Find images by how they look" in client.get("/?image_id=3&drop=3").text


def test_later_pages_of_an_upload_need_no_file(client: FlaskClient, photos: list[Path]) -> None:
    upload = {"image": (photos[0].open("rb"), "holiday.jpg")}
    first = client.post("/", data=upload).text
    fields = form_fields(first)
    assert "Encode" in first
    second = client.post("/", data={**fields.to_dict(), "page": "2"}).text
    assert "Encode" not in second
    assert "holiday.jpg" in second
    assert len(keys(first)) + len(keys(second)) == 40
    assert not set(keys(first)) & set(keys(second))
    nearer = client.post("/", data={**fields.to_dict(), "not": "20"}).text
    assert "not like this" in nearer
    assert keys(nearer) != keys(first)


@pytest.mark.parametrize("feature", ["%%%", "AAAA", "AAAAAA==", "A" * 90_000])
def test_an_invalid_feature_is_refused(client: FlaskClient, feature: str) -> None:
    response = client.post("/", data={"feature": feature, "name": "a.jpg"})
    assert response.status_code == 422
    assert 'role="alert"' in response.text


def test_the_preview_in_the_form_is_text_and_nothing_else(
    client: FlaskClient, photos: list[Path]
) -> None:
    fields = form_fields(client.post("/", data={"image": (photos[0].open("rb"), "a.jpg")}).text)
    evil = {**fields.to_dict(), "preview": '"><script>alert(1)</script>'}
    assert "<script>alert" not in client.post("/", data=evil).text
    long = {**fields.to_dict(), "preview": "A" * 60_001}
    assert client.post("/", data=long).status_code == 422


def test_a_region_of_an_indexed_image_has_a_url(client: FlaskClient) -> None:
    page = client.get("/?image_id=3&crop=0.1,0.2,0.5,0.5").text
    assert "Region of" in page
    assert "Encode" in page
    assert keys(page) != keys(client.get("/?image_id=3").text)


def test_a_random_start(client: FlaskClient) -> None:
    places = {client.get("/random").location for _ in range(20)}
    assert len(places) > 1
    for place in places:
        assert client.get(place).status_code == 200


def test_one_image_and_its_place_in_the_distances(client: FlaskClient) -> None:
    page = client.get("/images/9?image_id=3").text
    result = client.post("/api/v1/search", json={"image_id": 3, "k": 40}).json
    assert result is not None
    (distance,) = (r["distance"] for r in result["results"] if r["image_id"] == 9)
    assert f"<strong>{distance:.4f}</strong>" in page
    assert 'class="marker"' in page
    alone = client.get("/images/9").text
    assert 'class="marker"' not in alone
    assert alone.count('class="picture"') == 12
    assert 'href="/images/9"' not in alone


def test_the_metadata_of_an_image_is_on_its_page(tmp_path: Path, photos: list[Path]) -> None:
    """A COCO image has several captions; they are escaped."""
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(photos[0].read_bytes())
    annotations = {
        "images": [{"id": 5, "file_name": "a.jpg", "width": 1, "height": 1}],
        "annotations": [
            {"image_id": 5, "caption": "A crab <b>here</b>"},
            {"image_id": 5, "caption": "An animal"},
        ],
    }
    (tmp_path / "captions.json").write_text(json.dumps(annotations))
    dataset = {
        "kind": "coco",
        "root": str(tmp_path / "images"),
        "annotations": str(tmp_path / "captions.json"),
    }
    config = small_config(tmp_path / "images", tmp_path / "store", dataset=dataset)
    build(config)
    page = create_app(config).test_client().get("/images/1").text
    assert "A crab &lt;b&gt;here&lt;/b&gt; · An animal" in page
