"""Sources of images: items with a stable key, and their bytes on demand."""

from indexer.config import DatasetConfig
from indexer.datasets.base import Dataset, Item, Listing, links_in_words
from indexer.datasets.boxes import box_in, content_of_box, file_of_box, is_box, key_of_box
from indexer.datasets.coco import Boxes, Coco
from indexer.datasets.exclusion import Exclusion
from indexer.datasets.files import require_folder
from indexer.datasets.folder import Folder
from indexer.datasets.image_list import ImageList
from indexer.datasets.object_list import ObjectList
from indexer.datasets.objects import Objects
from indexer.datasets.parquet import ParquetShards, require_library
from indexer.datasets.part import Part
from indexer.datasets.tables import Described, require_table
from indexer.datasets.tar import TarShards
from indexer.datasets.walk import Rules, is_empty

__all__ = [
    "Boxes",
    "Coco",
    "Dataset",
    "Described",
    "Exclusion",
    "Folder",
    "ImageList",
    "Item",
    "Listing",
    "Objects",
    "ParquetShards",
    "Part",
    "Rules",
    "TarShards",
    "box_in",
    "content_of_box",
    "file_of_box",
    "is_box",
    "is_empty",
    "key_of_box",
    "links_in_words",
    "open_dataset",
    "require_folders",
]


def open_dataset(config: DatasetConfig) -> Dataset:
    """Open the configured dataset without touching the disk."""
    dataset = _open_images(config)
    if config.metadata is None:
        return dataset
    return Described(dataset, config.metadata, _beginnings_of_keys(config))


def _open_images(config: DatasetConfig) -> Dataset:
    rules = Rules(Exclusion(config.exclude), config.follow_links)
    if config.kind == "parquet":
        places = config.roots or (str(config.address),)
        return ParquetShards(*places, rules=rules, column=config.image_column)
    if config.address:
        is_list = config.address.lower().endswith(".txt")
        return (ObjectList if is_list else Objects)(config.address, rules)
    first, *_ = config.roots
    if config.kind == "list":
        return ImageList(first)
    if config.kind == "coco":
        boxes = None
        if config.items == "boxes":
            boxes = Boxes(config.box_margin, config.box_min_side)
        return Coco(first, *config.annotation_files, boxes=boxes)
    if config.kind == "tar":
        return TarShards(*config.roots, rules=rules)
    return Folder(*config.roots, rules=rules)


def _beginnings_of_keys(config: DatasetConfig) -> dict[str, str]:
    """Return what keys begin with instead of the absolute path of each folder."""
    if config.address:
        is_file = config.address.lower().endswith((".txt", ".parquet"))
        folder = config.address.rpartition("/")[0] if is_file else config.address.rstrip("/")
        return {f"{folder}/": ""}
    folders = dict.fromkeys(config.roots, "")
    if config.kind == "folder":
        folders |= {other: f"{other.name}/" for other in config.roots[1:]}
    elif config.kind in ("list", "tar", "parquet"):  # keys are relative to where the file is
        folders |= {root.parent: "" for root in config.roots}
    return {f"{str(folder).rstrip('/')}/": beginning for folder, beginning in folders.items()}


def require_folders(config: DatasetConfig) -> None:
    """Raise :class:`~indexer.errors.DatasetError` if a folder or table of the dataset is not there.

    Of an address or Parquet files, whether there is a library for them. It takes no time, unlike a
    scan, or the download of an encoder's weights.
    """
    if config.kind in ("folder", "coco"):
        for root in config.roots:
            require_folder(root)
    if config.address:
        Objects(config.address).connect()
    if config.kind == "parquet":
        require_library()
    if config.metadata:
        require_table(config.metadata)
