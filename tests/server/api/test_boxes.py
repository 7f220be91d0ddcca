"""Boxes as items, over HTTP: where they are, their pictures, and several in one picture."""

import json
import zipfile
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

import lookalike
from indexer.config import Config
from indexer.search import Query, Searcher, Selection
from tests.server.api.test_library_answers import assert_same
from tests.server.helpers import body, ready_app


@pytest.fixture(scope="module")
def client(boxes_config: Config) -> FlaskClient:
    return ready_app(boxes_config).test_client()


@pytest.fixture(scope="module")
def ids(boxes_config: Config) -> dict[str, int]:
    collection = Searcher.open(boxes_config).collection
    return {row.key: row.id for row in collection.page_by_key("indexed", offset=0, limit=99)}


def search(client: FlaskClient, **query: object) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = body(client.post("/api/v1/search", json=query))["results"]
    return results


def picture(client: FlaskClient, url: str) -> Image.Image:
    response = client.get(url)
    assert response.status_code == 200
    return Image.open(BytesIO(response.data))


def test_a_box_says_where_it_is_in_its_picture(
    client: FlaskClient, boxes_config: Config, ids: dict[str, int]
) -> None:
    found = body(client.get(f"/api/v1/images/{ids['1.jpg#box=12']}"))
    with Image.open(boxes_config.dataset.roots[0] / "1.jpg") as whole:
        size = whole.size
    assert found["box"] == {"x": 0.5, "y": 0.5, "width": 0.5, "height": 0.5}
    assert (found["width"], found["height"]) == size
    assert found["metadata"]["category"] == "corner"
    assert picture(client, found["url"]).size == size
    (result,) = search(client, image_id=found["image_id"], k=1)
    assert (result["key"], result["box"]) == ("1.jpg#box=12", found["box"])


def test_an_image_has_no_box(demo_config: Config) -> None:
    client = ready_app(demo_config).test_client()
    assert "box" not in body(client.get("/api/v1/images/1"))
    assert "box" not in search(client, image_id=1, k=1)[0]
    url = "/api/v1/images/1/thumbnail?side=96"
    assert client.get(f"{url}&whole=true").data == client.get(url).data


def test_a_thumbnail_shows_the_box_or_its_picture(
    client: FlaskClient, boxes_config: Config, ids: dict[str, int]
) -> None:
    with Image.open(boxes_config.dataset.roots[0] / "1.jpg") as file:
        whole = file.convert("RGB")
    width, height = whole.size
    corner = whole.crop((round(width / 2), round(height / 2), width, height))
    url = f"/api/v1/images/{ids['1.jpg#box=12']}/thumbnail?side=96"
    for _ in range(2):  # the second time from the cache
        for address, expected in ((url, corner), (f"{url}&whole=true", whole)):
            shown = picture(client, address)
            assert shown.width / shown.height == pytest.approx(
                expected.width / expected.height, rel=0.03
            )
            pixels = np.asarray(expected.resize(shown.size, Image.Resampling.LANCZOS), float)
            assert np.abs(np.asarray(shown, float) - pixels).mean() < 8
    assert client.get(url).headers["ETag"] != client.get(f"{url}&whole=true").headers["ETag"]


def test_a_box_is_found_like_the_same_region_of_the_picture(
    client: FlaskClient, ids: dict[str, int]
) -> None:
    """A region of a box refers to its picture."""
    crop = {"x": 0, "y": 0, "width": 0.5, "height": 1}
    (result,) = search(client, image_id=ids["1.jpg#box=12"], crop=crop, k=1)
    assert (result["key"], result["distance"]) == ("1.jpg#box=10", pytest.approx(0, abs=1e-3))


def test_boxes_of_one_picture_fold_under_the_nearest(
    client: FlaskClient, ids: dict[str, int]
) -> None:
    query = {"image_id": ids["2.jpg#box=22"], "k": 12}
    assert len(search(client, **query)) == 12
    folded = search(client, **query, collapse_duplicates=True)
    assert len(folded) == 4
    assert folded[0]["key"] == "2.jpg#box=22"
    for result in folded:
        file = result["key"].partition("#")[0]
        others = [other["key"].partition("#")[0] for other in result["duplicates"]]
        assert others == [file] * 2
        assert all(other["box"] for other in result["duplicates"])


def test_pages_of_folded_boxes_do_not_overlap(client: FlaskClient, ids: dict[str, int]) -> None:
    query = {"image_id": ids["2.jpg#box=22"], "collapse_duplicates": True}
    whole = [result["key"] for result in search(client, **query, k=4)]
    pages = [search(client, **query, k=1, page=page) for page in range(1, 6)]
    assert [[result["key"] for result in page] for page in pages] == [[key] for key in whole] + [[]]


def test_the_library_answers_like_the_server(
    client: FlaskClient, boxes_config: Config, ids: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image_id = ids["1.jpg#box=11"]
    request = {"image_id": image_id, "collapse_duplicates": True}
    served = body(client.post("/api/v1/search", json=request))
    searcher = Searcher.open(boxes_config)
    found = searcher.search(Query(image_id=image_id), Selection(collapse_duplicates=True))
    assert_same(found, served)
    results = lookalike.open(boxes_config.store).search(image_id, k=1)
    assert results[0].box == {"x": 0, "y": 0, "width": 0.52, "height": 1}
    assert json.loads(json.dumps(results.to_list()))[0]["box"] == results[0].box


def test_the_originals_of_boxes_in_one_picture_are_exported_once(
    client: FlaskClient, ids: dict[str, int]
) -> None:
    response = client.get(f"/export.zip?image_id={ids['2.jpg#box=22']}&count=12")
    names = zipfile.ZipFile(BytesIO(response.data)).namelist()
    assert sorted(name.partition("_")[2] for name in names) == [f"{n}.jpg" for n in (1, 2, 3, 4)]


def test_boxes_are_filtered_by_their_category(client: FlaskClient, ids: dict[str, int]) -> None:
    found = search(client, image_id=ids["1.jpg#box=12"], filter=["category=corner"], k=12)
    assert {result["key"] for result in found} == {f"{n}.jpg#box={n}2" for n in (1, 2, 3, 4)}
