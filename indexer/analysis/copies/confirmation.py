"""Reading pictures and comparing pairs of them, each picture once or a few times."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from indexer.analysis.copies.candidates import Pairs, in_reading_order
from indexer.config import Config
from indexer.errors import LookalikeError
from indexer.images import crop, decoded, grey_picture
from indexer.machine import available_cores
from indexer.search.image_sources import ImageSources
from indexer.store import ImageRow, Version

if TYPE_CHECKING:
    from indexer.analysis.copies.geometry import Fit, Picture

PICTURES = 2048
"""How many pictures are kept at once, of about 150 kB each: 300 MB."""

PAIRS = 1024
"""How many pairs are compared between two looks at which pictures are needed next."""

INSTALL = "pip install 'lookalike[geometry]'"


def can_compare() -> bool:
    """Tell whether the extra ``geometry`` is installed."""
    return find_spec("cv2") is not None


class Pictures:
    """The pictures of an index, read where their files are now; the last ones are kept."""

    def __init__(self, version: Version, config: Config) -> None:
        self._catalogue = version.catalogue
        self._sources = ImageSources(version.manifest.dataset, config.dataset)
        self._max_pixels = config.dataset.max_pixels
        self._kept: OrderedDict[int, Picture | None] = OrderedDict()
        self._threads = ThreadPoolExecutor(available_cores())
        self.unread: dict[int, str] = {}
        """The ids of images that could not be read, and why."""
        self.read = 0
        """How many files were read."""

    def fits(self, pairs: Sequence[tuple[int, int]]) -> "Iterator[Fit | None]":
        """Yield how the second picture of each pair of ids lies on the first, in their order.

        It is None if they are not the same, and where a picture cannot be read.
        """
        from indexer.analysis.copies.geometry import fit

        for start in range(0, len(pairs), PAIRS):
            some = pairs[start : start + PAIRS]
            self._keep([image_id for pair in some for image_id in pair])

            def compare(pair: tuple[int, int]) -> "Fit | None":
                first, second = (self._kept[image_id] for image_id in pair)
                return fit(first, second) if first and second else None

            yield from self._threads.map(compare, some)

    def close(self) -> None:
        """Forget the pictures and end the threads."""
        self._threads.shutdown(cancel_futures=True)
        self._kept.clear()

    def _keep(self, ids: Sequence[int]) -> None:
        """Read those pictures that are not kept, in the place of those used longest ago."""
        wanted = list(dict.fromkeys(ids))
        for image_id in wanted:
            if image_id in self._kept:
                self._kept.move_to_end(image_id)
        missing = [image_id for image_id in wanted if image_id not in self._kept]
        for _ in range(len(self._kept) + len(missing) - max(PICTURES, len(wanted))):
            self._kept.popitem(last=False)
        rows = self._catalogue.get_many(missing)
        read = self._threads.map(self._read, [rows[image_id] for image_id in missing])
        for image_id, picture in zip(missing, read, strict=True):
            if isinstance(picture, LookalikeError):
                self.unread[image_id] = picture.message
            self._kept[image_id] = None if isinstance(picture, LookalikeError) else picture
        self.read += len(missing)

    def _read(self, row: ImageRow) -> "Picture | LookalikeError":
        """Return the picture of an image, or why it cannot be read."""
        from indexer.analysis.copies.geometry import SIDE, Picture

        try:
            data = self._sources.read(row)
            with decoded(data, max_pixels=self._max_pixels) as whole:
                grey = grey_picture(whole if row.box is None else crop(whole, row.box), side=SIDE)
        except LookalikeError as error:
            return error
        return Picture.of(grey)


def confirm(pictures: Pictures, ids: NDArray[np.int64], pairs: Pairs) -> Pairs:
    """Return those of some pairs, of positions in ``ids``, that show the same picture."""
    ordered = in_reading_order(pairs)
    named = [(first, second) for first, second in ids[ordered].tolist()]
    fits = tqdm(pictures.fits(named), "Comparing pictures", len(named), unit=" pairs", disable=None)
    same = np.fromiter((one is not None for one in fits), np.bool_, len(named))
    return ordered[same]
