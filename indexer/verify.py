"""Verify: read every byte of the published version and check it against what was written down."""

from dataclasses import dataclass

from indexer.config import Config
from indexer.errors import StoreCorrupt
from indexer.store import Store


@dataclass(frozen=True, slots=True)
class Verdict:
    """What :func:`verify` found; no problems means that every checksum and count is right."""

    version: str | None
    images: int
    problems: list[str]


def verify(config: Config) -> Verdict:
    """Check all checksums and counts of the published version.

    Damage is reported, not raised. Raises :class:`~indexer.errors.NoPublishedIndex`.
    """
    store = Store(config.store)
    try:
        version = store.open_published()
        return Verdict(version.id, version.manifest.counts.indexed, version.problems())
    except StoreCorrupt as error:
        return Verdict(None, 0, [error.message])
