"""Builds with executor.kind: ray where there is no Ray, or nothing for it to do."""

import sys
from pathlib import Path

import pytest

from indexer.build import build
from indexer.build.plan import plan
from indexer.config import Config, ExecutorConfig
from indexer.errors import MissingDependency
from tests.conftest import Reindex


@pytest.fixture
def on_ray(config: Config, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The settings of the six photographs with a cluster, where Ray cannot be imported."""
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "indexer.executors.ray", raising=False)
    return config.model_copy(update={"executor": ExecutorConfig(kind="ray")})


def test_without_ray_the_error_names_the_extra(on_ray: Config) -> None:
    with pytest.raises(MissingDependency, match="Ray cannot be imported") as caught:
        build(on_ray)
    assert "pip install 'lookalike[ray]'" in caught.value.hint


def test_nobody_is_connected_to_if_there_is_nothing_to_read(
    on_ray: Config, reindex: Reindex, images: Path
) -> None:
    reindex()
    assert build(on_ray).encoded == 0
    (images / "new.jpg").write_bytes(next(images.rglob("*.jpg")).read_bytes())
    with pytest.raises(MissingDependency):
        build(on_ray)


def test_a_plan_says_that_it_measured_this_machine_alone(on_ray: Config, config: Config) -> None:
    assert "this machine alone" in plan(on_ray).summary
    assert "this machine alone" not in plan(config).summary
