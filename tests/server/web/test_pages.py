"""The pages as the server renders them, and their headers."""

import re
import shutil
from html import unescape
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from PIL import Image

from indexer.build import build
from indexer.config import Config
from server.app import CONTENT_SECURITY_POLICY, create_app
from tests.conftest import small_config
from tests.indexer.images.matrix.scene import heif

CAPTION = r'</svg>\s*<span class="key filename" title="([^"]*)"'
"""The name of a result, not that of a near-duplicate below it."""


def shown(page: str) -> int:
    """How many results a page shows, without grouped near-duplicates."""
    return page.count('class="similarity"')


def test_the_start_page_offers_a_form_and_images_to_start_from(client: FlaskClient) -> None:
    page = client.get("/").text
    assert 'enctype="multipart/form-data"' in page
    assert page.count('class="picture"') == 24
    assert '40 images, <a href="/collection#skipped">1 skipped</a>' in page


def test_every_page_names_encoder_and_version(client: FlaskClient, photos: list[Path]) -> None:
    upload = {"image": (photos[0].open("rb"), "a.jpg")}
    fingerprint = client.get("/api/v1/index").json["encoder"]["fingerprint"]  # type: ignore[index]
    for page in (client.get("/"), client.get("/?image_id=1"), client.post("/", data=upload)):
        assert "efficientnet_lite0" in page.text
        assert fingerprint in page.text
        assert "Version 1 of" in page.text


def test_an_upload_is_shown_beside_its_results(client: FlaskClient, photos: list[Path]) -> None:
    page = client.post("/", data={"image": (photos[0].open("rb"), "holiday.jpg")}).text
    assert "data:image/jpeg;base64," in page
    assert "holiday.jpg" in page
    assert shown(page) == 30
    assert "100 %" in page


def test_the_image_of_a_query_is_not_among_its_results(client: FlaskClient) -> None:
    """A near-duplicate of it takes its place; the API returns it."""
    answer = client.post(
        "/api/v1/search", json={"image_id": 3, "k": 5, "collapse_duplicates": True}
    ).json
    assert answer is not None
    assert answer["results"][0]["image_id"] == 3
    page = client.get("/?image_id=3&k=5").text
    shown_keys = re.findall(CAPTION, page)
    assert shown_keys == [result["key"] for result in answer["results"][1:]]
    assert "There is no other image" not in page


def test_a_near_duplicate_takes_the_place_of_the_query(tmp_path: Path, photos: list[Path]) -> None:
    (tmp_path / "images").mkdir()
    for name, quality in {"a": 95, "b": 80, "c": 60}.items():
        with Image.open(photos[0]) as photo:
            photo.save(tmp_path / "images" / f"{name}.jpg", quality=quality)
    for other in photos[40::40]:
        shutil.copy(other, tmp_path / "images")
    config = small_config(tmp_path / "images", tmp_path / "store")
    build(config)
    page = create_app(config).test_client().get("/?image_id=1").text
    assert re.findall(CAPTION, page)[0] == "b.jpg"
    assert "+1<span" in page
    both = create_app(config).test_client().get("/?image_id=1&image_id=2").text
    assert re.findall(CAPTION, both)[0] == "c.jpg"
    assert "+1<span" not in both
    for path in (tmp_path / "images").glob("[!a].jpg"):
        path.unlink()
    for other in photos[40::40]:
        (tmp_path / "images" / other.name).unlink()
    build(config, allow_shrink=True)
    assert "There is no other image" in create_app(config).test_client().get("/?image_id=1").text


def test_a_page_that_does_not_exist_offers_a_search(client: FlaskClient) -> None:
    answer = client.get("/nothing", headers={"Accept": "text/html"})
    assert answer.status_code == 404
    assert "There is no such page." in answer.text
    assert 'id="image" name="image"' in answer.text
    assert client.get("/api/v1/nothing").json["error"]["code"] == "not_found"  # type: ignore[index]


def test_names_are_escaped(client: FlaskClient, photos: list[Path]) -> None:
    name = "<script>alert(1)</script>.jpg"
    page = client.post("/", data={"image": (photos[0].open("rb"), name)}).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_more_like_this_needs_no_upload(client: FlaskClient) -> None:
    page = client.get("/?image_id=2&k=5").text
    assert shown(page) == 4, "the image itself is beside its results"


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/?image_id=99999", 404),
        ("/?image_id=99999999999999999999", 404),
        ("/?image_id=x", 422),
        ("/?image_id=1&k=0", 422),
        ("/?image_id=1&not=x", 422),
        ("/?image_id=1&not=999", 404),
        ("/?image_id=1&mode=fast", 422),
        ("/?image_id=1&page=0", 422),
        ("/?image_id=1&threshold=x", 422),
        ("/?image_id=1&threshold=3", 422),
        ("/?image_id=1&crop=0,0,1", 422),
        ("/?image_id=1&crop=0.5,0,0.6,1", 422),
        ("/images/999", 404),
        ("/images/1?image_id=999", 404),
        ("/export.csv", 422),
        ("/export.zip?image_id=1&count=1001", 422),
        ("/collection?page=0", 422),
    ],
)
def test_an_invalid_url_is_explained_on_the_page(
    client: FlaskClient, url: str, status: int
) -> None:
    response = client.get(url)
    assert response.status_code == status
    assert 'role="alert"' in response.text
    assert 'type="file"' in response.text


def test_a_refused_upload_is_explained_on_the_page(client: FlaskClient) -> None:
    response = client.post("/", data={"image": (BytesIO(b"text"), "a.jpg")})
    assert response.status_code == 415
    assert "not an image in a format that can be read" in response.text
    assert client.post("/", data={}).status_code == 422


def test_browsers_get_errors_as_pages_and_programs_as_json(client: FlaskClient) -> None:
    browser = client.get("/nothing", headers={"Accept": "text/html,*/*;q=0.8"})
    assert (browser.status_code, browser.mimetype) == (404, "text/html")
    assert "Back to the search" in browser.text
    api = client.get("/api/v1/nothing", headers={"Accept": "text/html,*/*"})
    assert api.mimetype == "application/json"


def test_without_an_index_the_page_says_what_to_run_until_there_is_one(config: Config) -> None:
    client = create_app(config).test_client()
    page = client.get("/")
    assert page.status_code == 503
    assert "lookalike index FOLDER" in page.text
    search = client.post("/api/v1/search", json={"image_id": 1})
    assert (search.status_code, search.headers["Retry-After"]) == (503, "10")
    assert client.get("/healthz").status_code == 200
    assert client.get("/readyz").status_code == 503
    build(config)
    assert client.get("/").status_code == 200


def test_without_an_index_every_page_says_so_and_the_log_once(
    config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    client = create_app(config).test_client()
    for url in ("/", "/random", "/collection", "/collection/images", "/export.csv?image_id=1"):
        answer = client.get(url, headers={"Accept": "text/html"})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        assert "lookalike index" in answer.text
    client.get("/readyz")
    logged = [record for record in caplog.records if "no_published_index" in record.getMessage()]
    assert len(logged) == 1


def test_an_empty_index_says_why(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.jpg").write_bytes(b"x")
    config = small_config(tmp_path / "images", tmp_path / "s")
    build(config)
    assert "every file was skipped" in create_app(config).test_client().get("/").text


def test_test_weights_are_announced_on_every_page(images: Path, tmp_path: Path) -> None:
    for photo in sorted(images.rglob("*.jpg"))[2:]:
        photo.unlink()
    config = small_config(images, tmp_path / "s", encoder={"weights": "random:1"})
    build(config)
    client = create_app(config).test_client()
    for url in ("/", "/?image_id=1"):
        assert "Test weights." in client.get(url).text


def test_the_headers_hold_on_every_kind_of_answer(client: FlaskClient) -> None:
    for url in ("/", "/nothing", "/api/v1/index", "/api/v1/images/1/file", "/static/lookalike.css"):
        with client.get(url) as response:
            headers = response.headers
        assert headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
    assert "'unsafe-inline'" not in CONTENT_SECURITY_POLICY


def test_readiness_gives_the_reason_until_it_is_ready(demo_config: Config) -> None:
    import time

    client = create_app(demo_config).test_client()
    deadline = time.monotonic() + 60
    while (answer := client.get("/readyz")).status_code == 503 and time.monotonic() < deadline:
        assert answer.json is not None
        assert answer.json["error"]["code"] == "not_ready"
        time.sleep(0.05)
    body = answer.json
    assert body.pop("images")["readable"] in (None, True)  # None until some have been read
    assert body == {"status": "ready", "version": "00000001", "refused": None}


def test_a_rendition_is_made_of_images_only(client: FlaskClient, photos: list[Path]) -> None:
    tiff = BytesIO()
    with Image.open(photos[0]) as photo:
        photo.save(tiff, "TIFF")
    tiff.seek(0)
    made = client.post("/rendition", data={"image": (tiff, "photo.tif")})
    assert made.mimetype == "image/jpeg"
    with Image.open(BytesIO(made.data)) as shown:
        assert shown.size == photo.size
    refused = client.post("/rendition", data={"image": (BytesIO(b"no image"), "photo.tif")})
    assert refused.status_code == 415
    assert client.post("/rendition", data={}).status_code == 422


def test_an_image_that_is_no_result_has_no_neighbours_in_the_results(client: FlaskClient) -> None:
    pages = [client.get(f"/images/7?image_id=1&k=5&page={page}").text for page in range(1, 9)]
    assert ['rel="next"' in page for page in pages].count(True) == 1
    assert all("Back to the results" in page for page in pages)
    for url in ("/images/1?image_id=1", "/images/1"):
        page = client.get(url).text
        assert 'rel="next"' not in page
        assert 'rel="prev"' not in page


def test_the_docs_load_nothing_from_other_hosts(client: FlaskClient) -> None:
    page = client.get("/docs").text
    assert "http" not in page
    for name in ("css/swagger-ui.css", "js/swagger-ui-bundle.js"):
        with client.get(f"/docs/{name}") as response:
            assert response.status_code == 200
    assert client.get("/docs/../app.py").status_code == 404


def test_a_picture_that_browsers_cannot_show_is_shown_as_jpeg(
    tmp_path: Path, photos: list[Path]
) -> None:
    (tmp_path / "images").mkdir()
    with Image.open(photos[0]) as photo:
        photo.save(tmp_path / "images" / "scan.tif")
        (tmp_path / "images" / "phone.heic").write_bytes(heif(photo))
        photo.save(tmp_path / "images" / "web.png")
    config = small_config(tmp_path / "images", tmp_path / "store")
    assert build(config).indexed == 3
    client = create_app(config).test_client()
    for image_id, (source, media_type) in {
        1: ("thumbnail", "image/jpeg"),  # phone.heic
        2: ("thumbnail", "image/jpeg"),  # scan.tif
        3: ("file", "image/png"),
    }.items():
        (picture,) = re.findall(
            r'title="Open the original"><img src="([^"]+)"', client.get(f"/images/{image_id}").text
        )
        assert f"/{image_id}/{source}?" in picture
        assert client.get(unescape(picture)).mimetype == media_type
    original = client.get("/api/v1/images/1/file")
    assert original.mimetype == "image/heif"
