"""The routes of the JSON API: answers and errors."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from indexer.build import build
from indexer.config import Config
from indexer.errors import ExportError
from server.api.requests import SIDES
from server.app import create_app
from server.errors import code_of
from tests.conftest import DEMO_IMAGES, small_config
from tests.server.helpers import assert_error, body, png, ready_app, upload


def test_search_by_upload(client: FlaskClient, photos: list[Path]) -> None:
    answer = body(upload(client, photos[0].read_bytes(), k=3))
    assert set(answer) == {
        "version", "encoder", "mode", "query", "timings_ms", "results", "more", "no_match",
        "label_field",
    }  # fmt: skip
    assert answer["encoder"]["model"] == "efficientnet_lite0"
    assert answer["query"] == {
        "kind": "image", "image_id": None, "text": None, "url": None, "crop": None,
        "allowed": None, "filter": [], "positives": [], "negatives": [], "k": 3, "page": 1,
        "threshold": None, "collapse_duplicates": False, "note": "",
    }  # fmt: skip
    assert set(answer["timings_ms"]) == {"decode", "encode", "search", "total"}
    first = answer["results"][0]
    assert list(first) == [
        "rank", "image_id", "key", "distance", "cosine", "percentile", "share_alike", "url",
        "thumbnail_url", "metadata", "duplicates",
    ]  # fmt: skip
    assert first["key"] == str(photos[0].relative_to(DEMO_IMAGES))
    assert first["distance"] < 1e-5
    assert (first["percentile"], first["share_alike"]) == (0, None)
    assert (answer["no_match"], answer["label_field"]) == (False, "folder")
    assert 0 < answer["results"][1]["percentile"] < answer["results"][2]["percentile"] < 100
    assert client.get(first["url"]).data == photos[0].read_bytes()


def test_search_by_stored_image_and_by_vector(client: FlaskClient) -> None:
    by_id = body(client.post("/api/v1/search", json={"image_id": 3, "k": 4}))
    assert (by_id["results"][0]["image_id"], by_id["results"][0]["distance"]) == (3, 0)
    vector = np.random.default_rng(0).random(1280).tolist()
    by_vector = body(client.post("/api/v1/search", json={"vector": vector}))
    assert (by_vector["query"]["kind"], len(by_vector["results"])) == ("vector", 30)
    distances = [result["distance"] for result in by_vector["results"]]
    assert distances == sorted(distances)


def test_both_modes_answer(client: FlaskClient) -> None:
    answers = [
        body(client.post("/api/v1/search", json={"image_id": 5, "mode": mode}))
        for mode in ("exact", "approximate")
    ]
    assert [answer["mode"] for answer in answers] == ["exact", "approximate"]
    assert answers[0]["results"] == answers[1]["results"]


def test_approximate_search_without_an_approximate_index_is_a_conflict(config: Config) -> None:
    build(config)
    client = create_app(config).test_client()
    response = client.post("/api/v1/search", json={"image_id": 1, "mode": "approximate"})
    assert_error(response, 409, "no_approximate_index")


@pytest.mark.parametrize("k", [1, 1000])
def test_k_within_its_limits(client: FlaskClient, k: int) -> None:
    answer = body(client.post("/api/v1/search", json={"image_id": 1, "k": k}))
    assert len(answer["results"]) == min(k, 40)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"image_id": 1, "vector": [1.0]},
        {"image_id": 1, "k": 0},
        {"image_id": 1, "k": 1001},
        {"image_id": 1, "k": "5"},
        {"image_id": 1, "k": 1.5},
        {"image_id": 1, "mode": "fast"},
        {"image_id": 1, "unknown": 1},
        {"image_id": "1"},
        {"image_id": 0},
        {"image_id": 2**63},
        {"image_id": True},
        {"vector": [1.0, 2.0]},
        {"vector": []},
        {"vector": ["a"]},
        {"vector": [0.0] * 1280},
        [],
        5,
    ],
)
def test_requests_the_document_does_not_allow(client: FlaskClient, query: object) -> None:
    response = client.post("/api/v1/search", json=query)
    assert response.status_code == 422, response.text
    assert body(response)["error"]["code"] in ("invalid_request", "invalid_query")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "1e999"])
def test_numbers_that_are_not_finite(client: FlaskClient, number: str) -> None:
    text = f'{{"vector": [{", ".join([number] * 1280)}]}}'
    response = client.post("/api/v1/search", data=text, content_type="application/json")
    assert_error(response, 422, "invalid_request")


def test_malformed_bodies(client: FlaskClient) -> None:
    post = client.post
    assert_error(
        post("/api/v1/search", data="null", content_type="application/json"), 422, "invalid_request"
    )
    assert_error(
        post("/api/v1/search", data="{", content_type="application/json"), 400, "bad_request"
    )
    assert_error(
        post("/api/v1/search", data="x", content_type="text/plain"), 415, "unsupported_media_type"
    )
    assert_error(post("/api/v1/search"), 415, "unsupported_media_type")
    assert_error(
        post("/api/v1/search", data={"k": "3"}, content_type="multipart/form-data"),
        422,
        "invalid_request",
    )
    assert_error(
        post("/api/v1/search", data=b"--x", content_type="multipart/form-data"),
        400,
        "bad_request",
    )


def test_uploads_that_are_no_images(client: FlaskClient, photos: list[Path]) -> None:
    assert_error(upload(client, b"text"), 415, "unsupported_image")
    assert_error(upload(client, b""), 415, "unsupported_image")
    assert_error(upload(client, photos[0].read_bytes()[:900]), 400, "invalid_image")


@pytest.mark.parametrize("form", [{"k": "x"}, {"k": "0"}, {"mode": "fast"}, {"unknown": "1"}])
def test_form_fields_the_document_does_not_allow(
    client: FlaskClient, photos: list[Path], form: dict[str, str]
) -> None:
    assert upload(client, photos[0].read_bytes(), **form).status_code == 422


def test_the_limits_of_uploads_hold_on_both_sides(demo_config: Config) -> None:
    limits = {"max_pixels": 10_000, "max_upload_bytes": 1_000_000}
    config = small_config(demo_config.dataset.root, demo_config.store, server=limits)
    client = ready_app(config).test_client()
    assert upload(client, png(100, 100)).status_code == 200
    assert_error(upload(client, png(101, 100)), 413, "image_too_large")
    padded = png(100, 100)
    assert upload(client, padded + bytes(1_000_000 - len(padded))).status_code == 200
    assert_error(upload(client, padded + bytes(1_000_001 - len(padded))), 413, "upload_too_large")
    assert_error(upload(client, padded + bytes(2_000_000)), 413, "upload_too_large")


def test_a_large_upload_never_touches_the_disk(
    client: FlaskClient, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Werkzeug's own parser writes uploads above 500 kB to a temporary file."""
    import tempfile

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a temporary file was opened")

    for name in ("TemporaryFile", "NamedTemporaryFile", "SpooledTemporaryFile", "mkstemp"):
        monkeypatch.setattr(tempfile, name, forbidden)
    assert upload(client, photos[0].read_bytes() + bytes(5_000_000)).status_code == 200


def test_an_indexed_image_is_described(client: FlaskClient) -> None:
    image = body(client.get("/api/v1/images/1"))
    assert set(image) == {
        "image_id", "key", "width", "height", "bytes", "format", "sha256", "metadata", "note",
        "url", "thumbnail_url",
    }  # fmt: skip
    file = client.get(image["url"])
    assert (file.mimetype, len(file.data)) == ("image/jpeg", image["bytes"])
    assert Image.open(BytesIO(file.data)).size == (image["width"], image["height"])


def test_images_are_cached_for_ever_and_revalidated(client: FlaskClient) -> None:
    image = body(client.get("/api/v1/images/1"))
    for url in (image["url"], image["thumbnail_url"]):
        first = client.get(url)
        assert "immutable" in first.headers["Cache-Control"]
        for other_version in (url.partition("?")[0], url + "0"):
            assert "no-cache" in client.get(other_version).headers["Cache-Control"]
        again = client.get(url, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        other = client.get(url, headers={"If-None-Match": '"other"'})
        assert other.status_code == 200
        assert client.get(url, headers={"If-Match": first.headers["ETag"]}).data == first.data
        refused = client.get(url, headers={"If-Match": '"other"'})
        assert_error(refused, 412, "precondition_failed")


@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since", "If-Range"])
@pytest.mark.parametrize("year", ["99999999999999", "99999", "0", "-1", "\xb2"])
def test_conditions_on_dates_that_no_calendar_has_are_ignored(
    client: FlaskClient, name: str, year: str
) -> None:
    header = {f"HTTP_{name.upper().replace('-', '_')}": f"Sat, 29 Oct {year} 19:43:31 GMT"}
    for url in ("/api/v1/images/1/file", "/static/lookalike.css"):
        assert client.get(url, environ_overrides=header).status_code == 200


def test_thumbnails_have_one_of_six_sizes(client: FlaskClient) -> None:
    for side in SIDES:
        thumbnail = client.get(f"/api/v1/images/1/thumbnail?side={side}")
        width, height = Image.open(BytesIO(thumbnail.data)).size
        row = body(client.get("/api/v1/images/1"))
        assert max(width, height) == min(side, max(row["width"], row["height"]))
    for side in ("95", "1025", "x", ""):
        response = client.get(f"/api/v1/images/1/thumbnail?side={side}")
        error = assert_error(response, 422, "invalid_request")
        assert side in ("x", "") or "96, 128, 256, 320, 480, 1024" in error["message"]


@pytest.mark.parametrize(
    "path",
    ["999999", "-1", "x", "1/2", "..%2f..%2fetc%2fpasswd", "%00", "1/file/../../../index", ""],
)
def test_only_ids_lead_to_images(client: FlaskClient, path: str) -> None:
    for suffix in ("", "/file", "/thumbnail"):
        response = client.get(f"/api/v1/images/{path}{suffix}")
        assert response.status_code == 404
        assert set(body(response)["error"]) == {"code", "message", "hint"}


def test_skipped_files_cannot_be_fetched(client: FlaskClient, demo_config: Config) -> None:
    from indexer.store import Store

    (row,) = Store(demo_config.store).open_published().catalogue.rows("skipped")
    assert_error(client.get(f"/api/v1/images/{row.id}/file"), 404, "unknown_image")


def test_a_file_that_changed_is_gone(config: Config, images: Path) -> None:
    build(config)
    client = create_app(config).test_client()
    (images / body(client.get("/api/v1/images/1"))["key"]).write_bytes(b"other")
    assert_error(client.get("/api/v1/images/1/file"), 404, "image_gone")
    assert client.post("/api/v1/search", json={"image_id": 1}).status_code == 200


def test_the_index_describes_itself(client: FlaskClient) -> None:
    index = body(client.get("/api/v1/index"))
    assert (index["found"], index["indexed"], index["skipped"]) == (41, 40, 1)
    assert index["modes"] == ["exact", "approximate"]
    assert datetime.fromisoformat(index["created"]).tzinfo is not None
    assert index["approximate"] == "IVF4,SQ8"
    assert index["encoder"]["random_weights"] is False


def test_addresses_of_two_stores_differ(client: FlaskClient, config: Config) -> None:
    """Ids begin at 1 in every store; a browser must not show cached images of another one."""
    build(config)
    other = create_app(config).test_client()
    ours, theirs = (body(c.get("/api/v1/images/3"))["thumbnail_url"] for c in (client, other))
    assert ours != theirs


def test_no_path_of_the_machine_is_shown(
    client: FlaskClient, demo_config: Config, tmp_path: Path
) -> None:
    empty = create_app(small_config(tmp_path, tmp_path / "secret")).test_client()
    for url in ("/", "/api/v1/index", "/readyz"):
        answer = empty.get(url)
        assert answer.status_code == 503
        assert "secret" not in answer.text
    for url in ("/", "/api/v1/index", "/api/v1/images/1", "/openapi.json", "/readyz"):
        assert str(demo_config.dataset.root.parent) not in client.get(url).text


def test_many_clients_at_once_get_their_own_answers(
    client: FlaskClient, demo_config: Config
) -> None:
    app = client.application

    def ask(number: int) -> bool:
        image_id = number % 40 + 1
        query = {"image_id": image_id, "k": number % 9 + 1}
        response = app.test_client().post("/api/v1/search", json=query)
        if response.status_code == 404:  # the one skipped file has an id as well
            return True
        results = body(response)["results"]
        return results[0]["image_id"] == image_id and len(results) == query["k"]

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(400)))


def test_foreign_host_names_are_refused_on_the_loopback(
    client: FlaskClient, demo_config: Config
) -> None:
    """Otherwise a foreign web page could point its own name here and read the answers."""
    evil = {"Host": "evil.example"}
    assert_error(client.get("/api/v1/images/1", headers=evil), 400, "bad_request")
    page = client.get("/", headers={**evil, "Accept": "text/html"})
    assert (page.status_code, page.mimetype) == (400, "text/html")
    assert "trusted_hosts" in page.text
    for path in ("/healthz", "/readyz"):  # health checks use the IP address
        assert client.get(path, headers={"Host": "10.0.0.5:8000"}).status_code != 400
    for name in ("localhost:8000", "127.0.0.1"):
        assert client.get("/api/v1/images/1", headers={"Host": name}).status_code == 200
    for server in ({"host": "0.0.0.0"}, {"trusted_hosts": ["evil.example"]}):  # noqa: S104
        config = small_config(demo_config.dataset.root, demo_config.store, server=server)
        other = create_app(config).test_client()
        assert other.get("/api/v1/images/1", headers=evil).status_code == 200


def test_json_nested_too_deeply(client: FlaskClient) -> None:
    response = client.post("/api/v1/search", data="[" * 200_000, content_type="application/json")
    assert_error(response, 400, "bad_request")


def test_programs_get_errors_as_json_on_every_path(client: FlaskClient) -> None:
    for accept in ("*/*", "application/json"):
        assert_error(client.get("/nothing", headers={"Accept": accept}), 404, "not_found")


def test_errors_of_the_framework_have_the_same_shape(client: FlaskClient) -> None:
    assert_error(client.get("/api/v1/nothing"), 404, "not_found")
    response = client.delete("/api/v1/search")
    assert_error(response, 405, "method_not_allowed")
    assert "POST" in response.headers["Allow"]


def test_http_errors_have_documented_codes(client: FlaskClient) -> None:
    range_beyond_the_end = {"Range": "bytes=100000000-"}
    response = client.get("/static/main.js", headers=range_beyond_the_end)
    assert_error(response, 416, "range_not_satisfiable")
    statuses = (400, 403, 413, 414, 418, 422, 500, 501)
    assert [code_of(status) for status in statuses] == [
        "bad_request", "forbidden", "upload_too_large", "address_too_long", "bad_request",
        "bad_request", "internal_error", "internal_error",
    ]  # fmt: skip


def test_an_unexpected_exception_is_logged_and_not_shown(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from indexer.search import Collection

    client = create_app(demo_config).test_client()
    monkeypatch.setattr(Collection, "image", lambda *_: 1 / 0)
    error = assert_error(client.get("/api/v1/images/1"), 500, "internal_error")
    assert "division" not in json.dumps(error)
    assert "ZeroDivisionError" in caplog.text


def test_a_domain_error_without_a_documented_code_is_logged_and_not_shown(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from indexer.search import Collection

    def fail(*_: object) -> NoReturn:
        raise ExportError("/secret/file cannot be written.")

    client = create_app(demo_config).test_client()
    monkeypatch.setattr(Collection, "image", fail)
    for url in ("/api/v1/images/1", "/?image_id=1"):
        caplog.clear()
        answer = client.get(url)
        assert_error(answer, 500, "internal_error")
        page = client.get(url, headers={"Accept": "text/html"})
        assert page.status_code == 500
        assert "secret" not in answer.text + page.text
        assert "/secret/file" in caplog.text
        assert "Traceback" in caplog.text
