"""The page of the evaluation, and its report as files."""

import json
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from indexer.cli.parser import main
from indexer.config import Config
from indexer.store import Store, read_report, save_report
from server.app import create_app
from server.web.evaluation import LABELS_SHOWN
from tests.conftest import Reindex, delete

PATH = "/collection/evaluation"


@pytest.fixture(scope="module")
def report(demo_config: Config, client: FlaskClient) -> str:
    """The page of an index that was evaluated."""
    assert main(["evaluate", f"--store={demo_config.store}"]) == 0
    answer = client.get(PATH)
    assert answer.status_code == 200
    return answer.text


@pytest.fixture
def changing(config: Config, reindex: Reindex) -> FlaskClient:
    """A client of a server whose index of six photographs a test may change."""
    reindex()
    return create_app(config).test_client()


def evaluate(config: Config) -> None:
    assert main(["evaluate", "--by", "format", f"--store={config.store}"]) == 0


def test_the_page_has_the_measures_the_plots_and_pictures_that_lead_on(
    report: str, client: FlaskClient
) -> None:
    assert "<h1>Evaluation by folder</h1>" in report
    assert f'href="{PATH}" aria-current="page"' in report
    assert report.count('<svg class="chart') == 2
    pictures = dict(re.findall(r'<a href="(/images/\d+)"><img src="([^"]+)"', report))
    assert len(pictures) > 20
    for page, picture in [*pictures.items()][:2]:
        assert client.get(page).status_code == 200
        assert client.get(picture).mimetype == "image/jpeg"
    assert "index has changed since" not in report
    assert not re.search(r"<[^>]* style=", report)
    assert len(report) < 110_000


def test_the_style_sheet_is_sent_once(client: FlaskClient) -> None:
    answer = client.get(f"{PATH}.css")
    assert answer.mimetype == "text/css"
    assert ".chart" in answer.text
    again = client.get(f"{PATH}.css", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_the_report_can_be_saved_in_every_form(report: str, client: FlaskClient) -> None:
    for form in ("json", "md", "html"):
        assert f'href="{PATH}.{form}"' in report
        answer = client.get(f"{PATH}.{form}")
        name = f'attachment; filename="evaluation.{form}"'
        assert (answer.status_code, answer.headers["Content-Disposition"]) == (200, name)
    assert answer.text.count("data:image/jpeg;base64,") > 20
    assert json.loads(client.get(f"{PATH}.json").text)["by"] == "folder"
    assert client.get(f"{PATH}.csv").status_code == 404


def test_addresses_are_below_the_prefix_of_a_proxy(report: str, demo_config: Config) -> None:
    server = demo_config.server.model_copy(update={"proxies": 1})
    app = create_app(demo_config.model_copy(update={"server": server}))
    page = app.test_client().get(PATH, headers={"X-Forwarded-Prefix": "/photos"}).text
    addresses = re.findall(r'(?:href|src)="(/[^"]*)"', page)
    assert len(addresses) > 50
    assert all(address.startswith("/photos/") for address in addresses)
    assert str(demo_config.store) not in page


def test_a_page_lists_some_of_many_labels_and_the_files_all(
    changing: FlaskClient, config: Config
) -> None:
    evaluate(config)
    store = Store(config.store)
    report = read_report(store, "evaluation")
    assert report
    (label,) = report.found["labels"]
    labels = [{**label, "label": f"label {n}"} for n in range(1000)]
    found = {**report.found, "labels": labels}
    save_report(store, "evaluation", store.manifest(report.version), found)
    page = changing.get(PATH).text
    assert page.count('<th scope="row">label ') == LABELS_SHOWN
    assert "1,000, of which 150 are listed here and all in the files" in page
    assert len(page) < 80_000
    assert changing.get(f"{PATH}.html").text.count('<th scope="row">label ') == 1000


def test_without_a_report_the_page_says_what_it_would_show_and_how(
    changing: FlaskClient, config: Config
) -> None:
    page = changing.get(PATH)
    assert page.status_code == 200
    assert "There is no report yet" in page.text
    assert f"<code>lookalike evaluate --store {config.store}</code>" in page.text
    assert changing.get(f"{PATH}.html").status_code == 404


def test_a_report_of_an_earlier_version_says_so_and_names_what_is_gone(
    changing: FlaskClient, config: Config, reindex: Reindex, images: Path
) -> None:
    evaluate(config)
    assert "index has changed since" not in changing.get(PATH).text
    gone = sorted(images.rglob("*.jpg"))[0]
    delete(gone)
    reindex()
    changing = create_app(config).test_client()
    page = changing.get(PATH).text
    assert "Made of version 1; the index has changed since" in page
    assert "1 of these images are gone since" in page
    assert f"<code>lookalike evaluate --by format --store {config.store}</code>" in page
    key = gone.relative_to(images).as_posix()
    assert f'<span class="away">{key}</span>' in page
    assert "1 pictures could not be read" in changing.get(f"{PATH}.html").text


def test_a_damaged_report_is_no_error_of_the_server(changing: FlaskClient, config: Config) -> None:
    evaluate(config)
    store = Store(config.store)
    report = read_report(store, "evaluation")
    assert report
    shorter = {name: value for name, value in report.found.items() if name != "distances"}

    def junk() -> None:
        (store.reports / "evaluation.json").write_text("junk")

    def of_another_lookalike() -> None:
        save_report(store, "evaluation", store.manifest(report.version), shorter)

    for damage in (junk, of_another_lookalike):
        damage()
        page = changing.get(PATH)
        assert page.status_code == 200
        assert "The report cannot be read" in page.text
        assert "<code>lookalike evaluate" in page.text
        assert changing.get(f"{PATH}.json").status_code == 404
