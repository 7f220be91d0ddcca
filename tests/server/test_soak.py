"""Load over minutes: every answer is documented, memory does not grow."""

import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

from indexer.build import build
from indexer.config import Config
from tests.conftest import small_config
from tests.server.processes import children, running_server
from tests.server.sockets import FORM

SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
"""``make soak`` takes minutes."""

MAX_GROWTH_BYTES = 32_000_000
"""In the minutes of ``make soak`` that is little more than 1 kB per request."""

JSON, UPLOAD = "application/json", "multipart/form-data; boundary=b"


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def something(chance: random.Random, images: list[bytes]) -> tuple[str, str, bytes, str]:
    """Return a random request that browsers or programs send: method, path, body, media type."""
    image = chance.choice(images)
    if chance.random() < 0.1:
        image = image[: chance.randrange(len(image))]
    known = chance.randint(1, 40)
    query = {"image_id": known, "k": 5, "collapse_duplicates": chance.random() < 0.5}
    batch = {"queries": [query, {"positives": [{"image_id": known}], "explain": True}]}
    return chance.choice(
        [
            ("POST", "/api/v1/search", json.dumps(query).encode(), JSON),
            ("POST", "/api/v1/search/batch", json.dumps(batch).encode(), JSON),
            ("POST", "/api/v1/search", FORM % image, UPLOAD),
            ("POST", "/api/v1/embed", FORM % image, UPLOAD),
            ("GET", f"/api/v1/images/{known}/thumbnail?side=96", b"", ""),
            ("GET", f"/?image_id={known}&page=2", b"", ""),
            ("GET", f"/export.zip?image_id={known}&count=3", b"", ""),
            ("GET", "/metrics", b"", ""),
        ]
    )


def test_memory_is_flat_under_load(tmp_path: Path, photos: list[Path]) -> None:
    """For all kinds of requests, with a new version now and then."""
    images = [photo.read_bytes() for photo in photos[:40]]
    folder = tmp_path / "images"
    folder.mkdir()
    for number, image in enumerate(images):
        (folder / f"{number:02d}.jpg").write_bytes(image)
    config = small_config(folder, tmp_path / "store")
    build(config)
    with running_server(config, "/readyz") as (process, port):
        (worker,) = children(process.pid)

        def client(seed: int, seconds: float) -> list[int]:
            chance = random.Random(seed)  # noqa: S311 -- what is asked for
            until, statuses = time.monotonic() + seconds, []
            while time.monotonic() < until:
                method, path, body, media_type = something(chance, images)
                connection = HTTPConnection("127.0.0.1", port, timeout=30)
                connection.request(method, path, body, {"Content-Type": media_type})
                response = connection.getresponse()
                response.read()
                statuses.append(response.status)
                connection.close()
            return statuses

        def run(seconds: float) -> list[int]:
            with ThreadPoolExecutor(6) as pool:
                asked = [pool.submit(client, seed, seconds) for seed in range(6)]
                publish(config, folder)
                return [status for own in asked for status in own.result()]

        seen = run(SECONDS / 2)  # warm: every thread, cache and buffer is there
        before = resident_bytes(worker)
        more = run(SECONDS)
        assert resident_bytes(worker) - before < MAX_GROWTH_BYTES, len(more)
        assert children(process.pid) == [worker]
        assert set(seen + more) <= {200, 400, 404, 415, 503}
        assert 200 in more


def publish(config: Config, folder: Path) -> None:
    """Publish another version: one image changes."""
    changed = folder / "00.jpg"
    changed.write_bytes(changed.read_bytes() + b"\0")
    build(config)
