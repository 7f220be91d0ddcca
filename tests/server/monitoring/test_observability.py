"""Request ids, logs and metrics."""

import json
import logging
import re
from io import BytesIO
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from prometheus_client.parser import text_string_to_metric_families

from indexer.config import Config
from server.app import create_app
from server.monitoring.logs import JsonFormatter, TextFormatter
from tests.conftest import ROOT, small_config
from tests.server.helpers import ready_app, upload


def values(client: FlaskClient) -> dict[str, float]:
    """Every sample of /metrics by its name and labels."""
    text = client.get("/metrics").text
    return {
        sample.name + json.dumps(sample.labels, sort_keys=True): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_request_id_is_returned_also_with_errors(client: FlaskClient) -> None:
    ids = {client.get(url).headers["X-Request-Id"] for url in ("/healthz", "/nothing", "/")}
    assert len(ids) == 3
    given = client.get("/nothing", headers={"X-Request-Id": "proxy-7.a_B"})
    assert given.headers["X-Request-Id"] == "proxy-7.a_B"


@pytest.mark.parametrize("bad", ["", "a b", "x" * 65, 'a"b', "ä", "a;b", "a<b>"])
def test_a_request_id_that_is_not_well_formed_is_replaced(client: FlaskClient, bad: str) -> None:
    answer = client.get(
        "/healthz", headers={"X-Request-Id": bad.encode("latin-1").decode("latin-1")}
    )
    assert answer.headers["X-Request-Id"] != bad
    assert len(answer.headers["X-Request-Id"]) == 16


def test_every_line_of_a_request_carries_its_id(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines: list[dict[str, object]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(JsonFormatter().format(record)))

    logger, handler = logging.getLogger("server"), Keep()
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    client = create_app(demo_config).test_client()
    from indexer.search import Collection

    monkeypatch.setattr(Collection, "image", lambda *_: 1 / 0)
    answer = client.get("/api/v1/images/1", headers={"X-Request-Id": "abc"})
    logger.removeHandler(handler)
    assert "request abc" in answer.json["error"]["hint"]  # type: ignore[index]
    assert [line["request_id"] for line in lines] == ["abc", "abc"]
    assert "ZeroDivisionError" in str(lines[0]["exception"])
    assert (lines[1]["status"], lines[1]["path"]) == (500, "/api/v1/images/1")
    assert isinstance(lines[1]["ms"], float)


def test_a_line_of_the_log_is_one_line_whatever_is_logged() -> None:
    record = logging.makeLogRecord({"name": "server", "levelname": "INFO", "msg": "a\nb \u2028 %s"})
    record.args = ("\x1b[31m",)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert json.loads(line)["message"] == "a\nb \u2028 \x1b[31m"


def test_a_line_of_text_has_the_id_and_no_control_characters(
    demo_config: Config,
) -> None:
    record = logging.makeLogRecord({"levelname": "ERROR", "msg": "at %s", "args": ("/\x1b[2J\n",)})
    assert TextFormatter().format(record) == "ERROR: at /\\x1b[2J\\n"
    app = create_app(demo_config)
    with app.test_request_context("/", headers={"X-Request-Id": "abc"}):
        app.preprocess_request()
        assert TextFormatter().format(record).endswith("(request abc)")


def test_an_answer_that_is_streamed_is_timed_to_its_end(
    demo_config: Config, photos: list[Path]
) -> None:
    client = ready_app(demo_config).test_client()
    image = photos[0].read_bytes()
    data = {"image": [(BytesIO(image), "a.jpg"), (BytesIO(image), "b.jpg")]}
    answer = client.post(
        "/api/v1/search/batch", data=data, headers={"Accept": "application/x-ndjson"}
    )
    taken = [json.loads(line)["timings_ms"]["total"] for line in answer.text.splitlines()]
    answer.close()
    seen = values(client)
    (name,) = [name for name in seen if name.startswith("lookalike_request_seconds_sum")]
    assert seen[name] * 1000 >= max(taken) > 0  # they were encoded together


def test_metrics_count_requests_by_route_and_stages(
    demo_config: Config, photos: list[Path]
) -> None:
    client = ready_app(demo_config).test_client()
    for image_id in (1, 2, 2):
        client.get(f"/api/v1/images/{image_id}")
    client.get("/api/v1/images/99999")
    client.get("/nothing/at/all")
    client.post("/api/v1/search", json={"image_id": 1})
    upload(client, photos[0].read_bytes())
    seen = values(client)

    def requests(**labels: str) -> float:
        return seen.get("lookalike_request_seconds_count" + json.dumps(labels, sort_keys=True), 0)

    route = "/api/v1/images/<int:image_id>"
    assert requests(method="GET", route=route, status="200") == 3
    assert requests(method="GET", route=route, status="404") == 1
    assert requests(method="none", route="none", status="404") == 1
    stages = {
        stage: seen.get(f'lookalike_stage_seconds_count{{"stage": "{stage}"}}')
        for stage in ("decode", "encode", "search")
    }
    assert stages == {"decode": 1, "encode": 1, "search": 2}


def test_metrics_say_what_the_index_holds(client: FlaskClient) -> None:
    seen = values(client)
    assert seen["lookalike_vectors{}"] == 40
    assert seen["lookalike_skipped_files{}"] == 1
    assert seen["lookalike_index_version{}"] == 1
    assert (seen["lookalike_recall{}"], seen["lookalike_recall_wanted{}"]) == (1, 1)
    assert seen["lookalike_requests_working{}"] == seen["lookalike_long_working{}"] == 0


def test_metrics_without_an_index(tmp_path: Path) -> None:
    seen = values(create_app(small_config(tmp_path, tmp_path / "none")).test_client())
    assert seen["lookalike_ready{}"] == 0
    assert "lookalike_vectors{}" not in seen


def test_every_metric_is_in_the_table_of_metrics(client: FlaskClient, photos: list[Path]) -> None:
    client.post("/api/v1/embed", data={"image": (photos[0].open("rb"), "a.jpg")})
    exposed = re.findall(r"^# TYPE (lookalike_\w+)", client.get("/metrics").text, re.M)
    ours = {name for name in exposed if not name.endswith("_created")}  # beside each counter
    table = (ROOT / "docs" / "operations.md").read_text().partition("| metric |")[2]
    with_shards = {"lookalike_shard_replicas"}
    assert set(re.findall(r"`(lookalike_\w+)`", table)) == ours | with_shards


def test_the_dashboard_asks_for_metrics_that_exist(client: FlaskClient, photos: list[Path]) -> None:
    dashboard = json.loads((ROOT / "docs" / "grafana.json").read_text())
    client.post("/api/v1/embed", data={"image": (photos[0].open("rb"), "a.jpg")})
    exposed = client.get("/metrics").text
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(queries) > 8
    for query in queries:
        for name in re.findall(r"(?:lookalike|process)_\w+", query):
            assert re.search(rf"^{name}\b", exposed, re.M), name
