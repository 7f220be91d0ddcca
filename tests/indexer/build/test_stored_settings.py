"""Settings that are not set when an index is built again are those of its published version."""

from pathlib import Path

import pytest

from indexer.build import build, replaced_encoder, with_stored_settings
from indexer.config import Config, DatasetConfig, IndexConfig, load_config
from indexer.errors import ConfigError, EncoderMismatch
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


def test_the_encoder_of_the_index_is_used_whatever_the_configuration_file_says(
    stored: Store, tmp_path: Path
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("encoder: {model: efficientnet_lite0, weights: imagenet, runtime: keras}")
    names = ("encoder.model", "encoder.layer", "encoder.weights", "encoder.runtime")
    assert settings(stored, *names) == ["vgg16", "fc1", "random:1", "keras"]
    config = load_config(file, {"store": str(stored.folder)})
    note = replaced_encoder(config, with_stored_settings(config))
    assert note is not None
    assert "was made with vgg16 fc1, which is used, and not efficientnet_lite0" in note
    file.write_text("encoder: {model: vgg16, layer: fc2, weights: moved.h5}")
    assert settings(stored, *names[:3]) == ["vgg16", "fc1", str(tmp_path / "moved.h5")]
    config = load_config(file, {"store": str(stored.folder), "encoder": {"layer": "fc2"}})
    assert with_stored_settings(config).encoder.layer == "fc2"
    assert replaced_encoder(config, with_stored_settings(config)) is None


def test_nothing_is_said_of_defaults(stored: Store) -> None:
    config = load_config(None, {"store": str(stored.folder)})
    assert replaced_encoder(config, with_stored_settings(config)) is None


def test_another_model_or_layer_is_refused_without_its_weights(
    stored: Store, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("indexer.build.pipeline.open_encoder", pytest.fail)
    flags = {"store": str(stored.folder), "dataset": {"root": str(images)}}
    for encoder, named in (
        ({"model": "efficientnet_lite0"}, "efficientnet_lite0 with the weights imagenet"),
        ({"model": "vgg16", "layer": "fc2"}, "vgg16 fc2 with the weights "),
    ):
        config = with_stored_settings(load_config(None, {**flags, "encoder": encoder}))
        with pytest.raises(EncoderMismatch) as caught:
            build(config)
        assert "made with vgg16 fc1 with the weights random:1; " in caught.value.message
        assert f"the settings name {named}" in caught.value.message


def test_a_layer_is_refused_where_there_is_no_choice(
    stored: Store, tmp_path: Path, config: Config
) -> None:
    encoder = {"model": "efficientnet_lite0", "layer": "fc1"}
    for store in (stored.folder, tmp_path / "new"):
        with pytest.raises(ConfigError, match="A layer can be chosen of vgg16 only"):
            with_stored_settings(load_config(None, {"encoder": encoder, "store": str(store)}))
    other = config.model_copy(update={"store": tmp_path / "other"})
    build(other)
    given = load_config(None, {"encoder": {"layer": "fc1"}, "store": str(other.store)})
    with pytest.raises(ConfigError, match="the encoder is efficientnet_lite0"):
        with_stored_settings(given)
