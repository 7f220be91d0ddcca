"""Build: every file is accounted for, the store matches the folder, nothing is encoded twice."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import indexer.build.ingest
import indexer.build.pipeline
import indexer.store.metadata_schema
from indexer.build import build
from indexer.config import Config
from indexer.encoders import open_encoder
from indexer.errors import ConfigError, DatasetError, EncoderMismatch
from indexer.maintenance import verify
from indexer.search import Searcher
from indexer.store import Store
from tests.conftest import Reindex, delete, small_config


def indexed_keys(config: Config) -> set[str]:
    return {row.key for row in Store(config.store).open_published().catalogue.rows("indexed")}


def touch_later(path: Path) -> None:
    later = path.stat().st_mtime_ns + 1_000_000_000
    os.utime(path, ns=(later, later))


def test_every_file_is_accounted_for(reindex: Reindex, images: Path, config: Config) -> None:
    photo = next(images.rglob("*.jpg")).read_bytes()
    (images / "truncated.jpg").write_bytes(photo[:1500])
    (images / "text.png").write_bytes(b"not an image")
    (images / "empty.gif").touch()
    (images / "phone.heic").write_bytes(b"ftypheic")
    (images / "notes.txt").write_text("passed over")
    (images / "dangling.jpg").symlink_to(images / "nothing")
    report = reindex()
    assert (report.found, report.indexed, report.skipped) == (11, 6, 5)
    assert report.reasons == {"unsupported_image": 3, "invalid_image": 1, "unreadable": 1}
    assert report.ignored == {".txt": 1}
    assert report.summary.startswith(
        "found 11 = indexed 6 + skipped 5 (unsupported_image 3, invalid_image 1, unreadable 1) in "
    )
    catalogue = Store(config.store).open_published().catalogue
    why = {row.key: (row.stage, row.message) for row in catalogue.rows("skipped")}
    assert why["truncated.jpg"][0] == "decode"
    assert why["empty.gif"] == ("decode", "The file is empty.")
    assert why["dangling.jpg"][0] == "scan"


def test_the_run_is_in_the_catalogue(reindex: Reindex, config: Config) -> None:
    from indexer.maintenance import status

    report = reindex()
    run = status(config).last_run
    assert run is not None
    assert run.summary == report.summary


def test_an_unchanged_folder_publishes_nothing_and_encodes_nothing(reindex: Reindex) -> None:
    first, second = reindex(), reindex()
    assert (first.version, first.encoded) == ("00000001", 6)
    assert (second.version, second.encoded, second.removed) == ("00000001", 0, 0)
    assert second.indexed == 6
    assert first.summary.endswith(" img/s")
    assert second.summary.endswith("nothing to encode")


def test_new_changed_and_deleted_files(reindex: Reindex, images: Path, config: Config) -> None:
    reindex()
    old, changed, *_ = sorted(images.rglob("*.jpg"))
    before = Searcher.open(config).collection.image(2)
    shutil.copy(old, images / "new.jpg")
    shutil.copy(old, changed)
    touch_later(changed)
    delete(old)
    report = reindex()
    assert (report.encoded, report.recognised, report.removed, report.indexed) == (0, 2, 0, 6)
    assert indexed_keys(config) == {str(p.relative_to(images)) for p in images.rglob("*.jpg")}
    catalogue = Store(config.store).open_published().catalogue
    assert before.key not in {row.key for row in catalogue.rows() if row.id == before.id}
    assert verify(config).problems == []


def test_an_incremental_build_answers_as_a_clean_one(
    reindex: Reindex, images: Path, config: Config, tmp_path: Path
) -> None:
    first, second, *_ = sorted(images.rglob("*.jpg"))
    hidden = tmp_path / "hidden.jpg"
    shutil.move(second, hidden)
    reindex()
    shutil.move(hidden, second)
    reindex()
    clean = small_config(images, tmp_path / "clean")
    build(clean)
    answers = [Searcher.open(c).search_image(first.read_bytes()).hits for c in (config, clean)]
    keys, distances = zip(
        *([[h.image.key for h in hits], [h.distance for h in hits]] for hits in answers),
        strict=True,
    )
    assert keys[0] == keys[1]
    np.testing.assert_allclose(distances[0], distances[1], atol=1e-5)


def test_a_repaired_file_is_tried_again(reindex: Reindex, images: Path, config: Config) -> None:
    photo = next(images.rglob("*.jpg")).read_bytes()
    (images / "late.jpg").write_bytes(photo[:1500])
    assert reindex().skipped == 1
    (images / "late.jpg").write_bytes(photo)
    report = reindex()
    assert (report.skipped, report.encoded, report.recognised) == (0, 0, 1)
    assert "late.jpg" in indexed_keys(config)


def test_an_interrupted_build_keeps_what_it_encoded(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = small_config(
        images, tmp_path / "s", encoder={"model": "efficientnet_lite0", "batch_size": 2}
    )
    real = indexer.build.ingest.extract

    def interrupted(*arguments: object, **options: object) -> object:
        batches = real(*arguments, **options)  # type: ignore[arg-type]
        yield next(batches)
        yield next(batches)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(indexer.build.ingest, "extract", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build(config)
    assert Store(config.store).current() is None
    report = build(config)
    assert (report.encoded, report.indexed) == (2, 6)


def test_what_a_dead_build_committed_is_published_by_the_next(
    reindex: Reindex, images: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex()
    first, *_ = sorted(images.rglob("*.jpg"))
    shutil.copy(first, images / "new.jpg")
    delete(first)

    def die(*_: object) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(indexer.build.pipeline, "_publish", die)
        with pytest.raises(KeyboardInterrupt):
            reindex()
    report = reindex()
    assert (report.version, report.encoded) == ("00000002", 0)
    assert indexed_keys(config) == {str(p.relative_to(images)) for p in images.rglob("*.jpg")}


def test_a_file_that_is_skipped_again_publishes_nothing(reindex: Reindex, images: Path) -> None:
    (images / "bad.jpg").write_bytes(b"x")
    (images / "gone.jpg").symlink_to(images / "nothing")
    assert [reindex().version, reindex().version] == ["00000001", "00000001"]


def test_a_folder_that_cannot_be_listed_keeps_its_images(
    reindex: Reindex, images: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    reindex()
    before = indexed_keys(config)
    closed = next(path for path in images.iterdir() if path.is_dir())
    real = os.scandir

    def scandir(path: str | Path) -> object:
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", scandir)  # root, as in CI, can list every folder
        report = reindex()
    assert report.removed == 0
    assert indexed_keys(config) == before
    assert reindex().encoded == 0


def test_vectors_of_another_encoder_are_refused(reindex: Reindex, config: Config) -> None:
    reindex()
    other = small_config(config.dataset.root, config.store, encoder={"weights": "random:1"})
    for encoder in (None, open_encoder(other.encoder)):
        with pytest.raises(EncoderMismatch) as caught:
            build(other, encoder)
        assert "was made with efficientnet_lite0 with the weights imag" in caught.value.message
        assert "the settings name vgg16 fc2 with the weights random:1" in caught.value.message


def test_the_wrong_folder_does_not_empty_the_store(
    reindex: Reindex, config: Config, tmp_path: Path
) -> None:
    reindex()
    (tmp_path / "other").mkdir()
    for name in ("nothing", "one"):
        with pytest.raises(DatasetError, match=r"None of the 6 files|no images"):
            build(small_config(tmp_path / "other", config.store))
        Image.new("RGB", (9, 9)).save(tmp_path / "other" / f"{name}.png")
    assert Store(config.store).open_published().manifest.counts.indexed == 6


@pytest.mark.parametrize("lost", [0, 2, 3])
def test_a_collection_of_renamed_files_is_not_another_one(
    reindex: Reindex, images: Path, config: Config, lost: int
) -> None:
    """If sizes and times say so for at least two thirds of the six images."""
    reindex()
    (images / "all").mkdir()
    for number, path in enumerate(sorted(images.rglob("*.jpg"))):
        path.rename(images / "all" / f"{number}.jpg")
        if number < lost:
            os.utime(images / "all" / f"{number}.jpg")
    if lost > 2:
        with pytest.raises(DatasetError, match="None of the 6 files"):
            reindex()
        return
    report = reindex()
    assert (report.encoded, report.recognised, report.removed) == (0, 6, 0)
    assert indexed_keys(config) == {f"all/{number}.jpg" for number in range(6)}


def test_a_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(DatasetError, match="no images"):
        build(small_config(tmp_path / "images", tmp_path / "s"))


def test_only_bad_files_make_an_empty_index(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.jpg").write_bytes(b"x")
    config = small_config(tmp_path / "images", tmp_path / "s")
    assert build(config).summary.startswith("found 1 = indexed 0 + skipped 1")
    picture = Image.new("RGB", (9, 9))
    picture.save(tmp_path / "query.png")
    assert Searcher.open(config).search_image((tmp_path / "query.png").read_bytes()).hits == []


def test_the_pixel_limit_of_the_dataset_holds(images: Path, tmp_path: Path) -> None:
    Image.new("RGB", (100, 100)).save(images / "at.png")
    Image.new("RGB", (101, 100)).save(images / "over.png")
    dataset = {"root": str(images), "max_pixels": 10_000}
    config = small_config(images, tmp_path / "s", dataset=dataset)
    build(config)
    assert indexed_keys(config) == {"at.png"}


def test_an_approximate_index_is_built_and_rebuilt_on_request(
    reindex: Reindex, config: Config
) -> None:
    reindex()
    wanted = small_config(config.dataset.root, config.store, index={"approximate": "IVF2,SQ8"})
    report = build(wanted)
    assert (report.version, report.encoded) == ("00000002", 0)
    assert Searcher.open(wanted).info.modes == ["exact", "approximate"]
    assert build(wanted).version == "00000002"
    less = {"approximate": "IVF2,SQ8", "recall": 0.5}
    wanted = small_config(config.dataset.root, config.store, index=less)
    assert [build(wanted).version for _ in range(2)] == ["00000003", "00000003"]


def test_an_impossible_approximate_index_is_refused_before_encoding(
    config: Config, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.ingest, "extract", None)
    for factory in ("IVF1024,SQ8", "nonsense"):
        wanted = small_config(images, config.store, index={"approximate": factory})
        with pytest.raises(ConfigError, match=r"index\.approximate"):
            build(wanted)


def test_an_index_without_words_is_completed_and_encodes_nothing(
    reindex: Reindex, monkeypatch: pytest.MonkeyPatch, config: Config
) -> None:
    """An older version of Lookalike has made it."""
    with monkeypatch.context() as older:
        older.setattr(indexer.store.metadata_schema, "write_words", lambda *_, besides: None)
        reindex()
    assert not Store(config.store).open_published().catalogue.metadata.is_complete
    report = reindex()
    assert (report.version, report.encoded) == ("00000002", 0)
    assert Store(config.store).open_published().catalogue.metadata.is_complete
    assert reindex().version == "00000002"
