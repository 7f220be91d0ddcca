"""The command ``lookalike``, as far as it is more than ``python -m indexer``."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from indexer import __version__
from indexer.config import Config
from lookalike.cli import main, make_parser
from tests.conftest import ROOT


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from lookalike.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'numpy', 'keras', 'tensorflow', 'faiss', 'PIL', 'pydantic', 'flask'}\n"
        "heavy &= sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "usage: lookalike" in done.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [[], ["nonsense"], ["demo", "photo.jpg"], ["completion"], ["export", "out"]]
)
def test_wrong_usage_exits_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2


def test_the_verbs_of_the_library_are_commands(
    demo_config: Config, photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    store = f"--store={demo_config.store}"
    assert main(["search", str(photos[0]), store, "--json", "--k=2"]) == 0
    assert [hit["rank"] for hit in json.loads(capsys.readouterr().out)["results"]] == [1, 2]
    assert main(["status", store]) == 0
    assert "found      41 = indexed 40 + skipped 1" in capsys.readouterr().out


def test_a_failure_exits_with_1_and_names_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", str(tmp_path / "nothing.jpg")]) == 1
    assert "nothing.jpg cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_completion_knows_every_command(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    (commands,) = (
        action.choices for action in make_parser()._actions if isinstance(action.choices, dict)
    )
    for command in commands:
        assert command in script


def test_bash_accepts_the_completion(tmp_path: Path) -> None:
    """It completes commands, options, choices and files."""
    (tmp_path / "photo.jpg").touch()
    script = """
    source <("$0" -m lookalike completion bash)
    complete_line() {
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
        _shtab_lookalike
        echo "${COMPREPLY[*]}"
    }
    cd "$1"
    complete_line lookalike ro
    complete_line lookalike search --sto
    complete_line lookalike export --to par
    complete_line lookalike search pho
    """
    done = subprocess.run(
        ["bash", "-c", script, sys.executable, str(tmp_path)],  # noqa: S607
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["rollback", "--store", "parquet", "photo.jpg"]
