"""Settings that are not set when an index is built again are those of its published version."""

from pathlib import Path

import pytest

from indexer.build import with_stored_settings
from indexer.config import DatasetConfig, IndexConfig, load_config
from indexer.store import Store, open_writer
from tests.stores import DIM, commit


@pytest.fixture
def stored(store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    """A store whose every setting differs from its default."""
    monkeypatch.chdir(tmp_path)
    spec = {"model": "vgg16", "layer": "fc1", "weights": "random:1", "precision": "bfloat16"}
    with open_writer(store) as writer:
        commit(writer, ["a"])
        writer.publish(
            writer.begin(),
            {},
            fingerprint="e1",
            encoder=dict(spec),
            dim=DIM,
            dataset=DatasetConfig(
                kind="coco",
                root=Path("/photos"),
                annotations=Path("/a.json"),
                metadata=Path("/t.csv"),
                gps=True,
                max_pixels=9,
            ),
            index=IndexConfig(approximate="IVF4,SQ8", recall=0.5),
        )
    return store


def settings(store: Store, *names: str) -> list[object]:
    config = with_stored_settings(load_config(None, {"store": str(store.folder)}))
    sections = config.model_dump(mode="json")
    return [sections[name.split(".")[0]][name.split(".")[1]] for name in names]


def test_one_setting_leaves_the_others_of_its_section_as_they_were(
    stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_INDEX__RESIDENT", "true")
    monkeypatch.setenv("LOOKALIKE_ENCODER__RUNTIME", "ncnn")
    monkeypatch.setenv("LOOKALIKE_DATASET__MAX_PIXELS", "7")
    names = ("index.approximate", "index.recall", "index.resident")
    assert settings(stored, *names) == ["IVF4,SQ8", 0.5, True]
    names = ("encoder.model", "encoder.layer", "encoder.weights", "encoder.runtime")
    assert settings(stored, *names) == ["vgg16", "fc1", "random:1", "ncnn"]
    assert settings(stored, "encoder.precision") == ["bfloat16"]
    names = ("dataset.kind", "dataset.root", "dataset.annotations", "dataset.max_pixels")
    assert settings(stored, *names) == ["coco", "/photos", "/a.json", 7]
    assert settings(stored, "dataset.metadata", "dataset.gps") == ["/t.csv", True]
    monkeypatch.setenv("LOOKALIKE_DATASET__METADATA", "/u.csv")
    assert settings(stored, *names) == ["coco", "/photos", "/a.json", 7]
    assert settings(stored, "dataset.metadata") == ["/u.csv"]


def test_other_images_or_another_model_are_not_mixed_with_those_that_were(
    stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_DATASET__ROOT", "/others")
    monkeypatch.setenv("LOOKALIKE_ENCODER__MODEL", "efficientnet_lite0")
    names = ("dataset.kind", "dataset.root", "dataset.annotations", "dataset.max_pixels")
    assert settings(stored, *names) == ["folder", "/others", None, 9]
    assert settings(stored, "dataset.metadata", "dataset.gps") == [None, True]
    assert settings(stored, "encoder.model", "encoder.weights") == [
        "efficientnet_lite0",
        "imagenet",
    ]
