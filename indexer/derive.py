"""Derive: bring what is trained on the vectors up to date: shortlist, approximate index and map.

Each structure is trained once and then encodes segment by segment, so that new vectors cost their
own encoding and nothing else. It is trained again where the training no longer fits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.indexes import Indexes, is_outgrown
from indexer.store import (
    Derived,
    DerivedFiles,
    DerivedKind,
    DerivedPart,
    Recall,
    Segment,
    Writer,
    part_name,
    trained_path,
)
from indexer.vector_index import (
    SHORTLIST_FROM,
    ApproximateCoder,
    Coder,
    MapCoder,
    MappedVectors,
    Part,
    ShortlistCoder,
    measure_recall,
    resolve_factory,
    shortlist_levels,
)

MOST_DRIFT = 1.25
"""Train again where vectors fit worse than those trained on, on average, by more than this."""


@dataclass(slots=True)
class DerivedStructures:
    """What was derived from a version's vectors, and what there is to say about it."""

    structures: dict[DerivedKind, Derived] = field(default_factory=dict)
    recall: tuple[Recall, ...] = ()
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How a structure is made: ``setting`` is what was asked for, ``made_by`` what it means now."""

    kind: DerivedKind
    setting: str
    made_by: str
    train: Callable[[MappedVectors], Coder]
    load: Callable[[Path], Coder]


def derive(
    writer: Writer,
    approximate: str | None,
    segments: Sequence[Segment],
    deleted: NDArray[np.int64],
    dim: int,
    previous: Mapping[DerivedKind, Derived],
    *,
    shortlist_from: int = SHORTLIST_FROM,
) -> DerivedStructures:
    """Make or update the structures of a version of ``segments`` without the ``deleted`` ids.

    ``previous`` are those of the version before. ``approximate`` is the setting. Collections of
    fewer bytes than ``shortlist_from`` get no shortlist.
    """
    parts = [Part(segment.vectors_path, segment.ids) for segment in segments]
    vectors = MappedVectors(parts, dim, deleted)
    recipes = []
    if vectors.bytes >= shortlist_from:
        levels = str([tuple(level) for level in shortlist_levels(dim)])
        recipes.append(
            _Recipe("shortlist", levels, levels, ShortlistCoder.train, ShortlistCoder.load)
        )
    if approximate and len(vectors):
        factory = resolve_factory(approximate, dim, len(vectors))

        def train(vectors: MappedVectors) -> Coder:
            return ApproximateCoder.train(vectors, factory)

        load = ApproximateCoder.load
        recipes.append(_Recipe("approximate", approximate, factory, train, load))
    if len(vectors):
        recipes.append(_Recipe("map", "2 axes", "2 axes", MapCoder.train, MapCoder.load))
    found = DerivedStructures()
    for recipe in recipes:
        derived, note = _update(writer, recipe, segments, vectors, previous.get(recipe.kind))
        found.structures[recipe.kind] = derived
        found.notes += [note] if note else []
    found.recall = _recall(writer, found.structures, segments, vectors)
    return found


def _update(
    writer: Writer,
    recipe: _Recipe,
    segments: Sequence[Segment],
    vectors: MappedVectors,
    previous: Derived | None,
) -> tuple[Derived, str]:
    """Return the structure, and why it was trained again, if it was."""
    if previous is None or previous.setting != recipe.setting:
        return _trained(writer, recipe, segments, vectors), ""
    if not writer.has_derived(previous):
        return _trained(writer, recipe, segments, vectors), _again(recipe, "it was damaged")
    if is_outgrown(previous, len(vectors)):
        note = f"the collection has {len(vectors):,} images, not {previous.trained_count:,}"
        return _trained(writer, recipe, segments, vectors), _again(recipe, note)
    coder = recipe.load(trained_path(writer.derived / previous.folder))
    derived = _encoded(writer, recipe, coder, previous, segments, vectors)
    drift = _error(derived) / max(derived.trained_error, 1e-12)
    if drift > MOST_DRIFT:
        note = f"the images fit its training {drift:.2f} times worse than when it was trained"
        return _trained(writer, recipe, segments, vectors), _again(recipe, note)
    return derived, ""


def _again(recipe: _Recipe, reason: str) -> str:
    name = "map" if recipe.kind == "map" else f"{recipe.kind} index"
    return f"The {name} was trained again: {reason}."


def _trained(
    writer: Writer, recipe: _Recipe, segments: Sequence[Segment], vectors: MappedVectors
) -> Derived:
    """Train the structure and encode all segments."""
    coder = recipe.train(vectors)
    folder = writer.new_derived()
    derived = Derived(
        folder=folder.name,
        setting=recipe.setting,
        made_by=recipe.made_by,
        trained=writer.write_derived(trained_path(folder), coder.to_bytes()),
        trained_count=len(vectors),
        trained_error=0,
        parts={},
    )
    derived = _encoded(writer, recipe, coder, derived, segments, vectors)
    return derived.model_copy(update={"trained_error": _error(derived)})


def _encoded(
    writer: Writer,
    recipe: _Recipe,
    coder: Coder,
    derived: Derived,
    segments: Sequence[Segment],
    vectors: MappedVectors,
) -> Derived:
    """Return the structure with a part for each segment, encoding those it lacks."""
    folder = writer.derived / derived.folder
    parts: dict[str, DerivedPart] = {}
    for segment in segments:
        part = derived.parts.get(segment.id)
        if part and part.vectors == segment.digest:
            parts[segment.id] = part
    missing = len(segments) - len(parts)
    with tqdm(total=missing, unit="segment", desc=f"Making the {recipe.kind}", disable=None) as bar:
        for number, segment in enumerate(segments):
            if segment.id in parts:
                continue
            encoded = coder.encode(vectors.parts[number].matrix)
            file = writer.write_derived(folder / part_name(segment.id), encoded.content)
            parts[segment.id] = DerivedPart(
                file=file, vectors=segment.digest, count=segment.count, error=encoded.error
            )
            bar.update()
    return derived.model_copy(update={"parts": parts})


def _error(derived: Derived) -> float:
    """Return the average error of all vectors."""
    counts = [part.count for part in derived.parts.values()]
    errors = [part.error * part.count for part in derived.parts.values()]
    return sum(errors) / max(sum(counts), 1)


def _recall(
    writer: Writer,
    structures: Mapping[DerivedKind, Derived],
    segments: Sequence[Segment],
    vectors: MappedVectors,
) -> tuple[Recall, ...]:
    """Measure the approximate index against exact search."""
    if "approximate" not in structures:
        return ()
    names = [part_name(segment.id) for segment in segments]

    def files(kind: DerivedKind) -> DerivedFiles | None:
        if kind not in structures:
            return None
        folder = writer.derived / structures[kind].folder
        return DerivedFiles(trained_path(folder), [folder / name for name in names])

    indexes = Indexes(vectors, files)
    assert indexes.approximate
    return tuple(
        Recall(
            nprobe=point.nprobe,
            stored=round(point.stored, 4),
            changed=round(point.changed, 4),
            recall=round(point.recall, 4),
        )
        for point in measure_recall(indexes.exact, indexes.approximate)
    )
