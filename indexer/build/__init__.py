"""From a dataset to a published version: diff, plan, ingest, compact, derive."""

from indexer.build.pipeline import BuildReport, build

__all__ = ["BuildReport", "build"]
