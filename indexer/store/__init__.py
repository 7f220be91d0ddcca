"""Vectors and catalogue on disk: immutable segments, a SQLite catalogue, published versions."""

from indexer.store.catalogue import Catalogue
from indexer.store.contents import part_name
from indexer.store.damage import read_damage, update_damage
from indexer.store.files import REBUILD_HINT
from indexer.store.graphs import (
    GRAPH_HINT,
    GraphRecord,
    GraphWriter,
    StoredGraph,
    open_graphs,
    stored_graph,
    stored_graphs,
)
from indexer.store.live import live_catalogue
from indexer.store.metadata_index import (
    Facet,
    FacetValue,
    Field,
    Kind,
    MetadataIndex,
    Range,
    Value,
)
from indexer.store.metadata_schema import OWN_FIELDS
from indexer.store.progress import BuildProgress, build_progress
from indexer.store.records import (
    Counts,
    Damage,
    Derived,
    DerivedKind,
    DerivedPart,
    Manifest,
    Recall,
    RecallPoint,
    SegmentEntry,
)
from indexer.store.recovery import catalogue_problems
from indexer.store.reports import (
    REPORT_COMMANDS,
    Report,
    ReportName,
    read_report,
    report_identity,
    save_report,
)
from indexer.store.rows import ImageRow, NewImage, RunRow, Stamp
from indexer.store.segment_writer import SegmentSize, encoder_mismatch
from indexer.store.segments import Segment
from indexer.store.store import PublishedIdentity, Store
from indexer.store.text_index import TextIndex, TextMatches
from indexer.store.versions import DerivedFiles, Version, VersionPart, trained_path
from indexer.store.writer import Draft, Writer, open_writer

__all__ = [
    "GRAPH_HINT",
    "OWN_FIELDS",
    "REBUILD_HINT",
    "REPORT_COMMANDS",
    "BuildProgress",
    "Catalogue",
    "Counts",
    "Damage",
    "Derived",
    "DerivedFiles",
    "DerivedKind",
    "DerivedPart",
    "Draft",
    "Facet",
    "FacetValue",
    "Field",
    "GraphRecord",
    "GraphWriter",
    "ImageRow",
    "Kind",
    "Manifest",
    "MetadataIndex",
    "NewImage",
    "PublishedIdentity",
    "Range",
    "Recall",
    "RecallPoint",
    "Report",
    "ReportName",
    "RunRow",
    "Segment",
    "SegmentEntry",
    "SegmentSize",
    "Stamp",
    "Store",
    "StoredGraph",
    "TextIndex",
    "TextMatches",
    "Value",
    "Version",
    "VersionPart",
    "Writer",
    "build_progress",
    "catalogue_problems",
    "encoder_mismatch",
    "live_catalogue",
    "open_graphs",
    "open_writer",
    "part_name",
    "read_damage",
    "read_report",
    "report_identity",
    "save_report",
    "stored_graph",
    "stored_graphs",
    "trained_path",
    "update_damage",
]
