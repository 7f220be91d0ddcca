"""Evaluations as tables, for a terminal or in Markdown."""

from collections.abc import Iterator, Sequence
from pathlib import PurePath

from indexer.analysis.evaluation.human_scores import Agreement, AgreementBeside
from indexer.analysis.evaluation.measures import CONFIDENCE, Mean
from indexer.analysis.evaluation.results import Beside, Evaluation
from indexer.text import printable


def lines(found: Evaluation, *, markdown: bool = False) -> Iterator[str]:
    """Yield the lines of an evaluation's tables, and the sentences between them."""
    yield printable(f"{encoder_name(found)}, version {found.version}: {found.note}")
    yield f"In brackets: {CONFIDENCE:.0%} confidence, by bootstrap over the images asked."
    yield ""
    rows = [["", "mean over images", "by chance", f"mean over {found.by}", "by chance"]]
    rows += [
        [
            score.name,
            interval(score.mean),
            f"{score.chance:.4f}",
            interval(score.per_label),
            f"{score.per_label_chance:.4f}",
        ]
        for score in found.scores
    ]
    yield from _table(rows, markdown=markdown)
    yield ""
    for other in found.beside:
        yield from _beside(found, other, markdown=markdown)
        yield ""
    names = [score.name for score in found.scores]
    own = ["own mAP", "by chance"] if found.has_several else []
    rows = [[found.by, "images", "asked", *names, *own]]
    rows += [
        [one.label, f"{one.images:,}", f"{one.queries:,}"]
        + [f"{one.means[name]:.4f}" for name in names]
        + ["" if value is None else f"{value:.4f}" for value in (one.own, one.own_chance) if own]
        for one in found.labels
    ]
    yield from _table(rows, markdown=markdown)
    if own:
        yield ""
        yield (
            f"Own mAP counts one {found.by} by itself: its images are asked for those that have "
            f"it. Mean {interval(found.own)}, by chance {found.own_chance:.4f}."
        )
    if found.approximate:
        one = found.approximate
        yield ""
        yield (
            f"Approximate search finds {100 * one.recall:.2f} % of the {found.k} nearest in "
            f"{one.ms:.1f} ms; exact search takes {one.exact_ms:.1f} ms ({one.queries} searches)."
        )


def markdown(found: Evaluation) -> str:
    """Return an evaluation as a document in Markdown: its tables, its worst and best queries."""
    written = [f"# Evaluation by {printable(found.by)}", "", *lines(found, markdown=True)]
    for title, queries in (("Worst", found.worst), ("Best", found.best)):
        rows = [["query", found.by, "average precision", "first results"]]
        rows += [
            [
                one.key,
                ", ".join(one.labels),
                f"{one.average_precision:.4f}",
                " ".join("right" if result.shared else "wrong" for result in one.results),
            ]
            for one in queries
        ]
        written += ["", f"## {title} queries", "", *_table(rows, markdown=True)]
    return "\n".join(written)


def agreement_lines(found: Agreement, *, markdown: bool = False) -> Iterator[str]:
    """Yield the lines that say how well distances agree with people's scores."""
    yield printable(
        f"{encoder_name(found)}, version {found.version}: {found.pairs:,} pairs of images with "
        "people's scores."
    )
    yield f"In brackets: {CONFIDENCE:.0%} confidence, by bootstrap over the pairs."
    yield ""
    rows = [["", "Spearman's rho", "difference"] if found.beside else ["", "Spearman's rho"]]
    rows.append([encoder_name(found), interval(found.rho, signed=True), ""][: len(rows[0])])
    rows += [
        [
            f"{one.store}: {encoder_name(one)}",
            interval(one.rho, signed=True),
            interval(one.difference, signed=True),
        ]
        for one in found.beside
    ]
    yield from _table(rows, markdown=markdown)
    for note in found.notes:
        yield ""
        yield printable(note)


def _beside(found: Evaluation, one: Beside, *, markdown: bool) -> Iterator[str]:
    """Yield the lines that compare a store with the first."""
    yield printable(beside_note(one))
    yield ""
    rows = [["", "first", one.store, "difference"], *compared(found, one)]
    yield from _table(rows, markdown=markdown)


def compared(found: Evaluation, one: Beside) -> list[list[str]]:
    """Return a row for each measure: its name, both means, and their difference."""
    rows = [
        [first.name, interval(first.mean), interval(other.mean), interval(difference, signed=True)]
        for first, other, difference in zip(found.scores, one.scores, one.differences, strict=True)
    ]
    if found.has_several:
        values = [interval(found.own), interval(one.own)]
        rows.append(["own mAP", *values, interval(one.own_difference, signed=True)])
    return rows


def beside_note(one: Beside) -> str:
    """Return what a store beside the first holds, in a sentence."""
    only = f" {one.only:,} images that only it has were left out." * bool(one.only)
    return f"{one.store}: {encoder_name(one)}, version {one.version}, the same images.{only}"


def encoder_name(found: Evaluation | Beside | Agreement | AgreementBeside) -> str:
    """Return the encoder's model, layer, weights if they are others than usual, and precision."""
    encoder = found.encoder
    weights, precision = PurePath(str(encoder.get("weights", ""))).name, encoder.get("precision")
    named = [f"{encoder.get('model')} {encoder.get('layer')}"]
    named += [f"weights {weights}"] * (weights not in ("", "imagenet"))
    named += [str(precision)] * (precision not in (None, "float32"))
    return ", ".join(named)


def interval(mean: Mean, *, signed: bool = False) -> str:
    """Return a mean with its interval in brackets."""
    value, low, high = (f"{one:{'+' if signed else ''}.4f}" for one in mean)
    return f"{value} ({low} to {high})"


def _table(rows: Sequence[Sequence[str]], *, markdown: bool) -> Iterator[str]:
    """Yield the lines of a table, whose first row is its head."""
    if markdown:
        head, *others = [[printable(cell).replace("|", "\\|") for cell in row] for row in rows]
        for row in (head, ["---", *["---:"] * (len(head) - 1)], *others):
            yield f"| {' | '.join(row)} |"
        return
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([row[0].ljust(widths[0]), *cells[1:]])
