"""What a store was built from: the settings of its published version."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from indexer.config import Config, DatasetConfig, Section
from indexer.datasets import open_dataset
from indexer.store import Store

S = TypeVar("S", bound=Section)

IMAGES = {"kind", "root", "annotations", "items", "image_column"}
"""Settings of a dataset that together name what is indexed: setting one replaces all of them, and
the table of metadata, which describes these images."""


def with_stored_settings(config: Config) -> Config:
    """Return the settings to build the store's index again: those not set are as they were.

    These are the settings of ``dataset``, ``encoder`` and ``index``. Without a published version,
    and where all of them are set, as in the project's ``config.yaml``, nothing changes.
    """
    manifest = Store(config.store).published_manifest()
    if manifest is None:
        return config
    spec = manifest.encoder
    dataset = manifest.dataset.model_dump()
    if IMAGES & config.dataset.model_fields_set:
        dataset = {
            name: value for name, value in dataset.items() if name not in IMAGES | {"metadata"}
        }
    encoder = {"precision": spec.get("precision", "float32")}
    if config.encoder.model == spec["model"] or "model" not in config.encoder.model_fields_set:
        names = ("model", "weights", "layer") if spec["model"] == "vgg16" else ("model", "weights")
        encoder |= {name: spec[name] for name in names}
    return config.model_copy(
        update={
            "dataset": _merged(config.dataset, dataset),
            "encoder": _merged(config.encoder, encoder),
            "index": _merged(config.index, manifest.index.model_dump()),
        }
    )


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
