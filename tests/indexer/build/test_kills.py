"""Real SIGKILLs at random moments of a build: nothing is lost, little is encoded twice.

A long run: make test TESTS=tests/indexer/build/test_kills.py with KILLS=200, KILL_WITHIN=0.7, a
folder of photographs as KILLED_IMAGES, and PYTEST_ADDOPTS="--timeout 0 -o faulthandler_timeout=0".
"""

import os
import random
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from indexer.build import build
from indexer.config import Config
from indexer.errors import NoPublishedIndex
from indexer.maintenance import verify
from indexer.search import Searcher
from tests.conftest import small_config
from tests.processes import started

KILLS = int(os.environ.get("KILLS", "6"))
WITHIN = float(os.environ.get("KILL_WITHIN", "1.2"))
"""A build is killed within this many seconds; fewer mean more kills in one build."""

BATCH = 8
IN_FLIGHT = 8 * BATCH
"""How many images are encoded but not committed, at most: those of the batches that are encoded
while others are committed."""

BUILD = """
import os, sys
from indexer.machine import limit_spinning
limit_spinning()
import indexer.build.pipeline
from indexer.config import load_config
from indexer.encoders import open_encoder

images, store, log = sys.argv[1:]
config = load_config(None, {"dataset": {"root": images}, "store": store,
    "encoder": {"model": "efficientnet_lite0", "batch_size": 8}})
encoder = open_encoder(config.encoder)
encode = encoder.encode

def counted(images):
    with open(log, "a") as file:
        print(len(images), file=file, flush=True)
    return encode(images)

encoder.encode = counted
print("begins", flush=True)
indexer.build.pipeline.build(config, encoder)
"""


def answers(config: Config, files: list[Path]) -> list[list[tuple[str, float]]]:
    searcher = Searcher.open(config)
    return [
        sorted(
            (hit.image.key, round(hit.distance, 5))
            for hit in searcher.search_image(file.read_bytes(), k=10).hits
        )
        for file in files
    ]


def test_sigkill_at_random_moments(tmp_path: Path, photos: list[Path]) -> None:
    images = Path(os.environ.get("KILLED_IMAGES", tmp_path / "images"))
    if not images.is_dir():
        images.mkdir()
        for photo in photos[::4]:
            shutil.copy(photo, images / photo.name)
    files = sorted(images.rglob("*.jpg"))
    config = small_config(
        images, tmp_path / "s", encoder={"model": "efficientnet_lite0", "batch_size": BATCH}
    )
    log = tmp_path / "encoded"
    log.touch()
    choice = random.Random(7)  # noqa: S311 -- moments, not secrets
    kills = 0
    for _ in range(KILLS):
        with started(
            [sys.executable, "-c", BUILD, str(images), str(config.store), str(log)]
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begins\n"
            time.sleep(choice.uniform(0, WITHIN))
            process.send_signal(signal.SIGKILL)
            _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, -signal.SIGKILL), errors
        kills += process.returncode == -signal.SIGKILL
        with suppress(NoPublishedIndex):
            assert verify(config).problems == []
        if process.returncode == 0:  # it finished: start another store
            break
    report = build(config)
    assert (report.found, report.indexed) == (len(files), len(files))
    assert verify(config).problems == []
    encoded = sum(map(int, log.read_text().split())) + report.encoded
    assert encoded <= len(files) + kills * IN_FLIGHT
    clean = small_config(images, tmp_path / "clean")
    build(clean)
    assert answers(config, files[::9]) == answers(clean, files[::9])
    print(f"{kills} kills, {encoded} images encoded of {len(files)}")  # noqa: T201 -- with -s
