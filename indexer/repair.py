"""Repair: forget what is damaged, so that a build makes it again from the images."""

from indexer.errors import StoreCorrupt
from indexer.store import Damage, Writer


def repair(writer: Writer) -> list[str]:
    """Forget the images of damaged segments, and return what there is to say about it.

    The build then finds the images new and encodes them.

    A segment counts as damaged if it cannot be opened, or if ``verify`` found it damaged and it
    still is. Reading every byte before each build would take longer than most builds.
    """
    found, notes = writer.damage(), list[str]()
    for name in writer.catalogue.segments():
        if _is_damaged(writer, name, found):
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
