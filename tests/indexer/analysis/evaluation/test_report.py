"""Reports of evaluations: what they hold, and that they need nothing beside them."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from pydantic import TypeAdapter

from indexer.analysis import Evaluation, evaluate
from indexer.analysis.evaluation import plots
from indexer.analysis.evaluation.report import html, styles, write_report
from indexer.analysis.evaluation.results import Approximate, Distances, Setting
from indexer.cli.parser import main
from indexer.config import Config
from indexer.errors import ImageGone
from indexer.store import Store
from indexer.vector_index.opened import Indexes

SETTINGS = [
    Setting(1, 256, 0.91, 0.2, in_use=False),
    Setting(4, 256, 0.97, 0.5, in_use=False),
    Setting(16, 512, 0.995, 1.4, in_use=True),
]


@pytest.fixture(scope="module")
def found(demo_config: Config) -> Evaluation:
    return evaluate(demo_config)


class Elements(HTMLParser):
    """The elements of a page with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag == name]


def drawn(svg: str, name: str, kind: str | None = None) -> list[ElementTree.Element]:
    """Return the elements of a plot, which is well-formed XML."""
    elements = ElementTree.fromstring(svg).iter(name)  # noqa: S314 -- drawn here
    return [one for one in elements if kind is None or one.get("class") == kind]


def test_the_best_and_the_worst_queries_are_those_of_a_full_ranking(
    demo_config: Config, found: Evaluation
) -> None:
    version = Store(demo_config.store).open_published()
    vectors = Indexes.of(version).vectors
    ids = vectors.sorted_ids
    content = vectors.vectors(vectors.rows(ids)).astype(np.float64)
    folders = np.array([version.catalogue.keys([i])[i].split("/")[0] for i in ids.tolist()])
    precision, firsts = {}, {}
    for n, image_id in enumerate(ids.tolist()):
        order = np.argsort(np.linalg.norm(content - content[n], axis=1), kind="stable")
        order = order[order != n]
        right = folders[order] == folders[n]
        if right.any():
            ranks = np.flatnonzero(right) + 1
            precision[image_id] = np.mean(np.arange(1, len(ranks) + 1) / ranks)
            firsts[image_id] = [(int(ids[o]), bool(r)) for o, r in zip(order, right, strict=True)]
    assert not found.has_several
    assert found.worst[0].average_precision == pytest.approx(min(precision.values()))
    assert found.best[0].average_precision == pytest.approx(max(precision.values()))
    for query in found.best + found.worst:
        assert query.average_precision == pytest.approx(precision[query.id])
        assert query.relevant == sum(right for _, right in firsts[query.id])
        results = [(one.id, bool(one.shared)) for one in query.results]
        assert results == firsts[query.id][:10]
    labels = [query.labels[0] for query in found.worst]
    assert len({*labels}) == len(labels) == min(6, len(found.labels))


def test_every_pair_is_in_the_histogram_of_its_kind_at_its_distance(found: Evaluation) -> None:
    distances = found.distances
    pairs = sum(distances.relevant) + sum(distances.irrelevant)
    assert pairs == found.queries * (found.images - 1)
    relevant = sum(one.queries * (one.images - 1) for one in found.labels)
    assert sum(distances.relevant) == relevant
    assert len(distances.edges) == len(distances.relevant) + 1
    nearest = min(one.distance for query in found.best for one in query.results)
    assert distances.edges[0] <= nearest < distances.edges[-1]


def test_the_command_writes_a_report_that_needs_nothing_beside_it(
    demo_config: Config, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a" / "report"
    assert main(["evaluate", f"--store={demo_config.store}", "--report", str(folder)]) == 0
    assert f"written: {folder / 'evaluation.html'}" in capsys.readouterr().out
    report = json.loads((folder / "evaluation.json").read_text())
    assert TypeAdapter(Evaluation).validate_python(report).to_json() == report
    tables = (folder / "evaluation.md").read_text()
    assert tables.startswith("# Evaluation by folder\n")
    assert "## Worst queries" in tables
    page = Elements(text := (folder / "evaluation.html").read_text())
    pictures = {one["src"] for one in page.of("img")}
    assert len(pictures) > 20
    assert all(str(one).startswith("data:image/jpeg;base64,") for one in pictures)
    assert len(text) < 700_000
    assert "://" not in re.sub('data:[^"]*', "", text)
    assert {tag for tag, _ in page.found}.isdisjoint({"script", "link", "iframe"})
    assert not any({"style", "onload"} & {*attributes} for _, attributes in page.found)
    assert len(page.of("svg")) == 2  # so few images have no curve


def test_pictures_that_are_away_are_named(found: Evaluation) -> None:
    def away(image_id: int, side: int) -> bytes:
        raise ImageGone(f"{image_id} is <away>")

    text = html(found, away)
    shown = {one.id for query in found.best + found.worst for one in (query, *query.results)}
    assert f"{len(shown)} pictures could not be read" in text
    assert "is &lt;away&gt;" in text
    assert not Elements(text).of("img")
    assert f'<span class="away">{found.best[0].key}</span>' in text


def test_names_are_text_wherever_they_come_from(found: Evaluation, tmp_path: Path) -> None:
    name = '<script>alert(1)</script>\x1b|&"'
    labels = [replace(found.labels[0], label=name), *found.labels[1:]]
    worst = [replace(found.worst[0], key=name, labels=[name]), *found.worst[1:]]
    write_report(tmp_path, replace(found, labels=labels, worst=worst, by=name), lambda *_: b"")
    text = (tmp_path / "evaluation.html").read_text()
    assert not Elements(text).of("script")
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\x1b|&amp;" in text
    assert "</script>\\x1b\\|&" in (tmp_path / "evaluation.md").read_text()


def test_of_many_labels_the_best_and_the_worst_are_drawn_and_all_are_listed(
    found: Evaluation,
) -> None:
    labels = [replace(found.labels[0], label=f"label {n}", own=n / 100) for n in range(100)]
    text = html(replace(found, labels=labels), lambda *_: b"")
    best, worst = re.findall(r'<svg class="chart bars".*?</svg>', text)
    names = [one.text for one in drawn(best, "text", "end")]
    assert names == [f"label {n}" for n in range(99, 89, -1)]
    assert [one.text for one in drawn(worst, "text", "end")][-1] == "label 0"
    assert text.count('<th scope="row">label ') == 100


def test_the_curve_has_every_setting_and_exact_search_at_the_top() -> None:
    svg = plots.recall_curve(Approximate(200, 0.98, 1.0, 20.0, SETTINGS))
    points = drawn(svg, "circle", "setting") + drawn(svg, "circle", "setting used")
    across = [float(str(one.get("cx"))) for one in points]
    up = [float(str(one.get("cy"))) for one in points]
    assert across == sorted(across)
    assert up == sorted(up, reverse=True)
    (now,), (exact,) = drawn(svg, "circle", "now"), drawn(svg, "circle", "exact")
    assert up[2] < float(str(now.get("cy"))) < up[1]
    assert float(str(exact.get("cy"))) == plots.TOP
    assert across[2] < float(str(exact.get("cx"))) <= plots.RIGHT
    assert "16 lists, 512 candidates: 0.9950 in 1.40 ms" in svg


@pytest.mark.parametrize(("ms", "recall"), [(0.0, 1.0), (1e-5, 0.0), (1e5, 0.5)])
def test_extreme_measurements_stay_within_the_plot(ms: float, recall: float) -> None:
    settings = [Setting(1, 1, recall, ms, in_use=True)]
    svg = plots.recall_curve(Approximate(1, recall, ms, ms, settings))
    for one in drawn(svg, "circle"):
        assert plots.LEFT <= float(str(one.get("cx"))) <= plots.RIGHT
        assert plots.TOP <= float(str(one.get("cy"))) <= plots.BOTTOM


@pytest.mark.parametrize("relevant", [[0], [7]])
def test_a_histogram_can_have_one_bin(relevant: list[int]) -> None:
    svg = plots.histogram(Distances([0.0, 0.02], relevant, [3]))
    assert len(drawn(svg, "path")) == 2


def test_every_class_of_a_plot_has_a_style() -> None:
    svgs = [
        plots.recall_curve(Approximate(200, 0.98, 1.0, 20.0, SETTINGS)),
        plots.histogram(Distances([0.0, 0.5, 1.0], [1, 2], [3, 4])),
        plots.bars("Bars", [("a", 0.5, 0.1)]),
    ]
    used = {
        name for svg in svgs for kind in re.findall('class="([^"]+)"', svg) for name in kind.split()
    }
    assert {name for name in used - {"bars", "value"} if f".{name}" not in styles()} == set()
