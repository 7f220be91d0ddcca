"""The wheel, installed into an environment of its own, works in a folder full of traps."""

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sysconfig import get_path
from urllib.request import Request, urlopen

import pytest

from tests.conftest import DEMO_IMAGES, ROOT
from tests.processes import started
from tests.server.processes import free_port, wait_until_answering

TRAPS = ("server", "indexer", "keras", "lookalike", "random", "socket")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed command; the libraries it needs are those of the tests' environment."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    offline = ["--no-deps", "--no-index", "--disable-pip-version-check"]
    subprocess.run([*pip, *offline, str(wheel)], check=True, capture_output=True)
    packages = get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    (Path(packages) / "tests.pth").write_text(
        f"import site; site.addsitedir({get_path('purelib')!r})"
    )
    return folder / "bin" / "lookalike"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: nothing but files whose names are those of modules."""
    folder = tmp_path / "folder"
    folder.mkdir()
    for name in TRAPS:
        (folder / f"{name}.py").write_text("raise SystemExit('a trap was imported')\n")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return folder


def run(command: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [command, *arguments], capture_output=True, text=True, check=False, timeout=200
    )


@contextmanager
def serving(command: Path, *arguments: str) -> Iterator[str]:
    """Run a command that serves, give its address, and stop it as Ctrl-C does."""
    port = free_port()
    with started([str(command), *arguments, "--port", str(port)], cwd=Path.cwd()) as process:
        wait_until_answering(port, "/readyz")
        yield f"http://127.0.0.1:{port}"
        process.terminate()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert f"Open http://127.0.0.1:{port}" in errors
    assert "trap" not in output + errors


def post(url: str, content: bytes, media_type: str) -> dict[str, list[dict[str, object]]]:
    request = Request(f"{url}/api/v1/search", content, {"Content-Type": media_type})
    with urlopen(request, timeout=60) as response:
        answer: dict[str, list[dict[str, object]]] = json.load(response)
        return answer


def test_the_wheel_has_what_the_commands_need(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    photographs = {f"lookalike/demo/images/{p.relative_to(DEMO_IMAGES)}" for p in photos()}
    assert photographs | {"lookalike/demo/ATTRIBUTION.tsv", "lookalike/demo/config.yaml"} <= names
    sources = {
        path.relative_to(ROOT).as_posix()
        for package in ("indexer", "server", "lookalike")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"server/web/templates/base.html", "indexer/py.typed", "lookalike/py.typed"} <= sources
    assert sources <= names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {
        "indexer", "server", "lookalike",
    }  # fmt: skip


def photos() -> list[Path]:
    return list(DEMO_IMAGES.rglob("*.jpg"))


def test_demo_answers_a_search(command: Path, folder: Path, tmp_path: Path) -> None:
    photo = photos()[0]
    with serving(command, "demo") as url:
        answer = post(url, b'{"image_id": 1, "k": 3}', "application/json")
        assert [result["rank"] for result in answer["results"]] == [1, 2, 3]
        with urlopen(url, timeout=60) as page:
            assert "Lookalike" in page.read().decode()
        form = (
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
            + photo.read_bytes()
            + b"\r\n--x--\r\n"
        )
        answer = post(url, form, "multipart/form-data; boundary=x")
        assert answer["results"][0]["key"] == str(photo.relative_to(DEMO_IMAGES))
    assert sorted(path.name for path in folder.iterdir()) == sorted(f"{n}.py" for n in TRAPS)
    assert (tmp_path / "cache" / "lookalike" / "demo").is_dir()


def test_index_search_and_serve_find_one_store_from_every_folder(
    command: Path, folder: Path, images: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = run(command, "index", str(images), "--encoder", "efficientnet_lite0")
    assert done.returncode == 0, done.stderr
    assert f"store   {tmp_path / 'data' / 'lookalike' / 'store'}" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("found 6 = indexed 6 + skipped 0")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    photo = next(images.rglob("*.jpg"))
    done = run(command, "search", str(photo), "--k", "2")
    assert done.stdout.split()[:3] == ["1", "0.0000", str(photo.relative_to(images))]
    with serving(command, "serve") as url:
        answer = post(url, b'{"image_id": 1, "k": 2}', "application/json")
        assert len(answer["results"]) == 2
