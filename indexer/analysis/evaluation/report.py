"""Reports of an evaluation as files: JSON, Markdown, and HTML that needs nothing beside it."""

import base64
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal, get_args

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from indexer.analysis.evaluation import plots
from indexer.analysis.evaluation.measures import CONFIDENCE
from indexer.analysis.evaluation.results import Evaluation
from indexer.analysis.evaluation.tables import (
    beside_note,
    compared,
    encoder_name,
    interval,
    markdown,
)
from indexer.errors import LookalikeError
from indexer.text import printable

SIDE = 96
"""Of the pictures in a report, in pixels: a picture takes 3 to 5 kB."""

BARS = 10
"""How many of the best and of the worst labels are drawn."""

Form = Literal["json", "md", "html"]
FORMS: tuple[Form, ...] = get_args(Form)

Thumbnail = Callable[[int, int], bytes]
"""Returns the JPEG of an image by its id and the side of the square that it fits into."""

Rows = list[tuple[str, float, float]]


def write_report(folder: Path, found: Evaluation, thumbnail: Thumbnail) -> list[Path]:
    """Write ``evaluation.json``, ``.md`` and ``.html`` into a folder; return their paths.

    Raises :class:`OSError` if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for form in FORMS:
        path = folder / f"evaluation.{form}"
        path.write_text(report(found, form, thumbnail), encoding="utf-8")
        written.append(path)
    return written


def report(found: Evaluation, form: Form, thumbnail: Thumbnail) -> str:
    """Return a report in one of the forms."""
    match form:
        case "json":
            return f"{json.dumps(found.to_json(), indent=1)}\n"
        case "md":
            return f"{markdown(found)}\n"
        case "html":
            return f"{html(found, thumbnail)}\n"


def html(found: Evaluation, thumbnail: Thumbnail) -> str:
    """Return a report in one HTML file, with its pictures; where one is away, its key is shown."""
    pictures, problems = {}, []
    shown = dict.fromkeys(image_id for query in found.worst + found.best for image_id in query.ids)
    for image_id in shown:
        try:
            data = base64.b64encode(thumbnail(image_id, SIDE)).decode("ascii")
        except (LookalikeError, OSError) as error:
            problems.append(str(error))
        else:
            pictures[image_id] = f"data:image/jpeg;base64,{data}"
    note = problems and f"{len(problems)} pictures could not be read, the first: {problems[0]}"
    return (
        _environment()
        .get_template("evaluation.html")
        .render(
            found=found,
            encoder=encoder_name(found),
            styles=Markup(_styles("report.css") + styles()),  # noqa: S704 -- files of ours
            body=sections(found, pictures.get, lambda _: None, note or ""),
        )
    )


def sections(
    found: Evaluation,
    source_of: Callable[[int], str | None],
    link_of: Callable[[int], str | None],
    note: str = "",
    most_labels: int | None = None,
) -> Markup:
    """Return the sections of a report as HTML, for a page that has :func:`styles`.

    The callables return the address of an image's picture, and where it leads; None without. The
    table has all labels, or ``most_labels`` of them.
    """
    rows = [
        (printable(one.label), one.own, one.own_chance)
        for one in found.labels
        if one.own is not None and one.own_chance is not None
    ]
    by_precision = sorted(rows, key=lambda row: -row[1])
    few = len(by_precision) <= 2 * BARS
    charts: dict[str, Rows] = (
        {f"Each {found.by}": by_precision}
        if few
        else {
            f"The best {BARS} of {len(by_precision):,}": by_precision[:BARS],
            f"The worst {BARS}": by_precision[-BARS:],
        }
    )
    text = (
        _environment()
        .get_template("_evaluation.html")
        .render(
            found=found,
            source_of=source_of,
            link_of=link_of,
            note=note,
            labels=found.labels[:most_labels],
            plots=plots,
            charts=charts.items(),
            interval=interval,
            compared=compared,
            beside_note=beside_note,
            confidence=f"{CONFIDENCE:.0%}",
        )
    )
    return Markup(text)  # noqa: S704 -- the template escapes what is not ours


def styles() -> str:
    """Return the style sheet of the sections. Their page defines the colours that it names."""
    return _styles("evaluation.css")


@cache
def _styles(name: str) -> str:
    return (Path(__file__).parent / "templates" / name).read_text("utf-8")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("indexer.analysis.evaluation"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["printable"] = printable
    return environment
