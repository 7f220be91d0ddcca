"""The record of what is damaged, for the next build to repair."""

from typing import TYPE_CHECKING

from indexer.errors import StoreCorrupt
from indexer.store.files import read_record, write_record
from indexer.store.records import Damage

if TYPE_CHECKING:
    from indexer.store.store import Store


def read_damage(store: "Store") -> Damage:
    """Return the recorded damage; none if the record is missing or unreadable."""
    try:
        return read_record(store.damage, Damage)
    except StoreCorrupt:
        return Damage()


def add_damaged_segment(store: "Store", name: str) -> None:
    """Add a segment to the record."""
    noted = read_damage(store)
    segments = tuple(sorted({*noted.segments, name}))
    write_record(store.damage, noted.model_copy(update={"segments": segments}))


def write_damage(store: "Store", damage: Damage) -> None:
    """Replace the record; no damage removes it. Raises :class:`OSError`."""
    if damage != Damage():
        write_record(store.damage, damage)
    elif store.damage.exists():
        store.damage.unlink()
