"""``lookalike index --watch`` beside a server: what is dropped into a folder is soon found."""

import json
import shutil
import signal
import sys
from pathlib import Path
from urllib.request import Request, urlopen

from indexer.store import Store
from tests.conftest import small_config
from tests.processes import started
from tests.server.processes import running_server
from tests.waiting import eventually

BURSTS = (1, 12, 2, 25)


def found(port: int) -> set[str]:
    """Return the keys that a search of the server finds."""
    body = {"image_id": 1, "k": 1000, "collapse_duplicates": False}
    headers = {"Content-Type": "application/json"}
    url = f"http://127.0.0.1:{port}/api/v1/search"
    with urlopen(Request(url, json.dumps(body).encode(), headers), timeout=60) as answer:
        return {hit["key"] for hit in json.load(answer)["results"]}


def test_none_of_the_files_that_arrive_in_bursts_is_lost(
    images: Path, tmp_path: Path, photos: list[Path]
) -> None:
    config = small_config(images, tmp_path / "store")
    command = [sys.executable, "-m", "lookalike", "index", str(images), "--watch"]
    command += ["--store", str(config.store), "--encoder", "efficientnet_lite0"]
    with started(command) as process:
        eventually(lambda: Store(config.store).current() is not None)
        with running_server(config, "/readyz") as (_, port):
            before, new = found(port), list[str]()
            for number in BURSTS:
                for photo in photos[len(new) + 1 :][:number]:
                    new.append(f"new{len(new)}.jpg")
                    shutil.copy(photo, images / new[-1])
                assert found(port) >= before
            eventually(lambda: found(port) >= {*new})
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Following" in err
    assert err.splitlines()[-1].startswith("Stopped. Version 0000")
    assert f"found {6 + len(new)} = indexed {6 + len(new)} + skipped 0" in out
