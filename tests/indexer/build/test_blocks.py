"""What a worker of a cluster does, in this process."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from indexer.build.blocks import BlockExtraction
from indexer.build.extract import by_file, extract
from indexer.config import Config, DatasetConfig
from indexer.datasets import open_dataset
from indexer.encoders import open_encoder
from indexer.errors import DatasetError, EncoderMismatch


@pytest.fixture
def extraction(config: Config, images: Path) -> BlockExtraction:
    """A worker for the folder of six photographs, as a node receives it."""
    (images / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    spec = open_encoder(config.encoder).spec
    worker = BlockExtraction(open_dataset(config.dataset), config.encoder, spec, max_pixels=10**8)
    found: BlockExtraction = pickle.loads(pickle.dumps(worker))  # noqa: S301 -- our own
    return found


def test_a_block_has_the_vectors_that_extraction_has_here(
    extraction: BlockExtraction, config: Config
) -> None:
    items = extraction.dataset.scan().items
    files = list(by_file(items))
    extraction.start(cores=1)
    found = [*extraction(files[:3]), *extraction(files[3:])]
    dataset, encoder = open_dataset(config.dataset), open_encoder(config.encoder)
    expected = list(extract(dataset, items, encoder, max_pixels=10**8))
    vectors = np.concatenate([batch.vectors for batch in found])
    assert extraction.size(found) == vectors.nbytes > 0
    np.testing.assert_array_equal(vectors, np.concatenate([batch.vectors for batch in expected]))
    keys = [image.item.key for batch in found for image in batch.prepared]
    assert keys == [image.item.key for batch in expected for image in batch.prepared]
    assert [skip.item.key for batch in found for skip in batch.skipped] == ["broken.jpg"]


def test_files_that_ended_their_worker_are_skipped(extraction: BlockExtraction) -> None:
    files = list(by_file(extraction.dataset.scan().items))
    (batch,) = extraction.failed(files[:2], "worker_died", 0)
    assert [(skip.item.key, skip.reason) for skip in batch.skipped] == [
        (file[0].key, "worker_died") for file in files[:2]
    ]
    assert batch.vectors.shape == (0, extraction.spec.dim)


def test_a_node_that_has_the_images_is_accepted(extraction: BlockExtraction) -> None:
    extraction.probe = "broken.jpg"  # it can be read, and that is all that matters
    extraction.start(cores=1)


def test_a_node_without_the_images_is_refused(extraction: BlockExtraction, tmp_path: Path) -> None:
    """An empty folder may be a mount point without its disk."""
    (tmp_path / "empty").mkdir()
    extraction.dataset = open_dataset(DatasetConfig(root=tmp_path / "empty"))
    extraction.probe = "broken.jpg"
    with pytest.raises(DatasetError, match=r"broken\.jpg cannot be read") as caught:
        extraction.start(cores=1)
    assert "same paths on all nodes" in caught.value.hint


def test_a_node_with_other_weights_is_refused(extraction: BlockExtraction) -> None:
    extraction.spec = extraction.spec.model_copy(update={"weights_sha256": "0"})
    with pytest.raises(EncoderMismatch, match="but that of the build is"):
        extraction.start(cores=1)
