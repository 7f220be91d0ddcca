"""Compact: merge segments as their number grows, and rewrite those that are mostly dead."""

import math
from collections.abc import Mapping

import numpy as np

from indexer.store import SegmentSize, Writer

SEGMENT_BYTES = 2**30
"""No merged segment has more bytes of vectors; from half of that on it is full and left alone."""

FAN_IN = 4
"""So many segments of a size, give or take this factor, become one, until it is full.

A search passes over every segment, so there are to be few: at most three of each size beside the
full ones. A vector is written once more for each size: at 4096 dimensions five times from a batch
of 32 to a full segment. A handful of new images rewrites a handful; only every fourth time a size
comes together does the next larger one.
"""


def compact(writer: Writer) -> None:
    """Merge until no size has :data:`FAN_IN` segments that are not full and none is mostly dead.

    Vectors are copied from file to file: memory does not grow with the segments.
    """
    first = next(iter(writer.sizes), None)
    if first is None:
        return
    full = max(1, SEGMENT_BYTES // (4 * writer.segment(first).marker.dim) // 2)
    while names := _worth_merging(writer.sizes, full):
        _merge(writer, names)


def _worth_merging(sizes: Mapping[str, SegmentSize], full: int) -> list[str]:
    """Return segments to be written as one, in order; none if all is well."""
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
    """Write what is alive of some segments as one."""
    from indexer.vector_index import merged_file

    segments = [writer.sound_segment(name) for name in names]
    alive = [writer.catalogue.ids_in(name) for name in names]
    parts = [(own.vectors_path, ids[:, 0]) for own, ids in zip(segments, alive, strict=True)]
    ids = np.concatenate([own[:, 1] for own in alive])
    writer.replace(names, ids, merged_file(parts, segments[0].marker.dim))
