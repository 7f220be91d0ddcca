"""What a distance means: shares of pairs, counted in a sample, and when nothing matches."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from indexer.cli.parser import main
from indexer.config import Config
from indexer.search import Query, Searcher, Selection, scale
from indexer.search.facets import values_of
from indexer.search.scale import BINS, EVIDENCE, MIN_IMAGES, SAMPLED, Scale, falling_shares
from indexer.store import ImageRow, Store
from indexer.vector_index import MappedVectors, flat_file
from indexer.vector_index.base import Part
from indexer.vector_index.opened import map_vectors


@pytest.fixture(scope="module")
def searcher(demo_config: Config) -> Searcher:
    return Searcher.open(demo_config)


@pytest.fixture(scope="module")
def distances(searcher: Searcher) -> np.ndarray:
    """The distances of the forty photographs to each other, (40, 40)."""
    vectors = searcher.collection.features(searcher.collection.ids)
    return np.asarray(np.linalg.norm(vectors[:, np.newaxis] - vectors, axis=2))


def test_the_shares_are_those_of_all_pairs(searcher: Searcher, distances: np.ndarray) -> None:
    pairs, found = distances[np.triu_indices(40, 1)], searcher.collection.scale
    assert found.median == pytest.approx(np.median(pairs), abs=1e-3)
    assert found.near == pytest.approx(found.median / 3)
    for distance in (0.0, 0.9, 1.1, 1.3, 2.0):
        low, high = (float((pairs < distance + by).mean()) for by in (-1e-3, 1e-3))
        assert low <= (found.share_within(distance) or 0) <= high


def test_pairs_that_are_near_share_a_folder_more_often(searcher: Searcher) -> None:
    found = searcher.collection.scale
    assert found.field == "folder"
    shares = [found.share_alike(distance) for distance in (1.0, 1.1, 1.2, 1.3)]
    assert [share for share in shares if share is not None] == sorted(
        (share for share in shares if share is not None), reverse=True
    )
    assert (shares[0] or 0) > 0.8 > 0.1 > (shares[-1] or 1)
    assert (found.share_alike(0.1), found.share_alike(1.9)) == (None, None)  # no such pair


def test_each_result_says_what_its_distance_means(searcher: Searcher) -> None:
    answer = searcher.search(Query(image_id=5), Selection(k=40, collapse_duplicates=True))
    everything = [one for hit in answer.hits for one in (hit, *hit.duplicates)]
    for hit in everything:
        within = answer.hits and searcher.collection.scale.share_within(hit.distance)
        assert hit.percentile == round(100 * (within or 0), 4)
        assert hit.share_alike == searcher.collection.scale.share_alike(hit.distance)
    assert answer.to_dict()["label_field"] == "folder"
    first = answer.to_dict()["results"][0]
    assert (first["percentile"], first["share_alike"]) == (0, None)


def test_it_takes_a_sample_that_is_always_the_same(
    demo_config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scale, "SAMPLED", 25)
    vectors, read = map_vectors(Store(demo_config.store).open_published()), []
    copied = vectors.vectors
    monkeypatch.setattr(vectors, "vectors", lambda rows: read.append(rows) or copied(rows))
    first, second = Scale.of(vectors), Scale.of(vectors)
    assert [len(rows) for rows in read] == [25, 25]
    assert (read[0] == read[1]).all()
    assert (first.median, first.reach) == (second.median, second.reach)
    rows = scale.sampled_rows(10**6)
    assert (len(rows), len(np.unique(rows))) == (25, 25)
    assert rows.max() > 5 * 10**5
    assert len(scale.sampled_rows(24)) == 24
    assert SAMPLED == 2000


def test_shares_fall_and_are_unknown_without_evidence() -> None:
    counts, hits = np.zeros(8, np.int64), np.zeros(8, np.int64)
    counts[1:6] = [EVIDENCE, EVIDENCE, 2 * EVIDENCE, 0, EVIDENCE]
    hits[1:6] = [40, 10, 60, 0, 0]
    shares = falling_shares(counts, hits)
    np.testing.assert_allclose(shares[1:6], [0.8, 70 / 150, 70 / 150, 0, 0])
    assert np.isnan(shares[[0, 6, 7]]).all()
    few = np.array([EVIDENCE - 1, 0, 0])
    assert np.isnan(falling_shares(few, few)).all()
    enough = falling_shares(np.array([EVIDENCE - 1, 0, 1]), np.array([EVIDENCE - 1, 0, 1]))
    assert enough.tolist() == [1, 1, 1]
    assert np.isnan(falling_shares(few * 0, few * 0)).all()


def test_one_shared_label_is_enough_and_images_without_do_not_count(demo_config: Config) -> None:
    vectors = map_vectors(Store(demo_config.store).open_published())
    every = Scale.of(vectors, "category", lambda ids: [{0, int(image)} for image in ids])
    assert every.share_alike(every.median) == 1
    none = Scale.of(vectors, "category", lambda ids: [{int(image)} for image in ids])
    assert none.share_alike(every.median) == 0
    few = Scale.of(vectors, "category", lambda ids: [{0}] * 10 + [set()] * (len(ids) - 10))
    assert few.share_alike(every.median) is None


def made_up(folder: Path, vectors: np.ndarray) -> Scale:
    file = folder / f"{len(vectors)}.faiss"
    file.write_bytes(flat_file(vectors))
    part = Part(file, np.arange(len(vectors)))
    return Scale.of(MappedVectors([part], vectors.shape[1], np.empty(0, np.int64)))


def test_copies_do_not_shorten_the_reach(tmp_path: Path) -> None:
    """Each image is there twice; without that rule all others would match nothing."""
    vectors = np.random.default_rng(0).normal(size=(MIN_IMAGES, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    once, twice = (made_up(tmp_path, np.repeat(vectors, n, axis=0)) for n in (1, 2))
    assert once.reach == pytest.approx(twice.reach, abs=0.05)
    assert not once.is_beyond(once.reach or 0)
    assert once.is_beyond((once.reach or 0) + 1e-3)


@pytest.mark.parametrize("count", [1, 2, MIN_IMAGES - 1])
def test_a_few_images_have_no_reach(tmp_path: Path, count: int) -> None:
    found = made_up(tmp_path, np.eye(count, MIN_IMAGES, dtype=np.float32))
    assert (found.reach, found.is_beyond(2)) == (None, False)
    assert (found.share_within(2.0) is None) == (count == 1)
    assert found.alike.shape == (BINS,)


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def test_noise_matches_nothing_and_photographs_do(searcher: Searcher, photos: list[Path]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    noise = Query(image=png(Image.fromarray(pixels)))
    assert searcher.search(noise).no_match
    assert searcher.search(noise).to_dict()["no_match"] is True
    assert searcher.search(noise, Selection(threshold=0.1)).no_match  # although nothing is shown
    for photo in photos[1::60]:
        assert not searcher.search(Query(image=photo.read_bytes())).no_match


def test_the_command_says_that_nothing_matches(
    demo_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "black.png")
    for name, is_said in {"black.png": True, "photo.jpg": False}.items():
        if not is_said:
            photo = next(demo_config.dataset.roots[0].rglob("*/*.jpg"))
            (tmp_path / name).write_bytes(photo.read_bytes())
        assert main(["search", str(tmp_path / name), f"--store={demo_config.store}"]) == 0
        assert ("Probably nothing matches" in capsys.readouterr().out) is is_said


def test_the_image_itself_is_no_match(searcher: Searcher, distances: np.ndarray) -> None:
    """What counts is the best of the other images; alone, an image says nothing."""
    collection = searcher.collection
    alone = int(np.where(np.eye(40), 9, distances).min(axis=1).argmax())
    query = Query(image_id=int(collection.ids[alone]))
    reach = collection.scale.reach
    assert reach is not None
    nearest = searcher.search(query, Selection(k=2)).hits[1].distance
    assert searcher.search(query, Selection(k=2)).no_match == (nearest > reach)
    assert nearest > reach
    assert not searcher.search(query, Selection(k=1)).no_match


def test_values_are_those_of_the_index_of_metadata(searcher: Searcher) -> None:
    metadata = {"category": ["dog", "cat"], "width": 7, "nested": {"a": 1}, "none": None}
    row = ImageRow("a/b/c.jpg", 10, 1, "ab", "PNG", 20, 30, metadata=metadata)
    assert values_of(row, "folder") == {"a/b"}
    assert values_of(row, "format") == {"PNG"}
    assert values_of(row, "category") == {"dog", "cat"}
    assert values_of(row, "width") == {20}
    assert values_of(row, "metadata.width") == {7}
    assert values_of(row, "nested") == values_of(row, "none") == values_of(row, "no") == set()
    folders = {
        value: ids.tolist()
        for value, ids in searcher._version.catalogue.metadata.members(["folder"])
    }
    for row in searcher.collection.images(searcher.collection.ids.tolist()).values():
        assert [value for value, ids in folders.items() if row.id in ids] == [
            *values_of(row, "folder")
        ]
