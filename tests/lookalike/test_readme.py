"""The README's Python examples, run in its order on a small folder of images."""

import re
import shutil
from pathlib import Path

import pytest

from tests.conftest import ROOT

SECTION = (ROOT / "README.md").read_text().partition("\n## Python\n")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"```python\n(.*?)```", SECTION, re.S)


def test_the_examples_of_the_readme_run(
    images: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    images.rename(tmp_path / "Pictures")
    photo = next((tmp_path / "Pictures").rglob("*.jpg"))
    shutil.copy(photo, tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    assert len(EXAMPLES) == 3
    names: dict[str, object] = {}
    for number, example in enumerate(EXAMPLES, 1):
        exec(compile(example, f"README.md, Python, example {number}", "exec"), names)  # noqa: S102
    key = str(photo.relative_to(tmp_path / "Pictures"))
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == f"1 {key} 0.0"
    assert last.startswith(f"['{key}'] 6 efficientnet_lite0")
