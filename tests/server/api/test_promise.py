"""A recall below the setting is reported by the API, the pages and the metrics."""

import json
from pathlib import Path

import pytest

from indexer.build import build
from indexer.cli.parser import main
from indexer.config import Config
from server.app import create_app
from tests.conftest import small_config


def test_a_recall_below_the_setting_is_reported_everywhere(
    demo_config: Config,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With 12 candidates at most 12 of the 30 nearest images can be found."""
    monkeypatch.setattr("indexer.vector_index.recall.RERANKED", (12,))
    settings = {"approximate": "IVF4,SQ8", "recall": 0.9}
    config = small_config(demo_config.dataset.root, tmp_path / "store", index=settings)
    note, *_ = build(config).notes
    assert "of the 30 nearest, not the 90 % that index.recall asks for" in note

    client = create_app(config).test_client()
    index = client.get("/api/v1/index").json
    assert index
    promise = index["promise"]
    assert (promise["wanted"], promise["reranked"], promise["measured_on"]) == (0.9, 12, 40)
    assert 0.3 < promise["promised"] < 0.4
    assert promise["notes"][0] == note
    assert index["recall"][-1]["recall"] == promise["promised"]
    assert index["nprobe"] == promise["nprobe"]
    assert note in client.get("/collection").text
    metrics = client.get("/metrics").text
    assert f"lookalike_recall {promise['promised']}" in metrics
    assert "lookalike_recall_wanted 0.9" in metrics

    status = ["status", f"--store={config.store}"]
    monkeypatch.setenv("LOOKALIKE_INDEX__RECALL", "0.9")
    assert main(status) == 0
    assert note in capsys.readouterr().out
    assert main([*status, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["promise"] == promise


def test_a_small_index_that_compares_all_images_has_no_promise(demo_config: Config) -> None:
    client = create_app(demo_config).test_client()
    promise = client.get("/api/v1/index").json["promise"]  # type: ignore[index]
    assert (promise["promised"], promise["queries"], promise["notes"]) == (1, 0, [])
    assert "so small that every image is compared" in client.get("/collection").text
