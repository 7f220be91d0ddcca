"""COCO: images described by annotation files in JSON."""

from indexer.datasets.coco.dataset import Coco

__all__ = ["Coco"]
