"""The plan: counts and sizes, and a full disk that is noticed before any work."""

import json
import shutil
from collections import namedtuple
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import indexer.build.derive
import indexer.build.extract
import indexer.build.ingest
import indexer.build.pipeline
import indexer.build.plan
import indexer.build.rates
import indexer.vector_index.shortlist_codes
from indexer.build import build
from indexer.build.derive import derive
from indexer.build.plan import plan
from indexer.build.rates import Rates, measure_rates
from indexer.cli.parser import main
from indexer.config import Config
from indexer.datasets import Folder
from indexer.errors import DiskTooSmall
from indexer.executors import LocalExecutor
from indexer.store import Store
from indexer.vector_index.opened import Indexes
from tests.conftest import delete, small_config
from tests.corners import Corners, picture

Usage = namedtuple("Usage", "total used free")


def test_it_counts_measures_and_writes_nothing(config: Config, images: Path) -> None:
    found = plan(config)
    assert (found.images, found.unchanged, found.removed) == (6, 0, 0)
    assert found.image_bytes == sum(path.stat().st_size for path in images.rglob("*.jpg"))
    assert found.disk_bytes["vectors"] == 6 * (1280 * 4 + 8)
    assert found.decode_rate is not None
    assert found.encode_rate is not None
    assert found.commit_rate is not None
    assert found.rate is not None
    assert found.rate < min(found.decode_rate, found.encode_rate)
    assert found.slowest == "encode"
    assert found.seconds == pytest.approx(6 / found.rate)
    assert found.memory_bytes is not None
    assert set(found.memory_bytes) == {"build", "exact search"}
    assert found.summary.startswith("6 images to encode")
    assert "limited by encode\nCOCO's train2017 (118,287 images) would take" in found.summary
    assert not config.store.exists()


@pytest.mark.parametrize(
    ("rates", "slowest", "cores", "build"),
    [
        (Rates(1600, 1400, 5000, shares_cores=False), "encode", 16, 1400),
        (Rates(1600, 7000, 5000, shares_cores=False), "decode", 16, 1600),
        (Rates(9000, 7000, 5000, shares_cores=False), "commit", 16, 5000),
        (Rates(400, 10, 5000, shares_cores=True), "encode", 2, 1 / (1 / 400 + 1 / 10 + 1 / 10_000)),
    ],
)
def test_the_slowest_stage_limits_a_build_unless_all_share_the_cores(
    rates: Rates, slowest: str, cores: int, build: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.rates, "available_cores", lambda: cores)
    assert rates.slowest == slowest
    assert rates.build == pytest.approx(build)


@pytest.mark.parametrize(("files", "processes"), [(1024, True), (1023, False)])
def test_decoding_is_measured_as_a_build_does_it(
    tmp_path: Path, files: int, processes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On many cores in processes, if there are enough files to start some."""
    monkeypatch.setattr(indexer.build.extract, "available_cores", lambda: 5)
    monkeypatch.setattr(indexer.build.rates, "SAMPLE_SECONDS", 0.1)
    used, executor = list[object](), LocalExecutor

    def recorded(**options: Any) -> LocalExecutor:
        used.append(options["processes"])
        return executor(2, **options)

    monkeypatch.setattr(indexer.build.rates, "LocalExecutor", recorded)
    for number in range(files):
        (tmp_path / f"{number:04}.png").write_bytes(picture(number))
    dataset = Folder(tmp_path)
    rates = measure_rates(dataset, dataset.scan().items, Corners(), 1000)
    assert rates is not None
    assert used == [processes]


def test_only_what_changed_is_planned(config: Config, images: Path) -> None:
    build(config)
    first, *_ = sorted(images.rglob("*.jpg"))
    shutil.copy(first, images / "new.jpg")
    delete(first)
    found = plan(config)
    assert (found.images, found.unchanged, found.removed) == (1, 5, 1)
    build(config)
    found = plan(config)
    assert (found.images, found.unchanged, found.seconds) == (0, 6, None)


def test_the_vectors_take_the_disk_that_was_planned(config: Config) -> None:
    expected = plan(config).disk_bytes["vectors"]
    build(config)
    written = sum(
        (segment / name).stat().st_size
        for segment in Store(config.store).segments.iterdir()
        for name in ("vectors.faiss", "ids.npy")
    )
    assert expected <= written <= expected + 1000


def test_the_approximate_index_is_planned_with_its_codes(images: Path, tmp_path: Path) -> None:
    for factory, code in (("IVF2,SQ8", 1280), ("IVF2,Flat", 5120), ("auto", 1280)):
        config = small_config(images, tmp_path / "s", index={"approximate": factory})
        found = plan(config)
        assert found.disk_bytes["approximate"] == 6 * (code + 4)
        assert found.memory_bytes is not None
        grown = found.memory_bytes["approximate search"] - found.memory_bytes["exact search"]
        assert grown == 6 * (code + 8)


HEADERS = {"shortlist": 128, "approximate": 2 * 128 + 2 * 8, "map": 128}
"""Bytes of each part beside the codes: NumPy's headers and the sizes of two lists."""


def codes_on_disk(config: Config) -> dict[str, int]:
    """Bytes of the codes of each kind of structure, of all versions that are kept."""
    found: dict[str, int] = {}
    folders: dict[str, str] = {}
    for manifest in Store(config.store).manifests().values():
        assert manifest is not None
        folders |= {structure.folder: kind for kind, structure in manifest.derived.items()}
    for folder, kind in folders.items():
        parts = (Store(config.store).derived / folder).glob("*.npy")
        found[kind] = found.get(kind, 0) + sum(
            part.stat().st_size - HEADERS[kind] for part in parts
        )
    return found


def test_existing_structures_grow_by_the_new_vectors(
    config: Config, images: Path, photos: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build writes what was planned: first, after growth, and after training again."""
    monkeypatch.setattr(indexer.vector_index.shortlist_codes, "SHORTLIST_FROM", 1)
    monkeypatch.setattr(indexer.build.derive, "derive", partial(derive, shortlist_from=1))
    config = small_config(images, config.store, index={"approximate": "IVF2,SQ8"})

    def build_as_planned(again: bool) -> dict[str, int]:
        planned, before = plan(config).disk_bytes, codes_on_disk(config)
        notes = build(config).notes
        assert any("trained again" in note for note in notes) == again
        after = codes_on_disk(config)
        for kind in ("shortlist", "approximate"):
            assert planned[kind] == after[kind] - before.get(kind, 0), kind
        return planned

    first = build_as_planned(again=False)
    photo = next(images.rglob("*/*.jpg"))
    (images / "another.jpg").write_bytes(photo.read_bytes() + b"\0")
    grown = build_as_planned(again=False)
    assert grown["shortlist"] * 6 == first["shortlist"]
    assert grown["approximate"] * 6 == first["approximate"]
    assert plan(config).disk_bytes["shortlist"] == 0
    for number, photo in enumerate(photos[100:120]):
        shutil.copy(photo, images / f"{number}.jpg")
    assert build_as_planned(again=True)["shortlist"] * 6 == first["shortlist"] * 27


def test_the_memory_of_the_shortlist_is_planned(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexer.build.plan, "_peak_memory", lambda: 0)
    without = plan(config).memory_bytes
    monkeypatch.setattr(indexer.vector_index.shortlist_codes, "SHORTLIST_FROM", 1)
    monkeypatch.setattr(indexer.build.derive, "derive", partial(derive, shortlist_from=1))
    planned = plan(config).memory_bytes
    assert planned is not None
    assert without is not None
    build(config)
    shortlist = Indexes.of(Store(config.store).open_published()).exact.shortlist
    assert shortlist is not None
    held = [it for it in vars(shortlist).values() if isinstance(it, np.ndarray)]
    assert planned["exact search"] - without["exact search"] == sum(it.nbytes for it in held)


def test_a_disk_that_is_too_small_is_refused_on_both_sides_before_encoding(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(plan(config).disk_bytes.values())
    with monkeypatch.context() as patch:
        patch.setattr(indexer.build.ingest, "extract", None)
        patch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed - 1))
        for refused in (plan, build):
            with pytest.raises(DiskTooSmall, match="MB are free"):
                refused(config)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, needed))
    assert build(config).indexed == 6


def test_only_bad_files_are_planned_without_an_estimate(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "bad.jpg").write_bytes(b"x")
    found = plan(small_config(tmp_path / "images", tmp_path / "s"))
    assert (found.images, found.encode_rate, found.seconds) == (1, None, None)


def test_a_long_build_shows_its_plan_first(
    config: Config, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(indexer.build.pipeline, "PLAN_FROM_IMAGES", 6)
    build(config)
    assert "6 images to encode" in capsys.readouterr().err


def test_on_the_command_line(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["plan", f"--images={images}", "--encoder=efficientnet_lite0"]
    assert main([*arguments, f"--store={tmp_path / 's'}", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 6
