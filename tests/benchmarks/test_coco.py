"""The stand-in of COCO's annotations has their structure."""

from pathlib import Path

from benchmarks.coco import SPLIT, annotations_below, name_of, stand_in
from indexer.datasets import Coco


def test_all_of_the_stand_in_is_used(tmp_path: Path) -> None:
    (tmp_path / SPLIT).mkdir()
    for number in range(20):
        (tmp_path / SPLIT / name_of(number)).touch()
    annotations_below(tmp_path).write_text("".join(stand_in(20)))
    listing = Coco(tmp_path, annotations_below(tmp_path)).scan()
    assert len(listing.items) == 20
    assert listing.report() == []
    annotations = sum(
        value
        for item in listing.items
        for name, value in item.metadata.items()
        if name.startswith("count.")
    )
    assert annotations == 145
