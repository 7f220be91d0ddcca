"""Filters and facets over HTTP: in JSON, in forms and in addresses."""

import json
from collections import Counter
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import MultiDict

import indexer.store.layers
from indexer.build import build
from indexer.config import Config
from indexer.search import Query, Searcher, Selection
from tests.server.api.test_library_answers import assert_same
from tests.server.helpers import BATCH, ask, assert_error, body, ready_app, upload

IMAGES = "/api/v1/images"


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


@pytest.fixture(scope="module")
def folders(searcher: Searcher) -> Counter[str]:
    keys = [row.key for row in searcher.collection.page_by_key("indexed", offset=0, limit=100)]
    return Counter(key.rpartition("/")[0] for key in keys)


def test_only_images_that_pass_are_found_with_the_counts_of_all_of_them(
    client: FlaskClient, searcher: Searcher, folders: Counter[str]
) -> None:
    (first, n), (second, m) = folders.most_common(2)
    asked = {"filter": [f"folder={first},{second}"], "facets": ["folder", "format"], "k": 2}
    served = ask(client, image_id=1, **asked)
    assert {result["key"].rpartition("/")[0] for result in served["results"]} <= {first, second}
    assert served["query"]["filter"] == asked["filter"]
    assert served["facets"] == {
        "folder": {
            "values": [{"value": first, "count": n}, {"value": second, "count": m}],
            "others": 0,
        },
        "format": {"values": [{"value": "JPEG", "count": n + m}], "others": 0},
    }
    selection = Selection(k=2, filter=asked["filter"], facets=asked["facets"])  # type: ignore[arg-type]
    assert_same(searcher.search(Query(image_id=1), selection), served)
    assert "facets" not in ask(client, image_id=1)


def test_uploads_and_batches_are_filtered(
    client: FlaskClient, photos: list[Path], folders: Counter[str]
) -> None:
    (folder, n), *_ = folders.most_common(1)
    filter_ = [f"folder={folder}", "width>=1"]
    form = MultiDict([("filter", clause) for clause in filter_])
    form.update({"facets": "folder,format", "k": "1000", "image": photos[0].open("rb")})
    found = body(client.post("/api/v1/search", data=form))
    assert found["query"]["filter"] == filter_
    assert (len(found["results"]), [*found["facets"]]) == (n, ["folder", "format"])
    queries = [{"image_id": 1, "filter": filter_}, {"image_id": 1, "filter": ["width>=wide"]}]
    one, other = body(client.post(BATCH, json={"queries": queries}))["answers"]
    assert len(one["results"]) == n
    assert other["error"]["code"] == "invalid_query"
    form = MultiDict([("filter", clause) for clause in filter_])
    form.update({"image": photos[0].open("rb"), "k": "1000"})
    assert len(body(client.post(BATCH, data=form))["answers"][0]["results"]) == n


def test_images_are_listed_page_by_page(
    client: FlaskClient, searcher: Searcher, folders: Counter[str]
) -> None:
    (folder, n), *_ = folders.most_common(1)
    asked = {"filter": [f"folder={folder}", "width>=1"], "facets": "format", "per_page": 2}
    ids = []
    for page in range(1, n // 2 + 2):
        found = body(client.get(IMAGES, query_string={**asked, "page": page}))
        assert (found["total"], found["page"], found["more"]) == (n, page, 2 * page < n)
        assert found["facets"]["format"]["values"] == [{"value": "JPEG", "count": n}]
        ids += [image["image_id"] for image in found["images"]]
        for image in found["images"]:
            assert image == body(client.get(f"{IMAGES}/{image['image_id']}"))
    assert ids == searcher.collection.matching([f"folder={folder}"]).tolist()
    everything = body(client.get(IMAGES))
    assert (everything["total"], len(everything["images"]), everything["more"]) == (40, 40, False)
    assert "facets" not in everything
    assert body(client.get(IMAGES, query_string={"page": 2**31}))["images"] == []


def test_the_index_lists_its_fields(client: FlaskClient) -> None:
    fields = body(client.get("/api/v1/index"))["fields"]
    assert {field["name"]: field["type"] for field in fields} == {
        "key": "text", "folder": "text", "format": "text",
        "width": "number", "height": "number", "size": "number",
    }  # fmt: skip
    assert {field["images"] for field in fields} == {40}


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"filter": ["colour=red"]}, "invalid_query"),
        ({"filter": ["width"]}, "invalid_query"),
        ({"filter": ["width=5"] * 17}, "invalid_request"),
        ({"filter": ["width=" + "5" * 995]}, "invalid_request"),
        ({"filter": "width=5"}, "invalid_request"),
        ({"filter": [5]}, "invalid_request"),
        ({"filter": ["key=\ud800"]}, "invalid_request"),
        ({"facets": ["colour"]}, "invalid_query"),
        ({"facets": ["key"] * 17}, "invalid_request"),
        ({"facets": "key"}, "invalid_request"),
    ],
)
def test_wrong_filters_and_facets_are_refused(
    client: FlaskClient, asked: dict[str, object], code: str
) -> None:
    data = json.dumps({"image_id": 1, **asked})
    found = client.post("/api/v1/search", data=data, content_type="application/json")
    assert_error(found, 422, code)


def test_wrong_lists_are_refused(client: FlaskClient, photos: list[Path]) -> None:
    for asked in ("filter=colour%3Dred", "facets=,", "per_page=1001", "page=0", "page=2147483649",
                  "filters=a", "filter=width"):  # fmt: skip
        code = "invalid_query" if "=width" in asked or "red" in asked or "=," in asked else None
        assert_error(client.get(f"{IMAGES}?{asked}"), 422, code or "invalid_request")
    assert_error(upload(client, photos[0].read_bytes(), facets=","), 422, "invalid_query")


def test_an_index_of_an_older_lookalike_is_filtered_after_the_next_build(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as older:
        older.setattr(indexer.store.layers, "write_index", lambda connection: None)
        build(config)
    client = ready_app(config).test_client()
    for asked in ({"filter": ["width>=1"]}, {"facets": ["key"]}, {"allowed": {"key_prefix": "a"}}):
        refused = client.post("/api/v1/search", json={"image_id": 1, **asked})
        assert "lookalike index" in assert_error(refused, 409, "no_metadata_index")["hint"]
    assert_error(client.get(f"{IMAGES}?facets=key"), 409, "no_metadata_index")
    assert body(client.get("/api/v1/index"))["fields"] == []
    assert body(client.get(IMAGES))["total"] == 6
    report = build(config)
    assert (report.version, report.encoded, report.recognised) == ("00000002", 0, 0)
    client = ready_app(config).test_client()
    assert len(ask(client, image_id=1, filter=["width>=1"])["results"]) == 6
    assert build(config).version == "00000002"
