"""Repair: forget what is damaged, so that a build makes it again from the images."""

from indexer.errors import StoreCorrupt
from indexer.store import Damage, Writer


def repair(writer: Writer) -> list[str]:
    """Forget the images of damaged segments, and return what there is to say about it.

    The build then finds the images new and encodes them.

    A segment counts as damaged if it cannot be opened, or if ``verify`` found it damaged and it
    still is. Reading every byte before each build would take longer than most builds.
    """
    found, names = writer.damage(), writer.catalogue.segments()
    damaged = [name for name in names if _is_damaged(writer, name, found)]
    if len(damaged) == len(names) > 1:
        raise StoreCorrupt(
            f"None of the store's {len(names)} segments is sound.",
            "Check that the store's disk is mounted; if it is, delete the store and index again.",
        )
    notes = []
    for name in damaged:
        with writer.catalogue.transaction():
            count = writer.catalogue.forget_segment(name)
        notes.append(f"Segment {name} was damaged: its {count} images are read again.")
    return notes


def _is_damaged(writer: Writer, name: str, found: Damage) -> bool:
    try:
        segment = writer.segment(name)
        return len(segment.ids) != segment.count or (
            name in found.segments and bool(segment.problems())
        )
    except StoreCorrupt:
        return True
