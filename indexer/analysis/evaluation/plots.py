"""Plots as SVG, for reports and for the server's pages.

They are drawn without style attributes, which the pages' Content-Security-Policy forbids: classes
have their colours in ``templates/evaluation.css``. All are as wide as a telephone, so that their
texts can be read there.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

from markupsafe import Markup

from indexer.analysis.evaluation.results import Approximate, Distances

WIDTH = 360
HEIGHT = 220
LEFT, RIGHT, TOP, BOTTOM = 40, 348, 12, 182
"""The area between the axes."""

ROW = 20
NAME_WIDTH = 112
NAME_LENGTH = 18
"""Of the rows of bars, and of the names beside them, in characters."""

Point = tuple[float, float]


def recall_curve(found: Approximate) -> Markup:
    """Draw recall over the time of a search: all settings, the one measured now, and exact search.

    Time is on a logarithmic axis.
    """
    times = [one.ms for one in found.settings] + [found.ms, found.exact_ms]
    recalls = [one.recall for one in found.settings] + [found.recall]
    low, high = _around(times)
    floor = _floor(min(recalls))

    def place(ms: float, recall: float) -> Point:
        across = math.log(max(ms, low) / low) / math.log(high / low)
        return _place(across, (recall - floor) / (1 - floor))

    drawn = [
        *_ticks_below([(place(ms, floor)[0], f"{ms:g}") for ms in _steps(low, high)]),
        *_ticks_beside([(place(low, one)[1], f"{one:.3g}") for one in _fractions(floor)]),
        _path("settings", [place(one.ms, one.recall) for one in found.settings]),
    ]
    for one in found.settings:
        used = "setting used" if one.in_use else "setting"
        what = f"{one.nprobe} lists, {one.reranked} candidates: {one.recall:.4f} in {one.ms:.2f} ms"
        drawn.append(_dot(used, place(one.ms, one.recall), what))
    drawn += [
        _dot("now", place(found.ms, found.recall), f"now: {found.recall:.4f} in {found.ms:.2f} ms"),
        _dot("exact", place(found.exact_ms, 1), f"exact search: {found.exact_ms:.2f} ms"),
        _text("axis middle", (LEFT + RIGHT) / 2, HEIGHT - 6, "milliseconds of one search"),
    ]
    return _svg("Recall of approximate search over its time, beside exact search", HEIGHT, drawn)


def histogram(found: Distances) -> Markup:
    """Draw which share of the relevant and of the irrelevant pairs has which distance."""
    shares = [
        [count / max(sum(counts), 1) for count in counts]
        for counts in (found.irrelevant, found.relevant)
    ]
    low, high = found.edges[0], found.edges[-1]
    most = max(map(max, shares)) or 1

    def place(distance: float, share: float) -> Point:
        return _place((distance - low) / (high - low), share / most)

    drawn = list(
        _ticks_below([(place(one, 0)[0], f"{one:g}") for one in _tenths(low, high)]),
    )
    for kind, values in zip(("irrelevant", "relevant"), shares, strict=True):
        corners = [place(low, 0)]
        for (start, end), share in zip(pairwise(found.edges), values, strict=True):
            corners += [place(start, share), place(end, share)]
        drawn.append(_path(f"area {kind}", [*corners, place(high, 0)]))
    drawn.append(_text("axis middle", (LEFT + RIGHT) / 2, HEIGHT - 6, "distance"))
    return _svg("Distances of pairs that share a label, and of others", HEIGHT, drawn)


def bars(title: str, rows: Sequence[tuple[str, float, float]]) -> Markup:
    """Draw rows of names, values from 0 to 1 and chance levels: bars with a mark at chance."""
    across = RIGHT - 34 - NAME_WIDTH
    drawn = [
        _tag(
            "g",
            _tag("title", f"{name}: {value:.4f}, by chance {chance:.4f}"),
            _text("end", NAME_WIDTH - 6, ROW * number + 14, _shortened(name)),
            _rectangle(NAME_WIDTH, ROW * number + 4, across * value, ROW - 7),
            _text("value", _beside(across, value, chance), ROW * number + 14, f"{value:.3f}"),
            _mark(NAME_WIDTH + across * chance, ROW * number + 2),
        )
        for number, (name, value, chance) in enumerate(rows)
    ]
    return _svg(title, len(rows) * ROW, drawn, "chart bars")


def _shortened(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"


def _place(across: float, up: float) -> Point:
    """Return where a point is that lies at these shares of the axes."""
    return LEFT + across * (RIGHT - LEFT), BOTTOM - up * (BOTTOM - TOP)


def _around(values: Iterable[float]) -> tuple[float, float]:
    """Return the nearest of 1, 2, 5, 10, ... around values, at least a factor of two apart."""
    positive = [value for value in values if value > 0] or [1.0]
    low = max(one for one in _round_numbers() if one <= max(min(positive), 1e-3))
    high = min(one for one in _round_numbers() if one >= max(max(positive), 2 * low))
    return low, high


def _round_numbers() -> Iterable[float]:
    return (digit * 10.0**power for power in range(-3, 7) for digit in (1, 2, 5))


def _steps(low: float, high: float) -> list[float]:
    """Return up to eight round numbers from one to another."""
    steps = [one for one in _round_numbers() if low <= one <= high]
    return steps if len(steps) <= 8 else [one for one in steps if f"{one:e}"[0] == "1"]


def _floor(recall: float) -> float:
    """Return where the axis of recall begins, so that the curve fills it."""
    return next((one for one in (0.99, 0.95, 0.9, 0.8, 0.5) if one < recall), 0.0)


def _fractions(floor: float) -> list[float]:
    return [floor + (1 - floor) * share for share in (0, 0.25, 0.5, 0.75, 1)]


def _tenths(low: float, high: float) -> list[float]:
    """Return the multiples of .1 or .2 from one distance to another."""
    step = 1 if high - low <= 0.8 else 2  # about eight of them
    tenths = range(math.ceil(low * 10 - 1e-9), math.floor(high * 10 + 1e-9) + 1)
    return [one / 10 for one in tenths if one % step == 0]


def _ticks_below(ticks: Iterable[tuple[float, str]]) -> Iterable[Markup]:
    yield _tag("line", class_="axis", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM)
    for x, label in ticks:
        yield _tag("line", class_="axis", x1=x, x2=x, y1=BOTTOM, y2=BOTTOM + 4)
        yield _text("middle", x, BOTTOM + 17, label)


def _ticks_beside(ticks: Iterable[tuple[float, str]]) -> Iterable[Markup]:
    for y, label in ticks:
        yield _tag("line", class_="grid-line", x1=LEFT, x2=RIGHT, y1=y, y2=y)
        yield _text("end", LEFT - 5, y + 4, label)


def _dot(kind: str, at: Point, what: str) -> Markup:
    return _tag("circle", _tag("title", what), class_=kind, cx=at[0], cy=at[1], r=4)


def _path(kind: str, points: Sequence[Point]) -> Markup:
    return _tag("path", class_=kind, d=" ".join(_corners(points)))


def _corners(points: Sequence[Point]) -> Iterable[str]:
    for number, (x, y) in enumerate(points):
        yield f"{'L' if number else 'M'}{x:.1f} {y:.1f}"


def _text(kind: str, x: float, y: float, text: str) -> Markup:
    return _tag("text", text, class_=kind, x=x, y=y)


def _rectangle(x: float, y: float, width: float, height: float) -> Markup:
    return _tag("rect", x=x, y=y, width=width, height=height, rx=2)


def _beside(across: float, value: float, chance: float) -> float:
    """Return where a bar's number stands: after the bar, and after the mark if that is near."""
    end = value if not 0 <= chance - value < 0.2 else chance
    return NAME_WIDTH + across * end + 4


def _mark(x: float, y: float) -> Markup:
    return _tag("line", class_="chance", x1=x, x2=x, y1=y, y2=y + ROW - 3)


def _svg(title: str, height: float, drawn: Iterable[Markup], kind: str = "chart") -> Markup:
    box = f"0 0 {WIDTH} {height}"
    return _tag("svg", _tag("title", title), *drawn, class_=kind, viewBox=box, role="img")


def _tag(name: str, *content: str, **attributes: str | float) -> Markup:
    """Return an element. Text and the values of attributes are escaped, numbers rounded."""
    written = Markup("").join(
        Markup(' {}="{}"').format(
            key.rstrip("_"), value if isinstance(value, str) else f"{value:.4g}"
        )
        for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, written, Markup("").join(content))
