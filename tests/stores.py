"""Stores for the tests: filled without an encoder, damaged, and compared with a clean build."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from indexer.build import build
from indexer.config import Config, DatasetConfig, IndexConfig
from indexer.maintenance import verify
from indexer.search import Searcher
from indexer.store import Draft, NewImage, Version, Writer
from indexer.vector_index import flat_file
from tests.conftest import small_config

DIM = 8


def image(key: str) -> NewImage:
    """Return the row of an indexed file."""
    return NewImage(
        key=key, size=1, mtime_ns=2, sha256="ab", format="JPEG", width=3, height=4,
        metadata={"caption": "é"},
    )  # fmt: skip


def skip(key: str) -> NewImage:
    """Return the row of a skipped file."""
    return NewImage(
        key=key, status="skipped", stage="decode", reason="invalid_image", message="why"
    )


def commit(
    writer: Writer, keys: Sequence[str], skipped: Sequence[str] = (), encoder: str = "e1"
) -> None:
    """Commit a batch of files with these keys."""
    vectors = np.arange(len(keys) * DIM, dtype=np.float32).reshape(-1, DIM)
    writer.commit(
        [image(key) for key in keys],
        flat_file(vectors),
        [skip(key) for key in skipped],
        dim=DIM,
        fingerprint=encoder,
    )


def publish(writer: Writer, draft: Draft | None = None) -> Version:
    """Publish what was committed, or a draft, without derived structures."""
    return writer.publish(
        draft or writer.begin(),
        {},
        fingerprint="e1",
        encoder={"model": "test"},
        dim=DIM,
        dataset=DatasetConfig(root=Path("/images")),
        index=IndexConfig(),
    )


def damage(path: Path) -> None:
    """Flip the bits of a byte in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def assert_like_a_clean_build(config: Config, tmp_path: Path) -> None:
    """Check that keys, neighbours and distances equal those of a clean build."""
    clean = small_config(config.dataset.roots[0], tmp_path / "clean")
    build(clean)
    for photo in sorted(config.dataset.roots[0].rglob("*.jpg"))[:3]:
        assert _answers(config, photo.read_bytes()) == _answers(clean, photo.read_bytes())
    assert verify(config).problems == []


def _answers(config: Config, image: bytes) -> list[tuple[str, float]]:
    hits = Searcher.open(config).search_image(image).hits
    return [(hit.image.key, round(hit.distance, 6)) for hit in hits]
