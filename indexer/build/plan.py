"""Plan: estimate the time, memory and disk space of a build from a sample of the files."""

import shutil
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, NamedTuple

from indexer.build.diff import Changes, compare
from indexer.build.rates import measure_rates
from indexer.build.stored_settings import require_same_network
from indexer.config import Config
from indexer.datasets import Dataset, open_dataset, require_folders
from indexer.encoders import Encoder, open_encoder
from indexer.errors import DiskTooSmall
from indexer.store import DerivedKind, Stamp, Store, live_catalogue, read_damage

COCO = {"images": 118_287, "boxes": 860_001}
"""What is in COCO's train2017, which people know."""

CATALOGUE_BYTES_PER_IMAGE = 1_000  # a row and its indexes, in the store and in a version
SEARCH_BYTES_PER_IMAGE = 40  # its id, its row, and whether it is deleted
# Per vector of an inverted list: on disk, in memory.
ROW_BYTES, ID_BYTES = 4, 8
SEGMENT_BUFFER_BYTES = 3 * 64_000_000  # vectors that are collected, joined and serialised


@dataclass(frozen=True, slots=True)
class Plan:
    """What a build will take. Times in seconds, rates in images per second."""

    runtime: str
    items: Literal["images", "boxes"]
    images: int
    """Images, or boxes, to encode."""
    files: int
    """The files that they are or lie in, which are read."""
    unchanged: int
    removed: int
    image_bytes: int | None
    """The size of these files; None if only reading them would tell."""
    disk_bytes: dict[str, int]
    """Growth of the store by kind of file: vectors, catalogue, shortlist, approximate."""
    disk_free_bytes: int
    executor: Literal["local", "ray"] = "local"
    """Where the build will run. Rates are always those of this machine."""
    decode_rate: float | None = None
    """With all cores, on a sample; None if nothing was measured."""
    encode_rate: float | None = None
    commit_rate: float | None = None
    rate: float | None = None
    """Of a build, which does all three side by side."""
    slowest: str | None = None
    """The stage that limits it: decode, encode or commit."""
    seconds: float | None = None
    memory_bytes: dict[str, int] | None = None
    """At the peak of the build, and of a server in each search mode. Mapped vectors do not count:
    the system keeps as many of them in memory as there is room for."""

    @property
    def summary(self) -> str:
        """The plan as a few lines of text."""
        what = "images" if self.items == "images" else f"boxes in {self.files} images"
        size = "" if self.image_bytes is None else f" ({self.image_bytes / 1e6:.1f} MB)"
        work = f"{self.images} {what} to encode{size}"
        lines = [f"{work}, {self.unchanged} unchanged, {self.removed} gone"]
        if self.rate and self.seconds is not None and self.memory_bytes is not None:
            lines.append(
                f"about {_duration(self.seconds)} in {self.runtime}, {self.rate:.1f} img/s"
            )
            lines.append(
                f"decode {self.decode_rate:.1f} img/s, encode {self.encode_rate:.1f} img/s, "
                f"commit {self.commit_rate:.1f} img/s: limited by {self.slowest}"
            )
            if self.executor == "ray":
                lines.append("that is this machine alone; the workers of a cluster share it")
            coco = COCO[self.items]
            lines.append(
                f"COCO's train2017 ({coco:,} {self.items}) would take {_duration(coco / self.rate)}"
            )
            uses = ", ".join(
                f"{use} {size / 1e9:.1f} GB" for use, size in self.memory_bytes.items()
            )
            lines.append(f"memory: {uses}")
        sizes = ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in self.disk_bytes.items())
        lines.append(f"on disk: {sizes}; {self.disk_free_bytes / 1e9:.1f} GB are free")
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON-ready values."""
        return asdict(self)


def plan(config: Config) -> Plan:
    """Plan the build of the configured dataset; nothing is written.

    Raises :class:`~indexer.errors.DiskTooSmall` if the disk cannot hold the index, and what
    opening the encoder and the dataset raises.
    """
    require_folders(config.dataset)
    require_same_network(config)
    encoder = open_encoder(config.encoder)
    dataset = open_dataset(config.dataset)
    return estimate(config, encoder, dataset, _changes(config, dataset), measure=True)


def preview(config: Config, *, reread: bool = False) -> dict[str, list[str]]:
    """Return the keys that a build would add, encode again, retry, remove, and read to compare."""
    changes = _changes(config, open_dataset(config.dataset), reread=reread)
    return {
        "new": changes.new,
        "changed": changes.changed,
        "retried": changes.retried,
        "removed": changes.removed,
        "checked": changes.checked,
    }


def _changes(config: Config, dataset: Dataset, *, reread: bool = False) -> Changes:
    known: dict[str, Stamp] = {}
    store = Store(config.store)
    if store.catalogue.exists():
        with live_catalogue(store.catalogue) as catalogue:
            known = catalogue.stamps()
    elif store.current():  # a copy that was pulled: a build makes its catalogue of that version
        known = store.open_published().catalogue.stamps()
    return compare(dataset, known, config.dataset.max_pixels, reread=reread)


def estimate(
    config: Config, encoder: Encoder, dataset: Dataset, changes: Changes, *, measure: bool
) -> Plan:
    """Estimate a build. With ``measure`` the rates are measured on a few files.

    Raises :class:`~indexer.errors.DiskTooSmall`.
    """
    items = changes.to_encode
    files = {item.file: item.size for item in items}
    sizes = [size for size in files.values() if size is not None]
    total = len(items) + changes.unchanged
    structures = _structures(config, encoder.spec.dim, len(items), total)
    rates = None
    if measure and items:
        rates = measure_rates(dataset, items, encoder, config.dataset.max_pixels)
    disk = {
        "vectors": len(items) * (4 * encoder.spec.dim + 8),
        "catalogue": len(items) * CATALOGUE_BYTES_PER_IMAGE,
    }
    disk |= {name: structure.growth for name, structure in structures.items()}
    free = shutil.disk_usage(_existing(config.store)).free
    if sum(disk.values()) > free:
        raise DiskTooSmall(
            f"The index needs {sum(disk.values()) / 1e6:,.1f} MB more on the disk of "
            f"{config.store}; {free / 1e6:,.1f} MB are free.",
            "Free some space, or name a --store on another disk.",
        )
    forecast = Plan(
        runtime=encoder.runtime,
        items=config.dataset.items,
        images=len(items),
        files=len(files),
        unchanged=changes.unchanged,
        removed=len(changes.removed),
        image_bytes=None if len(sizes) < len(files) else sum(sizes),
        disk_bytes=disk,
        disk_free_bytes=free,
        executor=config.executor.kind,
    )
    if rates is None:
        return forecast
    return replace(
        forecast,
        decode_rate=rates.decode,
        encode_rate=rates.encode,
        commit_rate=rates.commit,
        rate=rates.build,
        slowest=rates.slowest,
        seconds=len(items) / rates.build,
        memory_bytes=_memory(structures, total),
    )


class _Structure(NamedTuple):
    """The additional disk space and the total memory of a derived structure, in bytes."""

    growth: int
    memory: int


_Structures = dict[Literal["shortlist", "approximate"], _Structure]


def _memory(structures: _Structures, total: int) -> dict[str, int]:
    """Return the memory of the build, now that the model is loaded, and of searches, in bytes."""
    loaded = _peak_memory()
    exact = loaded + total * SEARCH_BYTES_PER_IMAGE
    if shortlist := structures.get("shortlist"):
        exact += shortlist.memory
    memory = {"build": loaded + SEGMENT_BUFFER_BYTES, "exact search": exact}
    if approximate := structures.get("approximate"):
        memory["approximate search"] = exact + approximate.memory
    return memory


def _structures(config: Config, dim: int, added: int, total: int) -> _Structures:
    """Return the needs of the structures of ``total`` vectors, ``added`` of which are new.

    An existing structure grows by the new vectors, unless it has to be trained again.
    """
    from indexer.vector_index import code_size, shortlist_bytes, shortlist_memory
    from indexer.vector_index.opened import approximate_setting, is_outgrown

    store = Store(config.store)
    manifest = store.published_manifest()
    there = manifest.derived if manifest else {}
    damaged = read_damage(store).derived

    def encoded(kind: DerivedKind, setting: str | None = None) -> int:
        """Return how many vectors have to be encoded."""
        structure = there.get(kind)
        if structure is None or structure.folder in damaged or is_outgrown(structure, total):
            return total
        return added if setting in (None, structure.setting) else total

    found: _Structures = {}
    if size := shortlist_bytes(dim, total):
        growth = size // total * encoded("shortlist")
        found["shortlist"] = _Structure(growth, shortlist_memory(dim, total))
    if factory := config.index.approximate:
        count = encoded("approximate", approximate_setting(factory, config.index.recall))
        if count < total:  # auto stands for its largest choice until it is trained
            factory = there["approximate"].made_by
        size = code_size(factory, dim, total)
        found["approximate"] = _Structure((size + ROW_BYTES) * count, (size + ID_BYTES) * total)
    return found


def _peak_memory() -> int:
    """Return the largest resident size this process has had, in bytes."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _existing(folder: Path) -> Path:
    """Return the folder, or its nearest ancestor that exists."""
    return next(path for path in (folder, *folder.parents) if path.exists())


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
