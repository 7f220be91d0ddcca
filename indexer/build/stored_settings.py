"""What a store was built from: the settings of its published version."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from indexer.config import Config, DatasetConfig, EncoderConfig, Section, is_weights_path
from indexer.datasets import open_dataset
from indexer.errors import ConfigError
from indexer.store import Store, encoder_mismatch

S = TypeVar("S", bound=Section)

IMAGES = {"kind", "root", "annotations", "items", "image_column"}
"""Settings of a dataset that together name what is indexed: setting one replaces all of them, and
the table of metadata, which describes these images."""


def with_stored_settings(config: Config) -> Config:
    """Return the settings to build the store's index again: those not set are as they were.

    These are the settings of ``dataset``, ``encoder`` and ``index``. Model, layer and weights are
    those of the index also if the configuration file says otherwise, but not if a flag or a
    variable does. Without a published version nothing changes.
    """
    manifest = Store(config.store).published_manifest()
    if manifest is None:
        _require_layer(config, config.encoder)
        return config
    spec = manifest.encoder
    dataset = manifest.dataset.model_dump()
    if IMAGES & config.dataset.model_fields_set:
        dataset = {
            name: value for name, value in dataset.items() if name not in IMAGES | {"metadata"}
        }
    return config.model_copy(
        update={
            "dataset": _merged(config.dataset, dataset),
            "encoder": _stored_encoder(config, spec),
            "index": _merged(config.index, manifest.index.model_dump()),
        }
    )


def _require_layer(config: Config, encoder: EncoderConfig) -> None:
    """Raise :class:`ConfigError` if a layer was chosen for a model that has no choice of layers."""
    if "layer" in config.chosen_encoder and encoder.model != "vgg16":
        raise ConfigError(
            f"A layer can be chosen of vgg16 only; the encoder is {encoder.model}.",
            "Leave --layer out (with make: LAYER=), or name another store: --store FOLDER.",
        )


def _stored_encoder(config: Config, spec: Mapping[str, object]) -> EncoderConfig:
    encoder, chosen = config.encoder, config.chosen_encoder
    given = encoder.model_dump(include=encoder.model_fields_set)
    precision = {"precision": spec.get("precision", "float32")}
    if "model" in chosen and encoder.model != spec["model"]:
        _require_layer(config, encoder)
        return EncoderConfig.model_validate({**precision, **given})
    names = {"model", "weights", "layer"} if spec["model"] == "vgg16" else {"model", "weights"}
    if encoder.model == spec["model"] and is_weights_path(encoder.weights):
        names -= {"weights"}  # the file may have been moved; its content counts
    stored = {name: spec[name] for name in names - chosen}
    merged = EncoderConfig.model_validate({**precision, **given, **stored})
    _require_layer(config, merged)
    return merged


def replaced_encoder(config: Config, stored: Config) -> str | None:
    """Return a sentence if the store's encoder takes the place of that of the configuration file.

    ``stored`` is what :func:`with_stored_settings` has made of ``config``.
    """
    was, now = config.encoder, stored.encoder
    is_same = was.model == now.model and (was.model != "vgg16" or was.layer == now.layer)
    if is_same or not {"model", "layer"} & was.model_fields_set:
        return None
    return (
        f"The index in {config.store} was made with {_name_of(now)}, which is used, and not "
        f"{_name_of(was)} of the configuration.\n"
        f"For an index with {_name_of(was)}, name another store: --store FOLDER."
    )


def require_same_network(config: Config) -> None:
    """Raise :class:`EncoderMismatch` if the store's vectors are those of another model or layer.

    That takes no weights, which may have to be downloaded. Those of other weights show later.
    """
    manifest = Store(config.store).published_manifest()
    if manifest is None:
        return
    theirs, ours = manifest.encoder, config.encoder.model_dump()
    is_layer_same = theirs["model"] != "vgg16" or theirs["layer"] == ours["layer"]
    if theirs["model"] != ours["model"] or not is_layer_same:
        raise encoder_mismatch(config.store, theirs, ours)


def _name_of(encoder: EncoderConfig) -> str:
    return f"vgg16 {encoder.layer}" if encoder.model == "vgg16" else encoder.model


def _merged(section: S, stored: Mapping[str, object]) -> S:
    """Return a section whose settings that were not set are the stored ones."""
    given = section.model_dump(include=section.model_fields_set)
    return type(section).model_validate({**stored, **given})


def replaced_source(config: Config) -> str | None:
    """Return whose images a build removes from the index since the settings no longer name them.

    None if there is no published version, or if the settings name all of its folders and files.
    """
    manifest = Store(config.store).published_manifest()
    if manifest is None or _places(manifest.dataset) <= _places(config.dataset):
        return None
    return open_dataset(manifest.dataset).source


def _places(dataset: DatasetConfig) -> set[Path | str]:
    return {dataset.address} if dataset.address else {*dataset.roots}
