"""Batches of work of many threads: in order, none lost or mixed up, without delay."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest

import indexer.search.query_encoder
from indexer.config import EncoderConfig
from indexer.encoders import Encoder, open_encoder
from indexer.images import decode, model_input
from indexer.search.batching import Batcher
from indexer.search.query_encoder import encoding_batcher
from tests.conftest import DEMO_IMAGES
from tests.waiting import eventually


class Held:
    """Work that can be blocked, and records its batches."""

    def __init__(self) -> None:
        self.go, self.begun = threading.Event(), threading.Event()
        self.batches: list[list[int]] = []
        self.threads: list[int] = []
        self.most: int | None = None
        self.go.set()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.begun.set()
        self.go.wait(30)
        self.batches.append(list(items))
        self.threads.append(threading.get_ident())
        if items[0] < 0:
            raise ValueError("negative")
        return [item * item for item in items][: self.most]


def wait_for(batcher: Batcher[int, int], waiting: int) -> None:
    eventually(lambda: batcher.waiting >= waiting)
    assert batcher.waiting == waiting


def test_waiting_calls_are_batched_in_order_and_get_their_own_results() -> None:
    work = Held()
    batcher = Batcher(work, limit=4)
    work.go.clear()
    with ThreadPoolExecutor(9) as pool:
        futures = []
        for item in range(9):
            futures.append(pool.submit(batcher.run, [item]))
            assert work.begun.wait(30)
            wait_for(batcher, item)
        work.go.set()
        assert [future.result(30) for future in futures] == [[n * n] for n in range(9)]
    assert work.batches == [[0], [1, 2, 3, 4], [5, 6, 7, 8]]
    assert batcher.sizes == {1: 1, 4: 2}
    assert batcher.waiting == 0


def test_a_single_call_runs_at_once_in_its_own_thread() -> None:
    work = Held()
    batcher = Batcher(work, limit=32)
    assert [batcher.run([item]) for item in range(3)] == [[0], [1], [4]]
    assert batcher.sizes == {1: 3}
    assert set(work.threads) == {threading.get_ident()}


def test_the_items_of_one_call_stay_together_even_beyond_the_limit() -> None:
    work = Held()
    batcher = Batcher(work, limit=4)
    work.go.clear()
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(batcher.run, [0])]
        assert work.begun.wait(30)
        for number, items in enumerate(([1, 2, 3], [4, 5], [6] * 6)):
            futures.append(pool.submit(batcher.run, items))
            wait_for(batcher, (3, 5, 11)[number])
        work.go.set()
        assert [len(future.result(30)) for future in futures] == [1, 3, 2, 6]
    assert work.batches == [[0], [1, 2, 3], [4, 5], [6] * 6]


def test_an_error_is_raised_in_the_calls_of_its_batch_only() -> None:
    batcher = Batcher(Held(), limit=1)
    with pytest.raises(ValueError, match="negative"):
        batcher.run([-1])
    assert batcher.run([3]) == [9]


@pytest.mark.parametrize("most", [0, 1])
def test_too_few_results_are_an_error_for_the_whole_batch(most: int) -> None:
    work = Held()
    batcher = Batcher(work, limit=4)
    work.go.clear()
    work.most = most
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(batcher.run, [0])
        assert work.begun.wait(30)
        others = [pool.submit(batcher.run, [item]) for item in (1, 2)]
        wait_for(batcher, 2)
        work.go.set()
        for future in others if most else [first, *others]:
            with pytest.raises(ValueError, match=f"items have {most} results"):
                future.result(timeout=30)
    work.most = None
    assert batcher.run([3]) == [9]


def test_nothing_is_lost_between_many_threads() -> None:
    batcher = Batcher(lambda items: [item * item for item in items], limit=5)
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda n: batcher.run([n, -n]), range(2000)))
    assert results == [[n * n, n * n] for n in range(2000)]
    assert sum(size * count for size, count in batcher.sizes.items()) == 4000


@contextmanager
def interrupt_after(steps: Callable[[], None]) -> Iterator[None]:
    """Interrupt the main thread, as Ctrl-C does, once another thread has done some steps."""

    def interrupt() -> None:
        steps()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    handler = signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest-xdist ignores it
    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            yield
    finally:
        thread.join()
        signal.signal(signal.SIGINT, handler)


def test_an_interrupted_call_leaves_the_queue() -> None:
    work = Held()
    batcher = Batcher(work, limit=4)
    work.go.clear()
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batcher.run, [1])
        assert work.begun.wait(30)
        with interrupt_after(lambda: wait_for(batcher, 1)):
            batcher.run([2])
        last = pool.submit(batcher.run, [3])
        wait_for(batcher, 1)
        work.go.set()
        assert (first.result(30), last.result(30)) == ([1], [9])
    assert work.batches == [[1], [3]]
    assert batcher.run([4]) == [16]


def test_an_interrupted_batch_is_done_again_for_its_other_calls() -> None:
    first_begun, go, main_begun = threading.Event(), threading.Event(), threading.Event()
    batches: list[list[int]] = []

    def work(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        if items[0] == 1:
            first_begun.set()
            go.wait(30)
        if items[0] == 2:
            main_begun.set()
            threading.Event().wait(30)  # until it is interrupted
        return [item * item for item in items]

    batcher = Batcher(work, limit=4)
    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(batcher.run, [1])]
        assert first_begun.wait(30)

        def queue_two_behind_the_main_thread() -> None:
            for item in (3, 4):
                wait_for(batcher, item - 2)
                futures.append(pool.submit(batcher.run, [item]))
            wait_for(batcher, 3)
            go.set()
            assert main_begun.wait(30)

        with interrupt_after(queue_two_behind_the_main_thread):
            batcher.run([2])
        assert [future.result(30) for future in futures] == [[1], [9], [16]]
    assert batches == [[1], [2, 3, 4], [3, 4]]
    assert batcher.run([5]) == [25]


@pytest.fixture
def encoder() -> Encoder:
    return open_encoder(EncoderConfig(model="efficientnet_lite0", batch_size=8))


@pytest.mark.parametrize(("second", "limit"), [(1.4, 8), (1.6, 1)])
def test_images_are_batched_if_two_take_less_than_one_and_a_half_times_one(
    encoder: Encoder, second: float, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = {1: 1.0, 2: second}
    monkeypatch.setattr(indexer.search.query_encoder, "_seconds", lambda _, count: times[count])
    assert encoding_batcher(encoder).limit == limit


def test_each_image_gets_its_own_vector(encoder: Encoder) -> None:
    photos = sorted(DEMO_IMAGES.rglob("*.jpg"))[:9]
    pixels = [model_input(decode(photo.read_bytes(), max_pixels=10**8)) for photo in photos]
    batcher = encoding_batcher(encoder)
    with ThreadPoolExecutor(9) as pool:
        vectors = [found[0] for found in pool.map(lambda one: batcher.run([one]), pixels)]
    assert np.abs(np.stack(vectors) - encoder.encode(np.stack(pixels))).max() < 1e-5
