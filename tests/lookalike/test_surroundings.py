"""The command and the server in the surroundings people run them in: real processes."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from http import HTTPStatus
from io import BytesIO
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from werkzeug.datastructures import FileStorage
from werkzeug.test import encode_multipart

from indexer.config import Config
from tests.conftest import ROOT, Reindex
from tests.server.processes import running_server

UNKNOWN_USER = """\
import os, pwd, tempfile

def unknown(uid):
    raise KeyError(f"getpwuid(): uid not found: {uid}")

pwd.getpwuid = unknown
"""
"""What a process sees whose user id is in no list of users."""

NO_TEMPORARY_FILES = "tempfile._candidate_tempdir_list = list\n"
"""On a read-only root file system without a folder for temporary files."""


def lookalike(
    *arguments: object, folder: Path, env: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run the command in a folder with these variables and no others, but the way to Python."""
    command = [sys.executable, "-m", "lookalike", *map(str, arguments)]
    paths = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command,
        cwd=folder,
        env={**paths, **env},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def replaced_modules(folder: Path, code: str) -> str:
    """Return a PYTHONPATH whose ``sitecustomize`` runs this code when Python starts."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return f"{folder}{os.pathsep}{ROOT}"


@pytest.mark.parametrize("code", [UNKNOWN_USER, UNKNOWN_USER + NO_TEMPORARY_FILES])
def test_a_user_without_name_and_home_indexes_and_searches(
    images: Path, tmp_path: Path, code: str
) -> None:
    env = {"PYTHONPATH": replaced_modules(tmp_path / "shim", code)}
    store = tmp_path / "store"
    done = lookalike(
        *("index", images, "--encoder=efficientnet_lite0", "--store", store, "--json"),
        folder=tmp_path,
        env=env,
    )
    assert (done.returncode, json.loads(done.stdout)["indexed"]) == (0, 6), done.stderr
    photo = next(images.rglob("*.jpg"))
    done = lookalike("search", photo, "--store", store, "--json", folder=tmp_path, env=env)
    assert (done.returncode, len(json.loads(done.stdout)["results"])) == (0, 6), done.stderr
    assert not list(tmp_path.glob("~*")), "a folder called ~ is no home"


@pytest.mark.parametrize("home", [None, "/proc"])
def test_the_server_answers_without_a_home_it_can_write(
    reindex: Reindex,
    config: Config,
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    home: str | None,
) -> None:
    """Images are encoded and thumbnails made, though neither the network nor they can be kept."""
    reindex()
    shim = replaced_modules(tmp_path / "shim", UNKNOWN_USER + NO_TEMPORARY_FILES)
    monkeypatch.setenv("PYTHONPATH", shim)
    monkeypatch.setenv("LOOKALIKE_ENCODER__MODEL", "efficientnet_lite0")
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    if home:
        monkeypatch.setenv("HOME", home)
    log = tmp_path / "log"
    photo = next(images.rglob("*.jpg")).read_bytes()
    boundary, form = encode_multipart({"image": FileStorage(BytesIO(photo), "photo.jpg")})
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    with running_server(config, "/readyz", log=log) as (_, port):
        api = f"http://127.0.0.1:{port}/api/v1"
        with urlopen(Request(f"{api}/search", form, headers)) as response:
            assert len(json.load(response)["results"]) == 6
        for _ in range(2):
            with urlopen(f"{api}/images/1/thumbnail") as response:
                assert response.status == HTTPStatus.OK
    assert log.read_text().count("Thumbnails are not cached") == 1


@pytest.mark.parametrize(
    "env",
    [
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"LANG": "C", "PYTHONUTF8": "0", "TZ": "Nowhere/Odd"},
        {"LC_ALL": "C.UTF-8", "TZ": ":"},
    ],
)
def test_keys_do_not_depend_on_the_locale(
    images: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    next(images.rglob("*.jpg")).rename(images / "é 図.jpg")
    done = lookalike(
        *("index", images, "--encoder=efficientnet_lite0", "--store=s", "--json"),
        folder=tmp_path,
        env=env,
    )
    assert json.loads(done.stdout)["indexed"] == 6, done.stderr
    done = lookalike("search", images / "é 図.jpg", "--store=s", folder=tmp_path, env=env)
    assert (done.returncode, "é 図.jpg" in done.stdout.splitlines()[0]) == (0, True), done.stderr


@pytest.mark.parametrize("name", ["s t%20?#é", "file:s?mode=ro", "-s", "link", "../here/s", "a/b"])
def test_a_store_may_have_any_name(images: Path, tmp_path: Path, name: str) -> None:
    """SQLite reads some of these as the address of a file and its options."""
    folder = tmp_path / "here"
    (folder / "elsewhere").mkdir(parents=True)
    (folder / "link").symlink_to("elsewhere", target_is_directory=True)
    env: dict[str, str] = {}
    for _ in range(2):  # the second adds a layer
        done = lookalike(
            *("index", images, "--encoder=efficientnet_lite0", f"--store={name}"),
            folder=folder,
            env=env,
        )
        assert done.returncode == 0, done.stderr
        (images / "bad.jpg").write_bytes(b"x")
    done = lookalike("verify", f"--store={name}", "--json", folder=folder, env=env)
    assert json.loads(done.stdout)["problems"] == [], done.stdout
    assert json.loads(done.stdout)["images"] == 6


def test_a_store_whose_name_is_no_text_is_refused_by_name(images: Path, tmp_path: Path) -> None:
    done = lookalike("index", images, b"--store=s\xff".decode(errors="surrogateescape"),
                     folder=tmp_path, env={})  # fmt: skip
    assert done.returncode == 1
    assert "the path of the store is not valid UTF-8" in done.stderr
    assert "Traceback" not in done.stderr
