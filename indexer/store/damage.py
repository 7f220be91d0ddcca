"""The record of what is damaged, for the next build to repair."""

from typing import TYPE_CHECKING

from indexer.errors import StoreCorrupt
from indexer.store.files import read_record, write_record
from indexer.store.records import Damage

if TYPE_CHECKING:
    from indexer.store.store import Store

NO_DAMAGE = Damage()


def read_damage(store: "Store") -> Damage:
    """Return the recorded damage; none if the record is missing or unreadable."""
    try:
        return read_record(store.damage, Damage)
    except StoreCorrupt:
        return NO_DAMAGE


def update_damage(
    store: "Store", *, checked: Damage = NO_DAMAGE, damaged: Damage = NO_DAMAGE
) -> None:
    """Record damage, and drop the recorded parts that were ``checked`` and are not damaged.

    What else is recorded stays. Without any damage there is no record. Raises :class:`OSError`.
    """
    damage = (read_damage(store) - checked) | damaged
    if damage != NO_DAMAGE:
        write_record(store.damage, damage)
    elif store.damage.exists():
        store.damage.unlink()
