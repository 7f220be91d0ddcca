"""API keys, rate limits and slots: what is refused, and how."""

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import indexer.search.query_encoder
from indexer.config import Config, EncoderConfig
from indexer.encoders import Encoder
from indexer.errors import ConfigError
from server.admission import rates
from server.admission.capacity import Capacity
from server.admission.keys import digest
from server.admission.slots import Overloaded, Slots
from server.api import routes
from server.app import create_app
from tests.conftest import small_config
from tests.server.helpers import assert_error, ready_app, upload

READ, ADMIN = "r" * 43, "a" * 43
KEYS = [
    {"name": "shop", "sha256": digest(READ), "scope": "read"},
    {"name": "watch", "sha256": digest(ADMIN), "scope": "admin"},
]


def app_client(demo_config: Config, **server: object) -> FlaskClient:
    config = small_config(demo_config.dataset.roots[0], demo_config.store, server=server)
    return ready_app(config).test_client()


def keyed_config(demo_config: Config) -> Config:
    server = {"api_keys": KEYS}
    return small_config(demo_config.dataset.roots[0], demo_config.store, server=server)


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def basic(key: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"me:{key}".encode()).decode()}


def test_with_keys_every_route_but_the_health_checks_takes_one(demo_config: Config) -> None:
    client = app_client(demo_config, api_keys=KEYS)
    for url in ("/api/v1/index", "/metrics", "/openapi.json", "/nothing", "/static/style.css"):
        for wrong in ({}, bearer("x"), bearer(""), basic("x"), {"Authorization": "Bearer"}):
            refused = client.get(url, headers={"Accept": "application/json", **wrong})
            assert_error(refused, 401, "unauthorized")
            assert refused.headers["WWW-Authenticate"].startswith("Basic ")
    assert client.get("/healthz").status_code == 200
    for headers in (bearer(READ), basic(READ), bearer(ADMIN)):
        assert client.get("/api/v1/index", headers=headers).status_code == 200


@pytest.mark.parametrize("scheme", ["Basic", "Bearer", "Digest", ""])
@pytest.mark.parametrize(
    "sent", ["\xff\xfe", "\xe9=\xe9", 'a="\\', "a*=utf-9''x", "////", "=" * 99]
)
def test_a_key_that_cannot_be_read_is_none(demo_config: Config, scheme: str, sent: str) -> None:
    """Also one with bytes beyond ASCII, which WSGI gives as Latin-1."""
    client = create_app(keyed_config(demo_config)).test_client()
    header = {"HTTP_AUTHORIZATION": f"{scheme} {sent}"}
    assert_error(client.get("/api/v1/index", environ_overrides=header), 401, "unauthorized")
    assert client.get("/healthz", environ_overrides=header).status_code == 200


def test_metrics_take_the_scope_admin(demo_config: Config) -> None:
    client = app_client(demo_config, api_keys=KEYS)
    assert_error(client.get("/metrics", headers=bearer(READ)), 403, "forbidden")
    assert client.get("/metrics", headers=bearer(ADMIN)).status_code == 200


def test_a_key_in_the_configuration_must_be_a_digest(demo_config: Config) -> None:
    with pytest.raises(ConfigError, match="sha256"):
        app_client(demo_config, api_keys=[{"name": "a", "sha256": READ}])


def test_the_rate_limit_holds_on_both_sides(demo_config: Config) -> None:
    client = app_client(demo_config, rate_limit="3/hour")
    for _ in range(3):
        assert client.get("/api/v1/index").status_code == 200
    refused = client.get("/api/v1/index")
    assert_error(refused, 429, "too_many_requests")
    assert 0 < int(refused.headers["Retry-After"]) <= 3600
    assert client.get("/healthz").status_code == 200
    other = client.get("/api/v1/index", environ_overrides={"REMOTE_ADDR": "10.0.0.9"})
    assert other.status_code == 200


def test_only_errors_that_can_pass_have_retry_after(demo_config: Config) -> None:
    client = app_client(demo_config, rate_limit="9/hour", max_encoding=1)
    first = client.get("/api/v1/index").headers
    assert "Retry-After" not in first
    assert (first["X-RateLimit-Limit"], first["X-RateLimit-Remaining"]) == ("9", "8")
    capacity: Capacity = client.application.extensions["capacity"]
    with capacity.long_searches.hold():
        refused = client.post("/api/v1/embed", data={"image": (BytesIO(b"a"), "a.jpg")})
        assert_error(refused, 503, "overloaded")
        assert refused.headers["Retry-After"] == "1"


def test_a_wrong_key_counts_against_the_rate_of_its_address(demo_config: Config) -> None:
    client = app_client(demo_config, rate_limit="2/hour", api_keys=KEYS)
    wrong = [client.get("/api/v1/index", headers=bearer("x")).status_code for _ in range(3)]
    assert wrong == [401, 401, 429]
    assert client.get("/api/v1/index", headers=bearer(READ)).status_code == 200


def test_exports_that_are_read_slowly_do_not_take_all_threads(demo_config: Config) -> None:
    client = app_client(demo_config, threads=3)
    first = client.get("/export.zip?image_id=1&count=2", buffered=False)
    refused = client.get("/export.zip?image_id=1&count=2")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "busy" in refused.text
    first.close()
    assert client.get("/export.zip?image_id=1&count=2").status_code == 200


def test_clients_with_keys_have_a_rate_each(demo_config: Config) -> None:
    client = app_client(demo_config, rate_limit="1/hour", api_keys=KEYS)
    statuses = [
        client.get("/api/v1/index", headers=bearer(key)).status_code
        for key in (READ, READ, ADMIN, ADMIN)
    ]
    assert statuses == [200, 429, 200, 429]


@pytest.mark.parametrize(("proxies", "statuses"), [(0, [200, 429]), (1, [200, 200])])
def test_the_client_behind_a_proxy_is_believed_only_if_configured(
    demo_config: Config, proxies: int, statuses: list[int]
) -> None:
    client = app_client(demo_config, rate_limit="1/hour", proxies=proxies)
    asked = [
        client.get("/api/v1/index", headers={"X-Forwarded-For": f"10.0.0.{n}"}) for n in (1, 2)
    ]
    assert [answer.status_code for answer in asked] == statuses


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("None", "None"),
        ("x'\"<", "x'\"<"),
    ],
)
def test_one_client_is_an_ipv4_address_or_a_64_of_ipv6(address: str, network: str) -> None:
    assert rates.network(address) == network


def test_the_addresses_of_one_64_share_a_rate(demo_config: Config) -> None:
    client = app_client(demo_config, rate_limit="2/hour", proxies=1)
    asked = [
        client.get("/api/v1/index", headers={"X-Forwarded-For": address}).status_code
        for address in ("2001:db8::1", "2001:db8::ffff:2", "2001:db8::3", "2001:db8:0:1::1")
    ]
    assert asked == [200, 200, 429, 200]


@pytest.mark.parametrize("rate", ["fast", "0/minute", "5/fortnight", "5"])
def test_an_invalid_rate_is_refused(demo_config: Config, rate: str) -> None:
    with pytest.raises(ConfigError, match="rate_limit"):
        app_client(demo_config, rate_limit=rate)


def test_without_a_slot_for_encoding_uploads_are_refused_and_searches_are_not(
    demo_config: Config, photos: list[Path]
) -> None:
    client = app_client(demo_config, max_encoding=1)
    capacity: Capacity = client.application.extensions["capacity"]
    with capacity.long_searches.hold():
        refused = upload(client, photos[0].read_bytes())
        assert_error(refused, 503, "overloaded")
        assert refused.headers["Retry-After"] == "1"
        assert "busy" in client.post("/?", data={"image": photos[0].open("rb")}).text
        assert client.post("/api/v1/search", json={"image_id": 1}).status_code == 200
    assert upload(client, photos[0].read_bytes()).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"k": 1000, "page": 3}, 200),
        ({"k": 1000, "page": 4}, 503),
        ({"page": 101}, 503),
        ({"collapse_duplicates": True}, 200),
        ({"collapse_duplicates": True, "k": 15, "page": 2}, 200),
        ({"collapse_duplicates": True, "page": 2}, 503),
        ({"collapse_duplicates": True, "k": 31}, 503),
        ({"allowed": {}}, 503),
        ({"filter": ["width>=1"]}, 503),
        ({"facets": ["width"]}, 503),
        ({"crop": {"x": 0.1, "y": 0.1, "width": 0.5, "height": 0.5}}, 503),
    ],
)
def test_searches_that_take_a_core_for_long_need_a_slot(
    demo_config: Config, query: dict[str, object], status: int
) -> None:
    client = app_client(demo_config, max_encoding=1)
    capacity: Capacity = client.application.extensions["capacity"]
    asked = {"image_id": 1, **query}
    with capacity.long_searches.hold():
        assert client.post("/api/v1/search", json=asked).status_code == status
        batch = client.post("/api/v1/search/batch", json={"queries": [asked]})
        assert batch.status_code == (503 if status == 503 else 200)
    assert client.post("/api/v1/search", json=asked).status_code == 200
    assert capacity.long_searches.taken == 0


def test_a_thumbnail_waits_for_a_slot_for_a_limited_time(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(routes, "THUMBNAIL_WAIT_S", 0.05)
    client = app_client(demo_config, max_encoding=1)
    capacity: Capacity = client.application.extensions["capacity"]
    with capacity.thumbnails.hold():
        assert_error(client.get("/api/v1/images/1/thumbnail"), 503, "overloaded")
        monkeypatch.setattr(routes, "THUMBNAIL_WAIT_S", 60)
        with ThreadPoolExecutor(1) as pool:
            waits = pool.submit(client.get, "/api/v1/images/1/thumbnail")
            with pytest.raises(TimeoutError):
                waits.result(0.2)
            capacity.thumbnails.release()
            assert waits.result(30).status_code == 200
        assert capacity.thumbnails.acquire()
        assert client.get("/api/v1/images/1/thumbnail").status_code == 200  # it is there already


def test_no_request_waits_until_the_encoder_is_loaded(
    demo_config: Config, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Queries that must be encoded are refused at once; others are answered."""
    may_load = threading.Event()
    opened = indexer.search.query_encoder.open_encoder

    def slow(settings: EncoderConfig) -> Encoder:
        may_load.wait(60)
        return opened(settings)

    monkeypatch.setattr(indexer.search.query_encoder, "open_encoder", slow)
    config = small_config(demo_config.dataset.roots[0], demo_config.store)
    client = create_app(config).test_client()
    region = {"image_id": 1, "crop": {"x": 0, "y": 0, "width": 0.5, "height": 0.5}}
    form = {"image": (BytesIO(photos[0].read_bytes()), "a.jpg")}
    for refused in (
        upload(client, photos[0].read_bytes()),
        client.post("/api/v1/search", json=region),
        client.post("/api/v1/search/batch", json={"queries": [{"image_id": 1}, region]}),
        client.post("/api/v1/embed", data=form),
    ):
        assert_error(refused, 503, "not_ready")
        assert refused.headers["Retry-After"] == "5"
    assert client.get("/?image_id=1&crop=0,0,0.5,0.5").status_code == 503
    assert client.get("/?image_id=1").status_code == 200
    may_load.set()
    client.application.extensions["current_index"].searcher().load_encoder()
    assert upload(client, photos[0].read_bytes()).status_code == 200


def test_a_slot_is_released_after_an_error(demo_config: Config) -> None:
    client = app_client(demo_config, max_encoding=1)
    for _ in range(3):
        assert_error(upload(client, b"no image"), 415, "unsupported_image")


def test_no_more_slots_are_taken_than_there_are() -> None:
    slots, barrier = Slots(3), threading.Barrier(8)
    outcomes: list[bool] = []

    def ask() -> None:
        barrier.wait()
        try:
            with slots.hold():
                outcomes.append(True)
                done.wait()
        except Overloaded:
            outcomes.append(False)
            if outcomes.count(False) == 5:
                done.set()

    done = threading.Event()
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(outcomes) == [False] * 5 + [True] * 3


def test_without_a_free_slot_only_probes_are_answered(
    demo_config: Config,
) -> None:
    client = app_client(demo_config, threads=1)
    capacity: Capacity = client.application.extensions["capacity"]
    with capacity.requests.hold():
        refused = client.post("/api/v1/search", json={"image_id": 1})
        assert_error(refused, 503, "overloaded")
        assert "busy" in client.get("/", headers={"Accept": "text/html"}).text
        for url in ("/healthz", "/metrics"):
            assert client.get(url).status_code == 200
    for url in ("/nothing", "/api/v1/index", "/api/v1/images/1/file", "/"):
        client.get(url)  # whatever the answer is, the slot is given back
    assert capacity.requests.taken == 0
