"""Compact: merge small segments, and rewrite those that are mostly dead."""

import math

import numpy as np

from indexer.store import SegmentSize, Writer

SEGMENT_VECTORS = 4096
"""Vectors in a full segment: 64 MB at 4096-d."""

SMALL = SEGMENT_VECTORS // 2
"""Smaller segments are merged."""

FAN_IN = 8
"""So many segments of a size, give or take this factor, become one: each vector is rewritten at
most four times on its way into a full segment, and a handful of new images rewrites no more."""


def compact(writer: Writer) -> None:
    """Merge until no size has :data:`FAN_IN` small segments and none is mostly dead."""
    while group := _worth_merging(writer.sizes):
        merged: list[str] = []
        for segment in group:
            merged.append(segment)
            if sum(writer.sizes[name].alive for name in merged) >= SMALL:
                _merge(writer, merged)
                merged = []
        if merged:
            _merge(writer, merged)


def _worth_merging(sizes: dict[str, SegmentSize]) -> list[str]:
    """Return segments to be merged into one or more, in order; none if all is well."""
    for name, size in sizes.items():
        if 0 < size.alive * 2 < size.stored:
            return [name]
    tiers: dict[int, list[str]] = {}
    for name, size in sizes.items():
        if 0 < size.alive < SMALL:
            tiers.setdefault(int(math.log(size.alive, FAN_IN)), []).append(name)
    return next((names for names in tiers.values() if len(names) >= FAN_IN), [])


def _merge(writer: Writer, names: list[str]) -> None:
    """Write what is alive of some segments as one."""
    from indexer.vector_index import flat_file, read_vectors

    ids, vectors = [], []
    for name in names:
        segment, alive = writer.sound_segment(name), writer.catalogue.ids_in(name)
        vectors.append(read_vectors(segment.vectors_path, alive[:, 0]))
        ids.append(alive[:, 1])
    writer.replace(names, np.concatenate(ids), flat_file(np.concatenate(vectors)))
