"""COCO: images described by annotation files in JSON."""

from indexer.datasets.coco.boxes import Boxes
from indexer.datasets.coco.dataset import Coco

__all__ = ["Boxes", "Coco"]
