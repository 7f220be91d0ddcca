"""What is known to be damaged, written down for the next build."""

from typing import TYPE_CHECKING

from indexer.errors import StoreCorrupt
from indexer.store.files import read_record, write_record
from indexer.store.records import Damage

if TYPE_CHECKING:
    from indexer.store.store import Store


def noted_damage(store: "Store") -> Damage:
    """Return what was noted; nothing, if the note cannot be read."""
    try:
        return read_record(store.damage, Damage)
    except StoreCorrupt:
        return Damage()


def note_damaged_segment(store: "Store", name: str) -> None:
    """Add a segment to what is noted."""
    noted = noted_damage(store)
    segments = tuple(sorted({*noted.segments, name}))
    write_record(store.damage, noted.model_copy(update={"segments": segments}))


def note_verdict(store: "Store", damage: Damage) -> None:
    """Note all there is, in place of what was noted before. Raises :class:`OSError`."""
    if damage != Damage():
        write_record(store.damage, damage)
    elif store.damage.exists():
        store.damage.unlink()
