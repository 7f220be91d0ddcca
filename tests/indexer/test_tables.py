"""Tables that are opened in spreadsheets."""

import pytest

from indexer.tables import csv_row


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])  # noqa: RUF001
def test_texts_that_look_like_formulas_become_text(start: str) -> None:
    assert csv_row([f"{start}1"]) == [f"'{start}1"]


def test_other_cells_stay_as_they_are() -> None:
    cells = ["a=1", " =1", "'", "", "1-2", -0.5, -3, None]
    assert csv_row(cells) == cells
