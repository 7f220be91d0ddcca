"""A server whose encoder cannot be loaded: it says so, and keeps nothing of the requests."""

import gc
import threading
import tracemalloc
from pathlib import Path

import pytest
from flask.testing import FlaskClient

import indexer.search.query_encoder
import server.current_index
from indexer.config import Config
from indexer.encoders import Encoder
from indexer.errors import WeightsUnavailable
from indexer.search.query_encoder import QueryEncoder
from server.app import create_app
from server.current_index import CurrentIndex
from tests.conftest import Reindex, delete
from tests.server.helpers import assert_error, upload
from tests.waiting import eventually


class FailingOpen:
    """Stands in for :meth:`QueryEncoder.open`, and counts its calls."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0

    def __call__(self, encoder: QueryEncoder) -> Encoder:
        self.calls += 1
        if self.error:
            raise self.error
        return OPEN(encoder)


OPEN = QueryEncoder.open


def client_without_encoder(
    config: Config, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> tuple[FlaskClient, FailingOpen]:
    """Return a client of a server that has failed to load its encoder."""
    failing = FailingOpen(error)
    monkeypatch.setattr(QueryEncoder, "open", lambda encoder: failing(encoder))
    client = create_app(config).test_client()
    current: CurrentIndex = client.application.extensions["current_index"]
    current.searcher()
    eventually(lambda: current._encoder_problem is not None)
    return client, failing


def test_refused_uploads_do_not_stay_in_memory(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = WeightsUnavailable("/secret/weights.h5 is missing.")
    client, _ = client_without_encoder(demo_config, monkeypatch, error)
    image = bytes(1_000_000)
    tracemalloc.start()
    try:
        for _ in range(6):
            assert_error(upload(client, image), 503, "weights_unavailable")
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 3 * len(image)


def test_a_failure_that_is_kept_is_not_raised_itself(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing = FailingOpen(WeightsUnavailable("missing", "hint"))
    monkeypatch.setattr(QueryEncoder, "open", lambda encoder: failing(encoder))
    current = CurrentIndex(demo_config)
    raised = []
    for _ in range(2):
        with pytest.raises(WeightsUnavailable) as caught:
            current.searcher().load_encoder()
        raised.append(caught.value)
    first, second = raised
    assert first is not second
    assert (first.message, first.hint) == (second.message, second.hint) == ("missing", "hint")
    assert failing.calls == 1


def test_an_unexpected_failure_is_answered_as_not_ready_and_logged(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, _ = client_without_encoder(demo_config, monkeypatch, OSError("no /secret/device"))
    for answer in (client.get("/readyz"), upload(client, b"image")):
        error = assert_error(answer, 503, "not_ready")
        assert error["message"] == "The encoder cannot be loaded."
    assert "no /secret/device" in caplog.text


def test_loading_is_tried_again(demo_config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.current_index, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(server.current_index, "RETRY_SECONDS", 0.1)
    monkeypatch.setattr(indexer.search.query_encoder, "RETRY_SECONDS", 0.1)
    client, failing = client_without_encoder(
        demo_config, monkeypatch, WeightsUnavailable("missing")
    )
    answer = client.get("/readyz")
    assert_error(answer, 503, "weights_unavailable")
    assert answer.headers["Retry-After"] == "60"
    eventually(lambda: failing.calls > 2)
    failing.error = None
    eventually(lambda: client.get("/readyz").status_code == 200)


def test_a_version_published_while_the_encoder_is_loaded_uses_it_as_well(
    config: Config, reindex: Reindex, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.current_index, "POLL_SECONDS", 0.02)
    go, calls = threading.Event(), []

    def open_when_allowed(encoder: QueryEncoder) -> Encoder:
        calls.append(encoder)
        assert go.wait(30)
        return OPEN(encoder)

    reindex()
    monkeypatch.setattr(QueryEncoder, "open", open_when_allowed)
    current = CurrentIndex(config)
    assert current.searcher().info.version == "00000001"
    delete(next(images.rglob("*.jpg")))
    reindex()
    eventually(lambda: current.searcher().info.version == "00000002")
    go.set()
    eventually(lambda: current.readiness_error() is None)
    assert len(calls) == 1
