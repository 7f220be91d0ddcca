"""Compact: merge segments as their number grows, and rewrite those that are mostly deleted."""

import math
from collections.abc import Mapping

import numpy as np

from indexer.store import SegmentSize, Writer

SEGMENT_BYTES = 2**30
"""The most bytes of vectors in a merged segment; one of at least half as many is full."""

FAN_IN = 4
"""How many segments of one tier are merged into one of the next; tiers grow by this factor.

A search visits every segment, so there should be few: at most three of each tier beside the full
ones. A vector is rewritten once per tier: at 4096 dimensions five times from a batch of 32 to a
full segment. Most builds rewrite small segments only; each tier is merged a fourth as often as the
one below.
"""


def compact(writer: Writer) -> None:
    """Merge until no tier has :data:`FAN_IN` segments and none is mostly deleted.

    Vectors are copied from file to file, so memory does not grow with the segments.
    """
    first = next(iter(writer.sizes), None)
    if first is None:
        return
    full = max(1, SEGMENT_BYTES // (4 * writer.segment(first).marker.dim) // 2)
    while names := _next_merge(writer.sizes, full):
        _merge(writer, names)


def _next_merge(sizes: Mapping[str, SegmentSize], full: int) -> list[str]:
    """Return the next segments to merge, in order; one alone is rewritten, none if all is well."""
    for name, size in sizes.items():
        if 0 < size.alive * 2 < size.stored:
            return [name]
    tiers: dict[int, list[str]] = {}
    for name, size in sizes.items():
        if 0 < size.alive < full:
            tier = tiers.setdefault(int(math.log(size.alive, FAN_IN)), [])
            tier.append(name)
            together = sum(sizes[other].alive for other in tier)
            if len(tier) == FAN_IN or (len(tier) > 1 and together >= full):
                return tier
    return []


def _merge(writer: Writer, names: list[str]) -> None:
    """Write the vectors of some segments that are not deleted as one segment."""
    from indexer.vector_index import merged_file

    segments = [writer.verified_segment(name) for name in names]
    alive = [writer.catalogue.ids_in(name) for name in names]
    parts = [
        (segment.vectors_path, ids[:, 0]) for segment, ids in zip(segments, alive, strict=True)
    ]
    ids = np.concatenate([pairs[:, 1] for pairs in alive])
    writer.replace(names, ids, merged_file(parts, segments[0].marker.dim))
