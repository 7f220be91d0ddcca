"""Which fields are worth counting where nobody has asked for one."""

from typing import NamedTuple

from indexer.store import OWN_FIELDS, ImageRow, Kind, MetadataIndex, Value

MAX_VALUES = 1000
"""How many different values such a field has at most, if they are texts."""

MAX_NUMBERS = 20
"""How many, if they are numbers: more of them are a measure, which a range asks for."""

COMMON = 8
MIN_COMMON = 0.1
"""What share of all values the :data:`COMMON` most frequent ones have in a field that comes first:
of times or names of photographers hardly any value says much of the collection."""

KINDS: tuple[Kind, ...] = ("text", "boolean", "number")


class _Candidate(NamedTuple):
    kind: Kind
    name: str
    counts: list[int]
    """How many images have each of its values, ascending."""

    @property
    def is_telling(self) -> bool:
        """Whether it has several values, but few, which images share."""
        most = MAX_NUMBERS if self.kind == "number" else MAX_VALUES
        return 2 <= len(self.counts) <= most and sum(self.counts) >= 2 * len(self.counts)

    @property
    def rank(self) -> tuple[bool, int, int, bool, str]:
        """What has common values comes first, then texts, more values, what the dataset says."""
        has_common = sum(self.counts[-COMMON:]) >= MIN_COMMON * sum(self.counts)
        is_own = self.name in OWN_FIELDS
        return not has_common, KINDS.index(self.kind), -len(self.counts), is_own, self.name


def values_of(row: ImageRow, field: str) -> set[Value]:
    """Return the values that an image has in a field, as the index of metadata has them."""
    if field == "folder":
        found: object = row.key.rpartition("/")[0] or None
    elif field in OWN_FIELDS:
        found = getattr(row, field)
    else:
        found = row.metadata.get(field.removeprefix("metadata."))
    values = found if isinstance(found, list) else [found]
    return {value for value in values if isinstance(value, str | int | float)}


def telling_fields(index: MetadataIndex, images: int) -> list[str]:
    """Return the fields worth counting, the most telling first.

    At least half of the ``images`` have such a field, and share its few values. Of fields that
    divide the images into parts of equal sizes, such as the number of a licence and its name, the
    one with the shortest name counts. Measures of the file (width, height, size) do not.
    """
    by_parts: dict[tuple[int, ...], list[_Candidate]] = {}
    for field in index.fields:
        is_measure = field.kind == "number" and field.name.removeprefix("metadata.") in OWN_FIELDS
        if is_measure or 2 * field.images < images:
            continue
        counts = sorted(index.spread(field.name, MAX_VALUES) or ())
        candidate = _Candidate(field.kind, field.name, counts)
        if candidate.is_telling:
            by_parts.setdefault(tuple(counts), []).append(candidate)
    ranked = sorted(by_parts.values(), key=lambda alike: min(one.rank for one in alike))
    names = [
        min((one.name for one in alike), key=lambda name: (len(name), name)) for alike in ranked
    ]
    return list(dict.fromkeys(names))
