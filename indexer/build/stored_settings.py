"""What a store was built from: the settings of its published version."""

from indexer.config import Config, EncoderConfig
from indexer.datasets import open_dataset
from indexer.store import Store


def with_stored_settings(config: Config) -> Config:
    """Return the settings to build the store's index again: sections not set are as they were.

    These are ``dataset``, ``encoder`` and ``index``. Without a published version, and where all of
    them are set, as in the project's ``config.yaml``, nothing changes.
    """
    manifest = Store(config.store).published_manifest()
    if manifest is None:
        return config
    spec = manifest.encoder
    names = ("model", "weights", "layer") if spec["model"] == "vgg16" else ("model", "weights")
    stored = {
        "dataset": manifest.dataset,
        "encoder": EncoderConfig.model_validate({name: spec[name] for name in names}),
        "index": manifest.index,
    }
    missing = stored.keys() - config.model_fields_set
    return config.model_copy(update={name: stored[name] for name in missing})


def replaced_source(config: Config) -> str | None:
    """Return whose images a build removes from the index since the settings no longer name them.

    None if there is no published version, or if the settings name all of its folders and files.
    """
    manifest = Store(config.store).published_manifest()
    if manifest is None or set(manifest.dataset.roots) <= set(config.dataset.roots):
        return None
    return open_dataset(manifest.dataset).source
