"""An answer of the library has the shape of the server's, whatever was asked."""

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from indexer.config import Config
from indexer.search import Allowed, Answer, Box, Example, Query, Searcher, Selection
from tests.server.helpers import ask, body, upload

VECTOR = [1.0] + [0.5] * 1279


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


def without_urls(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for result in results:
        assert result.pop("url")
        assert result.pop("thumbnail_url")
        without_urls(result["duplicates"])
    return results


def assert_same(answer: Answer, served: dict[str, Any]) -> None:
    """Names, their order, types and values; times differ, and only a server has URLs."""
    own = answer.to_dict()
    assert list(own.pop("timings_ms")) == list(served.pop("timings_ms"))
    without_urls(served["results"])
    assert own["results"]
    assert json.dumps(own) == json.dumps(served)


CASES: list[tuple[Query, Selection, dict[str, Any]]] = [
    (Query(image_id=3), Selection(), {"image_id": 3}),
    (Query(vector=VECTOR), Selection(k=5, page=2), {"vector": VECTOR, "k": 5, "page": 2}),
    (
        Query(positives=[Example(1), Example(2, 2.0)], negatives=[Example(9, 0.5)]),
        Selection(mode="approximate", threshold=1.5),
        {
            "positives": [{"image_id": 1}, {"image_id": 2, "weight": 2.0}],
            "negatives": [{"image_id": 9, "weight": 0.5}],
            "mode": "approximate",
            "threshold": 1.5,
        },
    ),
    (
        Query(image_id=4, crop=Box(0.25, 0.0, 0.5, 1.0)),
        Selection(collapse_duplicates=True),
        {
            "image_id": 4,
            "crop": {"x": 0.25, "y": 0.0, "width": 0.5, "height": 1.0},
            "collapse_duplicates": True,
        },
    ),
]


@pytest.mark.parametrize(("query", "selection", "request_body"), CASES)
def test_any_search_is_answered_in_one_shape(
    client: FlaskClient,
    searcher: Searcher,
    query: Query,
    selection: Selection,
    request_body: dict[str, Any],
) -> None:
    assert_same(searcher.search(query, selection), ask(client, **request_body))


def test_a_search_among_some_images(client: FlaskClient, searcher: Searcher) -> None:
    prefix = searcher.collection.image(1).key.partition("/")[0]
    served = ask(client, image_id=1, allowed={"key_prefix": prefix, "metadata": {}})
    assert_same(searcher.search(Query(image_id=1), Selection(allowed=Allowed(prefix))), served)


def test_an_uploaded_image_with_a_crop_and_examples(
    client: FlaskClient, searcher: Searcher, photos: list[Path]
) -> None:
    photo = photos[0].read_bytes()
    crop = {"x": 0.0, "y": 0.5, "width": 1.0, "height": 0.5}
    served = body(upload(client, photo, crop=json.dumps(crop), positives='[{"image_id": 7}]'))
    query = Query(image=photo, crop=Box(**crop), positives=[Example(7)])
    assert_same(searcher.search(query), served)
