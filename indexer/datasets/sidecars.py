"""Sidecars: the members of a tar archive that describe its images."""

import os
import posixpath
from typing import Any, BinaryIO

from indexer.datasets.base import Listing
from indexer.datasets.tar_directory import Extent, read_extent
from indexer.text import composed, decode, parse_json, storable

SIDECARS = (".json", ".txt", ".cls")
"""Their endings, in the order in which they are read; later values replace earlier ones."""

MAX_SIDECAR_BYTES = 64_000
"""Larger ones are ignored: their content is part of the catalogue and of every result."""


class Sidecars:
    """The sidecars of one archive and the metadata in them.

    A sample's name ends at the first dot of the last part of its path: ``1.json`` describes
    ``1.left.jpg`` and ``1.right.jpg``. A sidecar with the whole name of an image, ``1.left.json``,
    describes that image. https://github.com/webdataset/webdataset#the-webdataset-format
    """

    def __init__(self, archive: str, file: BinaryIO, listing: Listing) -> None:
        self._archive = archive
        self._file = file
        self._listing = listing
        self._extents: dict[tuple[str, str], Extent] = {}
        self._read: dict[tuple[str, str], dict[str, Any]] = {}

    def add(self, member: str, extent: Extent) -> None:
        """Add a member with an ending of :data:`SIDECARS`."""
        name, ending = os.path.splitext(member)  # noqa: PTH122 -- for every member; Path is slow
        self._extents[composed(name), ending.lower()] = extent

    def metadata_of(self, image: str) -> dict[str, Any]:
        """Return what the sidecars say of an image: its sample's, then its own."""
        folder, name = posixpath.split(composed(image))
        names = (name.partition(".")[0], os.path.splitext(name)[0])  # noqa: PTH122
        metadata: dict[str, Any] = {}
        for name in dict.fromkeys(posixpath.join(folder, name) for name in names):
            for ending in SIDECARS:
                metadata |= self._values_in(name, ending)
        return metadata

    def count_unused(self) -> None:
        """Count the sidecars that describe none of the images."""
        for _, ending in self._extents.keys() - self._read.keys():
            self._listing.ignored[ending] += 1

    def _values_in(self, name: str, ending: str) -> dict[str, Any]:
        """Return the values in a sidecar. It is read once, as a sample may have many images."""
        extent = self._extents.get((name, ending))
        if extent is None:
            return {}
        if (name, ending) not in self._read:
            repairs, place = set[str](), f"{self._archive}/{name}{ending}"
            values: dict[str, Any] = {}
            try:
                values = storable(self._parsed(ending, extent), repairs)
            except _Unusable as why:
                self._listing.pass_over(f"{ending} ({why})", place)
            except ValueError as error:
                self._listing.pass_over(f"{ending} (damaged)", f"{place} ({error})")
            for repair in sorted(repairs):
                self._listing.pass_over(f"{ending} with {repair}", place)
            self._read[name, ending] = values
        return self._read[name, ending]

    def _parsed(self, ending: str, extent: Extent) -> dict[str, Any]:
        """Return the values of a sidecar. Raises ValueError, or _Unusable with the reason."""
        if extent.size > MAX_SIDECAR_BYTES:
            raise _Unusable("too large")
        data = read_extent(self._file, extent)
        if ending == ".json":
            value = parse_json(data)
            if not isinstance(value, dict):
                raise _Unusable("no object")
            return value
        text = decode(data).strip()
        if ending == ".txt":
            return {"text": text}
        is_number = text.isdecimal() and len(text) < 19  # as many digits as the catalogue holds
        return {"class": int(text) if is_number else text}


class _Unusable(ValueError):
    """Why a sidecar is not used."""
