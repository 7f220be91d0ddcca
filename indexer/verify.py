"""Verify: read every byte of the published version and check it against what was written down."""

from dataclasses import dataclass
from pathlib import Path

from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.store import Damage, Store, Version, note_verdict


@dataclass(frozen=True, slots=True)
class Verdict:
    """What :func:`verify` found; no problems means that every checksum and count is right."""

    version: str | None
    images: int
    problems: list[str]
    not_noted: str | None = None
    """Why the damage could not be noted for the next build: the store may only be read here."""


def verify(config: Config) -> Verdict:
    """Check all checksums and counts of the published version.

    Damage is reported, not raised, and noted in the store, if that may be written: the next build
    makes damaged segments again from their images.

    Raises :class:`~indexer.errors.NoPublishedIndex`.
    """
    store = Store(config.store)
    try:
        version = store.open_published()
        problems = version.problems()
    except StoreCorrupt as error:
        return Verdict(None, 0, [error.message])
    damaged = version.damaged_files() if problems else []
    folders = [path.parent for path in damaged]
    damage = Damage(
        segments=tuple(sorted({f.name for f in folders if f.parent == store.segments})),
        derived=tuple(sorted({f.name for f in folders if f.parent == store.derived})),
        layers=_damaged_layers(version, damaged) if problems else (),
    )
    not_noted = None
    try:
        note_verdict(store, damage)
    except OSError as error:
        not_noted = f"{store.damage}: {error.strerror}"
    return Verdict(version.id, version.manifest.counts.indexed, problems, not_noted)


def _damaged_layers(version: Version, damaged: list[Path]) -> tuple[str, ...]:
    """Return the layers to write again: all of them if the files are sound and do not agree."""
    layers = [layer.id for layer in version.manifest.layers]
    names = {path.stem for path in damaged if path.suffix == ".sqlite"}
    return tuple(layer for layer in layers if layer in names or not damaged)
