"""Where the files of indexed images are read: where ``dataset.root`` says, or the index itself.

An index records where its images were. They may lie elsewhere where it is served, in a container
for instance. A file counts only if its content is what was indexed, so that both places can be
tried: a configuration that names the images of another index does no harm.
"""

import hashlib
from collections.abc import Iterator

from indexer.config import DatasetConfig
from indexer.datasets import Dataset, content_of_box, file_of_box, open_dataset
from indexer.errors import ImageGone, ImageUnreadable
from indexer.store import ImageRow


class ImageSources:
    """Reads the images of an index that was built from ``recorded``. Safe between threads."""

    def __init__(self, recorded: DatasetConfig, configured: DatasetConfig) -> None:
        self.are_remote = any(dataset.address for dataset in (recorded, configured))
        """Whether reading an image may ask a network, and cost something."""
        self._sources: list[tuple[Dataset, dict[str, str]]] = [
            (open_dataset(dataset), _renamed(recorded, dataset))
            for dataset in (*_relocated(recorded, configured), recorded)
        ]

    def read(self, row: ImageRow) -> bytes:
        """Return the bytes of an image's file, or of the one that a box lies in, as indexed.

        Raises :class:`~indexer.errors.ImageGone` or one of the other errors of a dataset.
        """
        failures: list[ImageGone] = []
        key = file_of(row)
        for dataset, renamed in self._sources:
            try:
                data = dataset.read(_translated(key, renamed))
            except ImageGone as error:
                failures.append(error)
                continue
            content = hashlib.sha256(data).hexdigest()
            if row.sha256 == (content if row.box is None else content_of_box(content, row.box)):
                return data
            failures.append(_Changed(key))
        raise max(failures, key=lambda error: isinstance(error, _Changed | ImageUnreadable))


def file_of(row: ImageRow) -> str:
    """Return the key of an image's file; of a box, that of its picture."""
    return row.key if row.box is None else file_of_box(row.key)


class _Changed(ImageGone):
    """The file has other content."""

    def __init__(self, key: str) -> None:
        super().__init__(
            f"The image file {key} has changed since it was indexed.",
            "Run `lookalike index` again.",
        )


def _relocated(recorded: DatasetConfig, configured: DatasetConfig) -> Iterator[DatasetConfig]:
    """Yield the index's dataset where the settings say it is, if they do.

    Their kind does not matter: what the index consists of is known. Of a list, they may name the
    folder. Several folders must be as many as there were; they correspond in their order.
    """
    is_set = "root" in configured.model_fields_set
    if not is_set or configured.root == recorded.root:
        return
    if "objects" in (recorded.kind, configured.kind):
        if {recorded.kind, configured.kind} <= {"objects", "folder"}:  # of the same keys
            yield recorded.model_copy(update={"root": configured.root, "kind": configured.kind})
        return
    if recorded.kind == "folder" and len(configured.roots) != len(recorded.roots):
        return
    yield recorded.model_copy(update={"root": configured.root})
    if recorded.kind == "list":
        in_folder = configured.roots[0] / recorded.roots[0].name
        yield recorded.model_copy(update={"root": in_folder})


def _renamed(recorded: DatasetConfig, relocated: DatasetConfig) -> dict[str, str]:
    """Return how the beginnings of keys differ: those that are names of folders or archives."""
    pairs = list(zip(recorded.roots, relocated.roots, strict=False))
    if recorded.kind == "folder":
        pairs = pairs[1:]  # keys of the first folder begin with no name
    elif recorded.kind in ("tar", "parquet"):
        ending = f".{recorded.kind}"
        pairs = [pair for pair in pairs if all(p.suffix.lower() == ending for p in pair)]
    else:
        pairs = []
    return {f"{old.name}/": f"{new.name}/" for old, new in pairs if old.name != new.name}


def _translated(key: str, renamed: dict[str, str]) -> str:
    for old, new in renamed.items():
        if key.startswith(old):
            return new + key.removeprefix(old)
    return key
