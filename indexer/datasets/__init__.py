"""Sources of images: items with a stable key, and their bytes on demand."""

from indexer.config import DatasetConfig
from indexer.datasets.base import Dataset, Item, Listing
from indexer.datasets.coco import Coco
from indexer.datasets.folder import Folder
from indexer.datasets.image_list import ImageList
from indexer.datasets.tar import TarShards

__all__ = [
    "Coco",
    "Dataset",
    "Folder",
    "ImageList",
    "Item",
    "Listing",
    "TarShards",
    "open_dataset",
]


def open_dataset(config: DatasetConfig) -> Dataset:
    """Open the configured dataset without touching the disk."""
    first, *_ = config.roots
    if config.kind == "list":
        return ImageList(first)
    if config.kind == "coco":
        assert config.annotations is not None  # DatasetConfig checks it
        return Coco(first, config.annotations)
    if config.kind == "tar":
        return TarShards(*config.roots)
    return Folder(*config.roots)
