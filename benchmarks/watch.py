"""Following a folder: how soon a running server finds photographs that are dropped into it.

``lookalike index --watch`` follows a folder, a server answers from the index, a client searches it
all the time, and files arrive in bursts. A file counts as found when a search of the server has it
among its results; the time begins when its last byte is written.

    python -m benchmarks.watch --files 500
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from io import BytesIO
from pathlib import Path
from statistics import median, quantiles
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from benchmarks import servers
from benchmarks.stores import PHOTOS
from indexer.store import Store

RESULTS = Path("benchmarks/results/watch.json")
SEED = 7
AT_THE_START = 100
MAX_K = 1000
GAP_S = (0.5, 4)
"""Between two bursts."""

DEADLINE_S = 120
"""How long to wait for the last files after the last burst."""


def main() -> None:
    """Measure and print one line."""
    parser = argparse.ArgumentParser(description="How soon new files are found.")
    parser.add_argument("--files", type=int, default=500, metavar="N", help="how many are dropped")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="lookalike-bench-") as folder:
        report = measure(Path(folder), options.files)
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(report, indent=1))
    print(
        f"{report['found']} of {report['files']} files found, in {report['bursts']} bursts: median "
        f"{report['median_s']} s, 95 % within {report['p95_s']} s, worst {report['worst_s']} s; "
        f"{report['versions']} versions; {report['searches']} searches meanwhile"
    )


def measure(folder: Path, files: int) -> dict[str, Any]:
    """Drop files into a folder that is followed, in bursts of up to fifty."""
    images, store = folder / "images", folder / "store"
    images.mkdir()
    for number, data in enumerate(_photographs(AT_THE_START)):
        (images / f"first{number:03}.jpg").write_bytes(data)
    dropped = list(_photographs(files, angle=90))
    chance, bursts = random.Random(SEED), 0  # noqa: S311 -- no secret
    with _following(images, store) as process, servers.running(store) as server:
        arrivals, finder = dict[str, float](), _Finder(server.port)
        finder.start()
        while len(arrivals) < files:
            for data in dropped[len(arrivals) :][: chance.randint(1, 50)]:
                name = f"dropped{len(arrivals):04}.jpg"
                (images / name).write_bytes(data)
                arrivals[name] = time.monotonic()
            bursts += 1
            time.sleep(chance.uniform(*GAP_S))
        finder.wait_for(arrivals.keys())
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        process.wait()
        ended = time.monotonic() - began
    waited = [finder.found[name] - arrivals[name] for name in arrivals if name in finder.found]
    return {
        "cores": os.cpu_count(),
        "files": files,
        "found": len(waited),
        "bursts": bursts,
        "median_s": round(median(waited), 2),
        "p95_s": round(quantiles(waited, n=20)[-1], 2),
        "worst_s": round(max(waited), 2),
        "versions": Store(store).current(),
        "stopped_s": round(ended, 2),
        "searches": finder.searches,
    }


class _Finder(threading.Thread):
    """Asks the server again and again for all that is like the first image."""

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.found: dict[str, float] = {}
        """When each key was first among the results."""
        self.searches = 0
        self._port = port
        self._body = json.dumps({"image_id": 1, "k": MAX_K, "collapse_duplicates": False}).encode()

    def run(self) -> None:
        """Search as long as the server answers."""
        with (
            closing(HTTPConnection("127.0.0.1", self._port)) as connection,
            suppress(OSError, HTTPException),
        ):
            while True:
                headers = {"Content-Type": "application/json"}
                connection.request("POST", "/api/v1/search", self._body, headers)
                results = json.loads(connection.getresponse().read())["results"]
                now, self.searches = time.monotonic(), self.searches + 1
                for hit in results:
                    self.found.setdefault(hit["key"], now)
                time.sleep(0.1)

    def wait_for(self, names: Any) -> None:
        """Return when all are found, or too much time has passed."""
        deadline = time.monotonic() + DEADLINE_S
        while not names <= self.found.keys() and time.monotonic() < deadline:
            time.sleep(0.1)


@contextmanager
def _following(images: Path, store: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Follow a folder until the block ends; it begins when there is an index."""
    command = [sys.executable, "-m", "indexer", "index", str(images), "--store", str(store)]
    command += ["--encoder", "efficientnet_lite0", "--watch"]
    with subprocess.Popen(command, stdout=sys.stderr) as process:
        try:
            while Store(store).current() is None:
                if process.poll() is not None:
                    raise RuntimeError("It ended before there was an index.")
                time.sleep(0.1)
            yield process
        finally:
            process.kill()


def _photographs(count: int, angle: int = 0) -> Iterator[bytes]:
    """Yield pictures that differ from each other: the demo's, turned a little."""
    for number in range(count):
        data = BytesIO()
        with Image.open(PHOTOS[number % len(PHOTOS)]) as photo:
            photo.rotate(angle + number // len(PHOTOS)).save(data, "JPEG", quality=90)
        yield data.getvalue()


if __name__ == "__main__":
    main()
