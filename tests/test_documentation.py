"""What the documents say is there is there, and what is there is documented."""

import re
import subprocess
from pathlib import Path

from indexer.config import Config
from lookalike.cli import make_parser
from tests.conftest import DEMO_IMAGES, ROOT

README = (ROOT / "README.md").read_text()


def test_every_command_is_in_the_readme() -> None:
    choices = make_parser()._subparsers._group_actions[0].choices  # type: ignore[union-attr]
    assert choices
    table = README.partition("## The command line")[2].partition("\n## ")[0]
    documented = {
        command
        for first_cell in re.findall(r"^\| (`[^|]+) \|", table, re.M)
        for command in re.findall(r"`([a-z]+)", first_cell)
    }
    assert documented == set(choices)


def test_make_help_lists_every_target_with_one_line() -> None:
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"],  # noqa: S607 -- make, wherever it is
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    targets = [line.split()[0] for line in listed.stdout.splitlines()]
    assert sorted(targets) == sorted(phony.split())


def test_every_setting_of_the_readme_exists() -> None:
    settings = {
        f"{section}.{key}"
        for section, field in Config.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    }
    table = README.partition("## Settings")[2].partition("## How")[0]
    for setting in re.findall(r"`(\w+\.\w+)`", table):
        assert setting in settings | {"config.yaml"}, setting


def anchors(document: Path) -> set[str]:
    """The names that links give to a document's headings."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_between_documents_lead_somewhere() -> None:
    documents = [
        path for folder in (".", "docs", "benchmarks") for path in ROOT.glob(f"{folder}/*.md")
    ]
    assert len(documents) > 6
    for document in documents:
        for link in re.findall(r"\]\((?!http)([^)]+)\)", document.read_text()):
            path, _, anchor = link.partition("#")
            target = document.parent / path if path else document
            assert target.exists(), f"{document.name}: {link}"
            assert not anchor or anchor in anchors(target), f"{document.name}: {link}"


def test_every_file_of_the_table_of_places_exists() -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2]
    paths = re.findall(r"`((?:indexer|server|lookalike|deploy|tests)/[\w./]*)`", table)
    assert len(paths) > 40
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_demo_photograph_is_attributed() -> None:
    lines = (ROOT / "demo" / "ATTRIBUTION.tsv").read_text().splitlines()[1:]
    attributed = {line.split("\t")[0] for line in lines}
    assert attributed == {p.relative_to(DEMO_IMAGES).as_posix() for p in DEMO_IMAGES.rglob("*.jpg")}
    assert {line.split("\t")[1].lower() for line in lines} == {"public domain", "cc0-1.0"}
