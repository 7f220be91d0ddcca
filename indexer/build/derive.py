"""Derive: update the structures trained on the vectors: shortlist, approximate index and map.

Each structure is trained once and then encodes segment by segment, so that only new segments have
to be encoded. That includes merged ones (:mod:`indexer.build.compact`), at a few seconds per
gigabyte. A structure is trained again when its training no longer fits.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from indexer.config import IndexConfig
from indexer.errors import StoreCorrupt
from indexer.store import (
    Derived,
    DerivedFiles,
    DerivedKind,
    DerivedPart,
    Draft,
    Recall,
    RecallPoint,
    Segment,
    Writer,
    part_name,
    trained_path,
)
from indexer.vector_index import (
    SHORTLIST_FROM,
    ApproximateCoder,
    Coder,
    MappedVectors,
    Part,
    ProjectionCoder,
    ShortlistCoder,
    choose_factory,
    measure_recall,
    shortlist_levels,
)
from indexer.vector_index.opened import Indexes, approximate_setting, is_outgrown
from indexer.vector_index.promise import Promise

MAX_DRIFT = 1.25
"""Train again if the mean error exceeds that of the training by more than this factor."""

MAX_CHANGE = 0.1
"""Measure recall again if more than this share of the images was added or removed since."""


@dataclass(slots=True)
class DerivedStructures:
    """The derived structures of a version, and notes for the user."""

    structures: dict[DerivedKind, Derived] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


class _Trained(NamedTuple):
    """A trained coder, and what its setting stood for."""

    coder: Coder
    made_by: str


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How to make a structure of one kind, for a setting."""

    kind: DerivedKind
    setting: str
    train: Callable[[MappedVectors], _Trained]
    load: Callable[[Path], Coder]


def derive(
    draft: Draft,
    writer: Writer,
    index: IndexConfig,
    dim: int,
    *,
    shortlist_from: int = SHORTLIST_FROM,
) -> DerivedStructures:
    """Make the structures of a draft, reusing those of the published version where they fit.

    Collections of fewer bytes of vectors than ``shortlist_from`` get no shortlist.
    """
    segments = draft.segments
    parts = [Part(segment.vectors_path, segment.ids) for segment in segments]
    vectors = MappedVectors(parts, dim, draft.deleted)
    found = DerivedStructures()

    def indexes() -> Indexes:
        """Open the indexes that have been made so far."""
        return Indexes(vectors, partial(_files, writer, found.structures, segments))

    recipes = []
    if vectors.bytes >= shortlist_from:
        recipes.append(_shortlist(dim))
    if index.approximate and len(vectors):
        recipes.append(_approximate(index.approximate, index.recall, indexes))
    if len(vectors):
        recipes.append(_map())
    for recipe in recipes:
        derived, note = _update(writer, recipe, segments, vectors, draft.previous.get(recipe.kind))
        found.structures[recipe.kind] = derived
        found.notes += [note] if note else []
    if approximate := found.structures.get("approximate"):
        if _has_changed(approximate.recall, vectors):
            approximate = approximate.model_copy(update={"recall": _measure(indexes())})
            found.structures["approximate"] = approximate
        promise = Promise.of_index(approximate, index.recall)
        found.notes += promise.notes if promise else []
    return found


def _shortlist(dim: int) -> _Recipe:
    levels = str([tuple(level) for level in shortlist_levels(dim)])
    return _Recipe(
        "shortlist",
        levels,
        lambda vectors: _Trained(ShortlistCoder.train(vectors), levels),
        ShortlistCoder.load,
    )


def _approximate(asked: str, recall: float, indexes: Callable[[], Indexes]) -> _Recipe:
    def train(vectors: MappedVectors) -> _Trained:
        factory = choose_factory(asked, indexes().exact, recall)
        return _Trained(ApproximateCoder.train(vectors, factory), factory)

    setting = approximate_setting(asked, recall)
    return _Recipe("approximate", setting, train, ApproximateCoder.load)


def _map() -> _Recipe:
    axes = "2 axes"
    return _Recipe(
        "map",
        axes,
        lambda vectors: _Trained(ProjectionCoder.train(vectors), axes),
        ProjectionCoder.load,
    )


def _update(
    writer: Writer,
    recipe: _Recipe,
    segments: Sequence[Segment],
    vectors: MappedVectors,
    previous: Derived | None,
) -> tuple[Derived, str]:
    """Return the structure, and a note if it was trained again."""
    if previous is None or previous.setting != recipe.setting:
        return _train(writer, recipe, segments, vectors), ""
    if not writer.has_derived(previous):
        return _train(writer, recipe, segments, vectors), _retrained_note(recipe, "it was damaged")
    if is_outgrown(previous, len(vectors)):
        note = f"the collection has {len(vectors):,} images, not {previous.trained_count:,}"
        return _train(writer, recipe, segments, vectors), _retrained_note(recipe, note)
    try:
        coder = recipe.load(trained_path(writer.derived / previous.folder))
    except StoreCorrupt:
        return _train(writer, recipe, segments, vectors), _retrained_note(recipe, "it was damaged")
    derived = _encode(writer, recipe, coder, previous, segments, vectors)
    drift = _error(derived) / max(derived.trained_error, 1e-12)
    if drift > MAX_DRIFT:
        note = f"the images fit its training {drift:.2f} times worse than when it was trained"
        return _train(writer, recipe, segments, vectors), _retrained_note(recipe, note)
    return derived, ""


def _retrained_note(recipe: _Recipe, reason: str) -> str:
    name = "map" if recipe.kind == "map" else f"{recipe.kind} index"
    return f"The {name} was trained again: {reason}."


def _train(
    writer: Writer, recipe: _Recipe, segments: Sequence[Segment], vectors: MappedVectors
) -> Derived:
    """Train the structure and encode all segments."""
    coder, made_by = recipe.train(vectors)
    folder = writer.new_derived()
    derived = Derived(
        folder=folder.name,
        setting=recipe.setting,
        made_by=made_by,
        trained=writer.write_derived(trained_path(folder), coder.to_bytes()),
        trained_count=len(vectors),
        trained_error=0,
        parts={},
    )
    derived = _encode(writer, recipe, coder, derived, segments, vectors)
    return derived.model_copy(update={"trained_error": _error(derived)})


def _encode(
    writer: Writer,
    recipe: _Recipe,
    coder: Coder,
    derived: Derived,
    segments: Sequence[Segment],
    vectors: MappedVectors,
) -> Derived:
    """Return the structure with a part for each segment; encode the missing ones."""
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
    """Return the mean error over all vectors."""
    counts = [part.count for part in derived.parts.values()]
    errors = [part.error * part.count for part in derived.parts.values()]
    return sum(errors) / max(sum(counts), 1)


def _files(
    writer: Writer,
    structures: Mapping[DerivedKind, Derived],
    segments: Sequence[Segment],
    kind: DerivedKind,
) -> DerivedFiles | None:
    """Return the files of a structure, or None if there is none of that kind."""
    if kind not in structures:
        return None
    folder = writer.derived / structures[kind].folder
    return DerivedFiles(
        trained_path(folder), [folder / part_name(segment.id) for segment in segments]
    )


def _has_changed(recall: Recall | None, vectors: MappedVectors) -> bool:
    """Tell whether so many images were added or removed that recall has to be measured again."""
    if recall is None:
        return True
    new = int((vectors.ids > recall.last_id).sum())
    gone = recall.count - (len(vectors) - new)
    return new + gone > MAX_CHANGE * recall.count


def _measure(indexes: Indexes) -> Recall:
    """Measure the recall of the approximate index against exact search."""
    assert indexes.approximate
    measured = measure_recall(indexes.exact, indexes.approximate)
    return Recall(
        count=len(indexes.vectors),
        last_id=int(indexes.vectors.ids.max()),
        queries=measured.queries,
        exact_ms=round(measured.exact_ms, 3),
        points=tuple(
            RecallPoint(**{name: round(value, 4) for name, value in point._asdict().items()})
            for point in measured.points
        ),
    )
