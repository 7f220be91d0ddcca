"""The benchmark of duplicates: what it plants, and how it counts."""

from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.copies import CHANGES, plant, scene
from benchmarks.duplicates import counts
from indexer.analysis import Duplicates
from indexer.analysis.copies import Copy, Group
from indexer.analysis.copies.near import Limit
from tests.conftest import DEMO_IMAGES


def test_scenes_are_always_the_same_and_differ() -> None:
    first, again, other = (np.asarray(scene(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first.astype(int) - other).mean() > 10


def test_each_kind_of_copy_is_planted_once_of_an_original(tmp_path: Path) -> None:
    planted = plant([DEMO_IMAGES / "dam"], 12, 12, tmp_path)
    files = {file.name for file in (tmp_path / "images").iterdir()}
    assert set(planted.kinds) < files
    assert len(files) == 24
    assert sorted(planted.kinds.values()) == sorted([*CHANGES, *CHANGES])
    assert planted.photographs == len(planted.sources) <= 12
    for name, kind in planted.kinds.items():
        sizes = []
        for file in (name, name.replace(".copy", "")):
            with Image.open(tmp_path / "images" / file) as image:
                sizes.append(image.width)
        if kind == "half the width":
            assert sizes[0] == sizes[1] // 2


def test_pairs_of_one_original_are_right_and_others_wrong() -> None:
    def group(kind: str, *keys: str) -> Group:
        images = [Copy(1, key, 1, 1, 1, None, 0.0, "same", ["mirrored"]) for key in keys]
        return Group(kind, images)  # type: ignore[arg-type]

    groups = [
        group("same", "0.jpg", "0.copy.jpg", "3.jpg"),
        group("similar", "1.jpg", "1.copy.jpg"),
    ]
    found = Duplicates("00000001", 6, Limit(0.4, True, 1.2, 0.0), 0, 6, 0, "", groups)
    counted = counts(found, {"0.copy.jpg": "mirrored", "1.copy.jpg": "mirrored"}, {"3": "three"})
    assert (counted["planted"], counted["found"]) == ({"mirrored": 2}, {"mirrored": 1})
    assert (counted["wrong_pairs"], counted["wrong"]) == (2, [["0", "three"]])
    assert counted["words"]["mirrored"] == [("mirrored", 1)]
