"""Queries with several images and with regions, and invalid ones."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.config import Config
from indexer.errors import InvalidQuery, UnknownImage
from indexer.images import Box, budget, crop
from indexer.search import Collection, Example, ImageFile, Query, Searcher
from indexer.search.queries import MAX_EXAMPLES, combined
from tests.conftest import DEMO_IMAGES


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


def vectors(searcher: Searcher, *ids: int) -> np.ndarray:
    return searcher.collection.features(ids)


def test_the_query_is_the_mean_of_the_positives_minus_that_of_the_negatives(
    searcher: Searcher,
) -> None:
    query = Query(
        image_id=3, positives=[Example(9, 0.5)], negatives=[Example(20), Example(31, 2.0)]
    )
    a, b, c, d = vectors(searcher, 3, 9, 20, 31)
    direction = (a + 0.5 * b) / 2 - (c + 2.0 * d) / 2
    answer = searcher.search(query)
    np.testing.assert_allclose(answer.vector, direction / np.linalg.norm(direction), atol=1e-6)
    expected = searcher.search_vector(direction.tolist())
    assert [h.image.id for h in answer.hits] == [h.image.id for h in expected.hits]


def test_examples_alone_an_upload_and_a_vector_can_be_combined(
    searcher: Searcher, photos: list[Path]
) -> None:
    a, b = vectors(searcher, 1, 9)
    expected = (a + b) / np.linalg.norm(a + b)
    examples = [Example(9)]
    for query in (
        Query(positives=[Example(1), Example(9)]),
        Query(image=photos[0].read_bytes(), positives=examples),
        Query(vector=a.tolist(), positives=examples),
    ):
        np.testing.assert_allclose(searcher.search(query).vector, expected, atol=1e-5)


def test_a_lone_negatives_weight_counts(searcher: Searcher) -> None:
    little, much = (
        searcher.search(Query(image_id=3, negatives=[Example(9, weight)])).vector
        for weight in (0.1, 1.0)
    )
    (unliked,) = vectors(searcher, 9)
    assert float(much @ unliked) < float(little @ unliked)


def test_examples_that_cancel_each_other_out_are_refused(searcher: Searcher) -> None:
    with pytest.raises(InvalidQuery, match="cancel"):
        searcher.search(Query(image_id=3, negatives=[Example(3)]))
    with pytest.raises(InvalidQuery, match="cancel"):
        combined(np.eye(1, 4, dtype=np.float32), [1.0], np.eye(1, 4, dtype=np.float32), [1.0])


@pytest.mark.parametrize(
    "query",
    [
        Query(),
        Query(negatives=[Example(1)]),
        Query(image_id=1, vector=[1.0] * 1280),
        Query(image=b"x", image_id=1),
        Query(vector=[1.0] * 1280, crop=Box(0, 0, 1, 1)),
        Query(positives=[Example(1)], crop=Box(0, 0, 1, 1)),
        Query(image_id=1, positives=[Example(2, 0.0)]),
        Query(image_id=1, negatives=[Example(2, -1.0)]),
        Query(image_id=1, negatives=[Example(2, 100.1)]),
        Query(image_id=1, negatives=[Example(2, float("nan"))]),
        Query(positives=[Example(1)] * (MAX_EXAMPLES + 1)),
    ],
)
def test_invalid_queries_are_refused(searcher: Searcher, query: Query) -> None:
    with pytest.raises(InvalidQuery):
        searcher.search(query)


def test_queries_at_the_limits_are_answered(searcher: Searcher) -> None:
    assert searcher.search(Query(positives=[Example(1)] * MAX_EXAMPLES)).hits
    assert searcher.search(Query(image_id=1, negatives=[Example(2, 100.0)])).hits
    with pytest.raises(UnknownImage):
        searcher.search(Query(image_id=1, negatives=[Example(999)]))


def test_a_region_is_encoded_as_if_it_were_the_image(searcher: Searcher, tmp_path: Path) -> None:
    box = Box(0.25, 0.1, 0.5, 0.6)
    row = searcher.collection.image(3)
    with Image.open(DEMO_IMAGES / row.key) as image:
        width, height = image.size
        edges = (
            round(0.25 * width), round(0.1 * height), round(0.75 * width), round(0.7 * height),
        )  # fmt: skip
        image.convert("RGB").crop(edges).save(tmp_path / "region.png")
    expected = searcher.search(Query(image=(tmp_path / "region.png").read_bytes())).vector
    whole = (DEMO_IMAGES / row.key).read_bytes()
    for query in (Query(image_id=3, crop=box), Query(image=whole, crop=box)):
        answer = searcher.search(query)
        np.testing.assert_allclose(answer.vector, expected, atol=1e-6)
        assert answer.timings_ms["encode"] > 0


def test_a_file_is_read_before_it_counts_as_decoding(
    searcher: Searcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hangs would otherwise stop all other images from being decoded."""
    collection, read = searcher.collection, Collection.image_file

    def image_file(collection: Collection, image_id: int) -> ImageFile:
        assert budget.DECODING.used == 0
        return read(collection, image_id)

    monkeypatch.setattr(Collection, "image_file", image_file)
    assert searcher.search(Query(image_id=3, crop=Box(0, 0, 1, 1))).hits
    assert collection.thumbnail(3, 32)


def test_the_region_is_one_of_the_upright_image(tmp_path: Path) -> None:
    """Orientation 6: the left half of the stored pixels is the upper half of the picture."""
    from indexer.images import decode

    image = Image.new("RGB", (80, 40), "white")
    image.paste((255, 0, 0), (0, 0, 40, 40))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "turned.png", exif=exif)
    upright = decode((tmp_path / "turned.png").read_bytes(), max_pixels=10_000)
    upper = crop(upright, Box(0, 0, 1, 0.5))
    assert (upper.size, upper.getcolors()) == ((40, 40), [(1600, (255, 0, 0))])


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(0, 0, 1, 1), (10, 20)),
        (Box(0.9, 0.95, 0.1, 0.05), (1, 1)),
        (Box(0.999, 0.999, 0.0005, 0.0005), (1, 1)),
        (Box(0.3, 0.1, 0.7000001, 0.9), (7, 18)),
    ],
)
def test_regions_within_the_image(box: Box, size: tuple[int, int]) -> None:
    assert crop(Image.new("RGB", (10, 20)), box).size == size


@pytest.mark.parametrize(
    "box",
    [
        Box(-0.01, 0, 0.5, 0.5), Box(0, -0.01, 0.5, 0.5), Box(0, 0, 0, 0.5), Box(0, 0, 0.5, 0),
        Box(0.6, 0, 0.41, 0.5), Box(0, 0.6, 0.5, 0.41), Box(0, 0, float("nan"), 0.5),
    ],
)  # fmt: skip
def test_regions_that_are_empty_or_reach_beyond_the_image(box: Box) -> None:
    with pytest.raises(InvalidQuery, match="inside the image"):
        crop(Image.new("RGB", (10, 20)), box)
