"""Load for a while: every answer as documented, memory as it was."""

import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from indexer.config import Config
from tests.server.processes import children, running_server
from tests.server.test_worker import ask, upload

SECONDS = float(os.environ.get("SOAK_SECONDS", "6"))
"""``make soak`` takes minutes."""

MAX_GROWTH_BYTES = 64_000_000


def resident_bytes(pid: int) -> int:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_memory_is_flat_under_load(demo_config: Config, photos: list[Path]) -> None:
    images = [photo.read_bytes() for photo in photos[:40]]
    with running_server(demo_config, "/readyz") as (process, port):
        (worker,) = children(process.pid)

        def client(seed: int, seconds: float) -> set[int]:
            chance, statuses = random.Random(seed), set()  # noqa: S311
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                image = chance.choice(images)
                upload_it = chance.random() < 0.3
                bad = image[: chance.randrange(len(image))] if chance.random() < 0.1 else image
                statuses.add((upload(port, bad) if upload_it else ask(port))[0])
            return statuses

        def run(seconds: float) -> set[int]:
            with ThreadPoolExecutor(6) as pool:
                return set().union(*pool.map(client, range(6), [seconds] * 6))

        seen = run(SECONDS / 2)  # warm: every thread, cache and buffer is there
        before = resident_bytes(worker)
        seen |= run(SECONDS)
        assert resident_bytes(worker) - before < MAX_GROWTH_BYTES
        assert children(process.pid) == [worker]
        assert seen <= {200, 400, 415, 503}
        assert 200 in seen
