"""Reading a version from many threads at once: every row is the requested one."""

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from indexer.errors import StoreCorrupt
from indexer.store import NewImage, Range, Store, Version, open_writer
from indexer.store.connections import MAX_IDLE
from indexer.vector_index import flat_file
from tests.stores import DIM, publish
from tests.vectors import some_vectors

IMAGES = 2000
THREADS = 16
READS = 600


@pytest.fixture
def version(store: Store) -> Version:
    """A version with many different rows, in two layers."""
    with open_writer(store) as writer:
        for start in (0, IMAGES - 100):
            names = range(start, min(start + IMAGES - 100, IMAGES))
            images = [
                NewImage(f"{n:06}.jpg", n, n, f"{n:064}", "JPEG", n, n, {"n": n}) for n in names
            ]
            vectors = flat_file(some_vectors(len(images), dim=DIM))
            writer.commit(images, vectors, [], dim=DIM, fingerprint="e1")
            version = publish(writer)
    assert len(version.manifest.layers) == 2
    return version


def wrong_reads(version: Version, seed: int) -> int:
    """How many of many reads return another row than the requested one, or none."""
    choice, wrong, catalogue = random.Random(seed), 0, version.catalogue  # noqa: S311
    for number in range(READS):
        wanted = choice.randrange(IMAGES)
        match number % 4:
            case 0:
                row = catalogue.get(wanted + 1)
                found = row and [row]
            case 1:
                some = [wanted, (wanted + 7) % IMAGES]
                by_id = catalogue.get_many(n + 1 for n in some)
                wrong += sorted(by_id) != sorted({n + 1 for n in some})
                found = list(by_id.values())
            case 2:
                found = catalogue.page_by_key("indexed", offset=wanted, limit=1)
                wrong += [row.size for row in found] != [wanted]
            case _:
                ids = catalogue.metadata.ids("n", [Range("number", wanted, wanted)])
                wrong += ids.tolist() != [wanted + 1]
                found = []
        if found is None:
            wrong += 1
            continue
        wrong += any(row != expected(row.id - 1, row.id) for row in found)
    return wrong


def expected(n: int, image_id: int) -> object:
    from indexer.store import ImageRow

    return ImageRow(
        f"{n:06}.jpg", n, n, f"{n:064}", "JPEG", n, n, {"n": n}, id=image_id
    )  # fmt: skip


def in_threads(work: Callable[[int], int]) -> list[int]:
    """What ``work`` returns in each of the threads, which start together."""
    barrier = threading.Barrier(THREADS, timeout=60)

    def begin(number: int) -> int:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


def test_sixteen_threads_read_one_version_and_every_row_is_right(version: Version) -> None:
    assert in_threads(lambda seed: wrong_reads(version, seed)) == [0] * THREADS
    assert len(version.catalogue._pool._idle) <= MAX_IDLE


def test_threads_can_still_read_after_the_files_are_removed(version: Version) -> None:
    """A server may keep a version open for longer than the store keeps it."""
    shutil.rmtree(version.folder.parents[1])
    assert in_threads(lambda seed: wrong_reads(version, seed)) == [0] * THREADS


def test_a_read_does_not_wait_if_no_connection_is_in_use(version: Version) -> None:
    catalogue = version.catalogue
    with ThreadPoolExecutor(2) as pool:
        with catalogue._pool.connection():
            shutil.rmtree(version.folder.parents[1])
            waiting = [pool.submit(catalogue.get, image_id) for image_id in (1, 2)]
        found = [each.result(60) for each in waiting]
    assert found == [expected(0, 1), expected(1, 2)]
    catalogue.close()
    catalogue._pool._idle.clear()
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        catalogue.get(1)


def test_a_connection_that_fails_is_not_waited_for(version: Version) -> None:
    """Whatever the error: the connection was never in use."""
    pool = version.catalogue._pool
    failures = iter([StoreCorrupt("another format"), sqlite3.OperationalError("gone")])

    def fail() -> sqlite3.Connection:
        raise next(failures)

    pool.close()
    pool._idle.clear()
    pool.connect = fail
    with pytest.raises(StoreCorrupt, match="another format"):
        version.catalogue.get(1)
    with pytest.raises(StoreCorrupt, match="gone"):
        version.catalogue.get(1)


def test_a_long_read_delays_no_other(version: Version) -> None:
    with version.catalogue._pool.connection() as busy:
        endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
        rows = busy.execute(endless)
        next(rows)
        assert version.catalogue.get(1) == expected(0, 1)
        rows.close()


def test_what_cannot_be_opened_is_an_error_at_once(store: Store) -> None:
    from indexer.store.own_catalogue import OwnCatalogue

    store.folder.mkdir()
    with pytest.raises(StoreCorrupt, match="cannot be opened"):
        OwnCatalogue.open(store.catalogue)
