"""Tables in CSV that people open in spreadsheets, and lists with a name on each line."""

from collections.abc import Iterable

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")  # noqa: RUF001 -- full-width
"""How texts begin that a spreadsheet may run as formulas (OWASP, CSV Injection)."""


def csv_row(cells: Iterable[object]) -> list[object]:
    """Return the cells of a row, each text that looks like a formula with an apostrophe before it.

    A file's name can be a formula, and a spreadsheet that opens the table would run it. Behind an
    apostrophe it is text. Numbers stay as they are.
    """
    return [
        f"'{cell}" if isinstance(cell, str) and cell.startswith(FORMULA_STARTS) else cell
        for cell in cells
    ]


def fits_a_line(name: str) -> bool:
    """Tell whether a list with a name on each line can have a name: not one with line breaks."""
    return not {"\n", "\r"} & set(name)


def lines(names: Iterable[str]) -> str:
    """Return names, one on each line, without those that have line breaks themselves."""
    return "".join(f"{name}\n" for name in names if fits_a_line(name))
