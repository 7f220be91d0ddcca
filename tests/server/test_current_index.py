"""A running server switches to a new version: no request fails, a damaged one is rejected."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from flask.testing import FlaskClient

import server.current_index
from indexer.build import BuildReport, build
from indexer.config import Config
from indexer.maintenance import rollback
from indexer.search import Searcher
from indexer.store import Store
from indexer.transfer import pull, push
from server.app import create_app
from server.current_index import CurrentIndex
from tests.conftest import delete, small_config
from tests.server.processes import running_server
from tests.waiting import eventually

Reindex = Callable[[], BuildReport]


@pytest.fixture(autouse=True)
def _poll_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.current_index, "POLL_SECONDS", 0.02)


@pytest.fixture
def client(reindex: Reindex, config: Config) -> Iterator[FlaskClient]:
    reindex()
    app = create_app(config)
    with app.test_client() as client:
        yield client


def current(client: FlaskClient) -> CurrentIndex:
    found: CurrentIndex = client.application.extensions["current_index"]
    return found


def ready(client: FlaskClient) -> dict[str, object]:
    """Return what /readyz says but for the image files."""
    answer: dict[str, object] = client.get("/readyz").get_json()
    return {name: value for name, value in answer.items() if name != "images"}


def test_a_published_or_restored_version_is_used_without_a_restart(
    client: FlaskClient, reindex: Reindex, images: Path, config: Config
) -> None:
    eventually(lambda: ready(client).get("version") == "00000001")
    encoder = current(client).searcher()._encoder
    delete(next(images.rglob("*.jpg")))
    reindex()
    eventually(lambda: ready(client).get("version") == "00000002")
    assert current(client).searcher()._encoder is encoder, "the model is not loaded twice"
    assert client.get("/api/v1/index").get_json()["indexed"] == 5
    rollback(config)
    eventually(lambda: ready(client).get("version") == "00000001")


def test_a_query_finishes_on_the_version_it_began_with(
    client: FlaskClient, images: Path, config: Config
) -> None:
    client.get("/api/v1/index")
    old = current(client).searcher()
    for photo in sorted(images.rglob("*.jpg"))[1:]:
        delete(photo)
    build(config, allow_shrink=True)
    eventually(lambda: ready(client).get("version") == "00000002")
    assert len(old.search_id(1).hits) == 6
    assert len(current(client).searcher().search_id(1).hits) == 1


def test_a_version_that_was_pulled_is_used_without_a_restart(
    reindex: Reindex, images: Path, config: Config, tmp_path: Path
) -> None:
    address, copy = f"file://{tmp_path}/copy", small_config(images, tmp_path / "pulled")
    reindex()
    push(config, address)
    pull(copy, address)
    with create_app(copy).test_client() as client:
        eventually(lambda: ready(client).get("version") == "00000001")
        delete(next(images.rglob("*.jpg")))
        reindex()
        push(config, address)
        pull(copy, address)
        eventually(lambda: ready(client).get("version") == "00000002")
        assert client.get("/api/v1/index").get_json()["indexed"] == 5


@pytest.mark.parametrize("damage", ["vectors", "catalogue", "CURRENT", "wrong vectors"])
def test_a_version_that_fails_its_checks_is_rejected_and_the_old_one_stays(
    client: FlaskClient,
    reindex: Reindex,
    images: Path,
    config: Config,
    caplog: pytest.LogCaptureFixture,
    damage: str,
) -> None:
    eventually(lambda: ready(client).get("version") == "00000001")
    refresh, current(client).refresh = current(client).refresh, lambda: None  # type: ignore[method-assign]
    (images / "new.jpg").write_bytes(next(images.rglob("*.jpg")).read_bytes() + b"\0")
    reindex()
    store = Store(config.store)
    segment = store.open_published().segments[-1]
    content = segment.vectors_path.read_bytes()
    if damage == "vectors":
        segment.vectors_path.write_bytes(content[:-1])
    elif damage == "catalogue":
        (store.layers / "00000002.sqlite").write_bytes(b"")
    elif damage == "CURRENT":
        (config.store / "CURRENT").write_text("../elsewhere")
    else:  # of the right size: not numbers
        segment.vectors_path.write_bytes(content[:-4000] + b"\xff" * 4000)
    current(client).refresh = refresh  # type: ignore[method-assign]
    eventually(lambda: ready(client).get("refused") is not None)
    assert ready(client)["version"] == "00000001"
    assert str(config.store) not in str(ready(client))
    assert str(config.store) in caplog.text
    assert client.post("/api/v1/search", json={"image_id": 1}).status_code == HTTPStatus.OK
    assert "is not used" in caplog.text
    shutil.rmtree(config.store / "segments")
    shutil.rmtree(config.store / "versions")
    (config.store / "CURRENT").unlink()
    (config.store / "catalogue.sqlite").unlink()
    for _ in range(3):  # a third version, since the first two were refused or are served
        reindex()
        (images / "new.jpg").write_bytes((images / "new.jpg").read_bytes() + b"\0")
    eventually(lambda: ready(client) == {"status": "ready", "version": "00000003", "refused": None})


@pytest.mark.parametrize("how", ["removed and built again", "swapped by mv"])
def test_another_store_at_the_same_path_is_noticed_though_its_version_has_the_same_name(
    client: FlaskClient, reindex: Reindex, images: Path, config: Config, tmp_path: Path, how: str
) -> None:
    eventually(lambda: ready(client).get("version") == "00000001")
    other = tmp_path / "other"
    delete(next(images.rglob("*.jpg")))
    if how == "swapped by mv":
        build(small_config(images, other))
        config.store.rename(tmp_path / "old")
        other.rename(config.store)
    else:
        shutil.rmtree(config.store)
        reindex()
    eventually(lambda: client.get("/api/v1/index").get_json()["indexed"] == 5)
    assert ready(client) == {"status": "ready", "version": "00000001", "refused": None}


@pytest.mark.parametrize("how", ["removed", "moved away"])
def test_without_its_store_the_open_version_answers_and_it_says_so(
    client: FlaskClient,
    config: Config,
    images: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    how: str,
) -> None:
    eventually(lambda: ready(client).get("version") == "00000001")
    other = tmp_path / "other"
    shutil.copytree(config.store, other)
    shutil.rmtree(config.store) if how == "removed" else config.store.rename(tmp_path / "old")
    eventually(lambda: ready(client).get("refused") is not None)
    for image_id in range(1, 7):
        hits = client.post("/api/v1/search", json={"image_id": image_id}).get_json()["results"]
        assert next(hit["image_id"] for hit in hits) == image_id
        assert client.get(f"/api/v1/images/{image_id}/file").status_code == HTTPStatus.OK
    answer = ready(client)
    assert answer["version"] == "00000001"
    assert str(tmp_path) not in str(answer)
    assert caplog.text.count("There is no index in") == 1, "once, not every second"
    other.rename(config.store)
    eventually(lambda: ready(client).get("refused") is None)


def test_a_store_that_is_copied_into_place_is_used_as_soon_as_it_is_complete(
    client: FlaskClient, config: Config, images: Path, tmp_path: Path
) -> None:
    eventually(lambda: ready(client).get("version") == "00000001")
    other = tmp_path / "other"
    delete(next(images.rglob("*.jpg")))
    build(small_config(images, other))
    shutil.rmtree(config.store)
    config.store.mkdir()
    for part in ("CURRENT", "versions"):  # the order in which it looks complete first
        if (other / part).is_dir():
            shutil.copytree(other / part, config.store / part)
        else:
            shutil.copy(other / part, config.store / part)
    eventually(lambda: ready(client).get("refused") is not None)
    for part in ("derived", "layers", "segments"):
        shutil.copytree(other / part, config.store / part)
    eventually(lambda: client.get("/api/v1/index").get_json()["indexed"] == 5)


def test_caches_show_no_pictures_of_a_store_that_was_replaced(
    client: FlaskClient, config: Config, images: Path, tmp_path: Path
) -> None:
    """Image 1 is another picture there: its address and its entity tag differ."""
    eventually(lambda: ready(client).get("version") == "00000001")
    asked = client.post("/api/v1/search", json={"image_id": 1}).get_json()["results"][0]
    old = {name: client.get(asked[name]) for name in ("url", "thumbnail_url")}
    for answer in old.values():
        assert "immutable" in answer.headers["Cache-Control"]
    delete(sorted(images.rglob("*.jpg"))[0])
    shutil.rmtree(config.store)
    build(config)
    eventually(lambda: client.get("/api/v1/index").get_json()["indexed"] == 5)
    new = client.post("/api/v1/search", json={"image_id": 1}).get_json()["results"][0]
    for name, before in old.items():
        assert new[name] != asked[name]
        condition = {"If-None-Match": before.headers["ETag"]}
        for address in (new[name], asked[name]):
            answer = client.get(address, headers=condition)
            assert answer.status_code == HTTPStatus.OK
            assert answer.data != before.data
        assert "no-cache" in client.get(asked[name]).headers["Cache-Control"]


def test_a_damaged_first_version_is_not_opened_for_every_request(
    reindex: Reindex, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex()
    segments, hidden = config.store / "segments", config.store / "hidden"
    segments.rename(hidden)
    opened: list[int] = []
    monkeypatch.setattr(server.current_index, "REOPEN_SECONDS", 300)
    monkeypatch.setattr(
        Searcher, "open", lambda *more, real=Searcher.open: opened.append(1) or real(*more)
    )
    client = create_app(config).test_client()
    for path in ("/metrics", "/readyz", "/metrics", "/api/v1/index", "/"):
        status = HTTPStatus.OK if path == "/metrics" else HTTPStatus.SERVICE_UNAVAILABLE
        assert client.get(path).status_code == status
    assert len(opened) == 1
    hidden.rename(segments)
    current(client)._reopen_at = 0
    eventually(lambda: current(client).opened is not None)  # without a request


def test_an_index_that_appears_is_opened_without_a_request(
    reindex: Reindex, config: Config
) -> None:
    client = create_app(config).test_client()
    assert client.get("/readyz").status_code == HTTPStatus.SERVICE_UNAVAILABLE
    reindex()
    eventually(lambda: "lookalike_ready 1.0" in client.get("/metrics").text)


def test_no_request_fails_while_versions_are_published(images: Path, tmp_path: Path) -> None:
    """Over real sockets: 16 clients, at least 2,000 requests, five versions."""
    config = small_config(images, tmp_path / "store")
    build(config)
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def ask(port: int) -> None:
        while not stop.is_set():
            body = json.dumps({"image_id": 1, "k": 3}).encode()
            request = Request(
                f"http://127.0.0.1:{port}/api/v1/search",
                body,
                {"Content-Type": "application/json"},
            )
            try:
                with urlopen(request, timeout=30) as response:
                    answers.append((response.status, json.load(response)["version"]))
            except OSError as error:
                answers.append((0, str(error)))

    def publish_five() -> None:
        photo = next(images.rglob("*.jpg")).read_bytes()
        for number in range(1, 6):
            (images / f"{number}.jpg").write_bytes(photo + b"\0" * number)
            assert int(build(config).version) == number + 1
            wanted = f"{number + 1:08d}"
            eventually(lambda wanted=wanted: any(v == wanted for _, v in answers[-50:]))  # type: ignore[misc]
        eventually(lambda: len(answers) >= 2000)

    with running_server(config) as (_, port), ThreadPoolExecutor(16) as clients:
        asking = [clients.submit(ask, port) for _ in range(16)]
        try:
            publish_five()
        finally:
            stop.set()
        for thread in asking:
            thread.result()
    assert {status for status, _ in answers} == {HTTPStatus.OK}
    assert {version for _, version in answers} == {f"{n:08d}" for n in range(1, 7)}


def test_a_store_that_cannot_be_read_now_is_unavailable_and_used_again_afterwards(
    config: Config, reindex: Reindex, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex()
    monkeypatch.setattr(server.current_index, "REOPEN_SECONDS", 0.01)
    app = create_app(config)

    def fail(*_: object) -> None:
        raise OSError(24, "Too many open files", "/srv/private/catalogue.sqlite")

    with app.test_client() as client, monkeypatch.context() as patch:
        patch.setattr(Searcher, "open", fail)
        for path in ("/readyz", "/api/v1/index"):
            assert_unavailable(client, path)
    with app.test_client() as client:
        eventually(lambda: client.get("/api/v1/index").status_code == HTTPStatus.OK)
        with monkeypatch.context() as patch:
            patch.setattr("indexer.store.catalogue.Catalogue.get", fail)
            assert_unavailable(client, "/api/v1/images/1")
        assert client.get("/api/v1/images/1").status_code == HTTPStatus.OK


def assert_unavailable(client: FlaskClient, path: str) -> None:
    """503 without the path of a file."""
    response = client.get(path)
    assert response.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert response.get_json()["error"]["code"] == "store_unavailable"
    assert "private" not in response.get_data(as_text=True)
    assert response.headers["Retry-After"] == "5"


def test_images_whose_disk_is_away_are_missing_and_everything_else_works(
    client: FlaskClient,
    images: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def readable() -> object:
        return client.get("/readyz").get_json()["images"]["readable"]

    monkeypatch.setattr(server.current_index, "IMAGES_SECONDS", 0.3)
    cache = client.application.extensions["thumbnails"]
    monkeypatch.setattr(cache, "get", lambda sha256, side, make: make())  # none is kept
    eventually(lambda: ready(client).get("version") == "00000001")
    eventually(lambda: readable() is True)
    assert "cannot be shown now" not in client.get("/?image_id=1").text
    images.rename(images.with_name("away"))
    eventually(lambda: readable() is False)
    answer = client.get("/readyz")
    assert answer.status_code == HTTPStatus.OK
    assert "cannot be read" in answer.get_json()["images"]["reason"]
    assert str(images) not in answer.text
    assert len(client.post("/api/v1/search", json={"image_id": 1}).get_json()["results"]) == 6
    assert client.get("/api/v1/images/1").status_code == HTTPStatus.OK
    for name in ("file", "thumbnail"):
        missing = client.get(f"/api/v1/images/1/{name}")
        assert missing.status_code == HTTPStatus.NOT_FOUND
        assert missing.get_json()["error"]["code"] == "image_gone"
    page = client.get("/?image_id=1")
    assert page.status_code == HTTPStatus.OK
    assert "cannot be shown now" in page.text
    assert caplog.text.count("are not where the index expects them") == 1
    images.with_name("away").rename(images)
    eventually(lambda: readable() is True)
    assert client.get("/api/v1/images/1/file").status_code == HTTPStatus.OK


def test_a_disk_that_does_not_answer_stops_neither_searches_nor_new_versions(
    client: FlaskClient, config: Config, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.current_index, "IMAGES_SECONDS", 0.02)
    goes_on = threading.Event()
    monkeypatch.setattr(
        "indexer.search.image_sources.ImageSources.read", lambda *_: goes_on.wait(60)
    )
    try:
        eventually(lambda: "not answer" in str(client.get("/readyz").get_json().get("images")))
        delete(next(images.rglob("*.jpg")))
        build(config)
        eventually(lambda: ready(client).get("version") == "00000002")
        assert client.post("/api/v1/search", json={"image_id": 2}).status_code == HTTPStatus.OK
    finally:
        goes_on.set()
