"""From a dataset to a published version: diff, plan, ingest, compact, derive."""

from indexer.build.pipeline import BuildReport, build
from indexer.build.stored_settings import (
    replaced_encoder,
    replaced_source,
    with_stored_settings,
)

__all__ = [
    "BuildReport",
    "build",
    "replaced_encoder",
    "replaced_source",
    "with_stored_settings",
]
