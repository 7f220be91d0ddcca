"""The vectors of a version for other programs: as NumPy arrays, Parquet or a FAISS index."""

from indexer.export.exporter import FORMATS, Exported, Format, export

__all__ = ["FORMATS", "Exported", "Format", "export"]
