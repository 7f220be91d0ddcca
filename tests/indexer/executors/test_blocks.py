"""Who gets which block: order, lost workers, and tasks that no worker survives."""

import random
from collections.abc import Iterator, Sequence

import pytest

from indexer.errors import ClusterUnavailable
from indexer.executors import blocks as module
from indexer.executors.blocks import (
    AT_ONCE,
    BLOCK_SECONDS,
    HELD_BYTES,
    LARGEST,
    LOSSES,
    SMALLEST,
    Block,
    Blocks,
    Share,
    share_of,
)

Given = tuple[str, Block[int, str]]


def failed(tasks: Sequence[int]) -> list[str]:
    return [f"{task} failed" for task in tasks]


def blocks_of(count: int, *workers: str) -> Blocks[int, str, str]:
    blocks = Blocks[int, str, str](range(count), count, failed)
    for worker in workers:
        blocks.join(worker)
    return blocks


def all_given(blocks: Blocks[int, str, str]) -> Iterator[Given]:
    """Give out what can be given now."""
    while given := blocks.give():
        yield given


def finish(blocks: Blocks[int, str, str], given: Given, size: int = 1, slow: bool = True) -> None:
    worker, block = given
    results = [str(task) for task in block.tasks]
    blocks.finish(worker, block, results, size, BLOCK_SECONDS if slow else 0)


def test_results_come_in_order_whoever_is_first() -> None:
    blocks = blocks_of(4 * SMALLEST, "a", "b")
    given = list(all_given(blocks))
    assert [worker for worker, _ in given] == ["a", "b", "a", "b"]
    for later in reversed(given[1:]):
        finish(blocks, later)
        assert list(blocks.ready()) == []
    finish(blocks, given[0])
    assert list(blocks.ready()) == [str(task) for task in range(4 * SMALLEST)]
    assert blocks.is_done


def test_a_worker_has_few_blocks_at_once() -> None:
    blocks = blocks_of(100 * SMALLEST, "a")
    first, *rest = all_given(blocks)
    assert len(rest) == AT_ONCE - 1
    finish(blocks, first)
    assert len(list(all_given(blocks))) == 1


def test_nobody_gets_anything_before_a_worker_joins() -> None:
    blocks = blocks_of(1)
    assert blocks.give() is None
    blocks.join("a")
    assert blocks.give() is not None


def test_blocks_grow_while_they_are_done_quickly() -> None:
    blocks = blocks_of(100 * LARGEST, "a")
    lengths = []
    for _ in range(40):
        given = blocks.give()
        assert given
        lengths.append(len(given[1].tasks))
        finish(blocks, given, slow=False)
    assert lengths[:3] == [SMALLEST, 2 * SMALLEST, 4 * SMALLEST]
    assert max(lengths) == lengths[-1] == LARGEST


def test_blocks_stay_small_if_they_take_long() -> None:
    blocks = blocks_of(100 * SMALLEST, "a")
    for _ in range(10):
        given = blocks.give()
        assert given
        assert len(given[1].tasks) == SMALLEST
        finish(blocks, given)


def test_what_a_lost_worker_had_is_given_out_first() -> None:
    blocks = blocks_of(10 * SMALLEST, "a", "b")
    given = list(all_given(blocks))
    blocks.lose("a")
    assert (blocks.workers, blocks.repeated) == (1, 2 * SMALLEST)
    blocks.lose("a")  # it is gone already
    assert blocks.repeated == 2 * SMALLEST
    blocks.join("c")
    suspected, waiting = (block for worker, block in given if worker == "a")
    assert list(all_given(blocks)) == [("c", suspected)]
    finish(blocks, ("c", suspected))
    assert next(all_given(blocks)) == ("c", waiting)


def test_only_the_block_that_a_lost_worker_worked_on_is_suspected() -> None:
    blocks = blocks_of(10 * SMALLEST, "a")
    worked_on, waiting = all_given(blocks)
    blocks.lose("a")
    assert (worked_on[1].losses, waiting[1].losses) == (1, 0)


def test_a_suspected_block_is_the_only_one_of_its_worker() -> None:
    blocks = blocks_of(10 * SMALLEST, "a")
    suspected, _ = (block for _, block in all_given(blocks))
    blocks.lose("a")
    blocks.join("b")
    assert [block for _, block in all_given(blocks)] == [suspected]
    finish(blocks, ("b", suspected))
    assert len(list(all_given(blocks))) == AT_ONCE


def test_a_suspected_block_waits_for_a_worker_without_others() -> None:
    blocks = blocks_of(10 * SMALLEST, "a", "b")
    given = list(all_given(blocks))
    blocks.lose("a")
    assert blocks.give() is None
    for worker, block in given:
        if worker == "b":
            finish(blocks, (worker, block))
    assert blocks.give() == ("b", given[0][1])


def test_results_lost_with_their_worker_fail_nothing() -> None:
    """The first block was done, but its worker died of the second before it could say so."""
    results, workers = list[str](), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SMALLEST", 1)
        blocks = Blocks[int, str, str](range(2), 2, failed)
        while not blocks.is_done:
            blocks.join("a")
            workers += 1
            given = list(all_given(blocks))
            if any(block.tasks == [1] for _, block in given):
                blocks.lose("a")
            else:
                for some in given:
                    finish(blocks, some)
            results += blocks.ready()
    assert results == ["0", "1 failed"]
    assert workers == 2 + LOSSES


@pytest.mark.parametrize("poison", [0, 17, SMALLEST - 1, SMALLEST])
def test_a_task_that_no_worker_survives_has_failed_and_its_neighbours_have_not(
    poison: int,
) -> None:
    count = 3 * SMALLEST
    blocks = blocks_of(count)
    losses, results, tries = 0, [], 0
    while not blocks.is_done:
        blocks.join("a")
        for given in all_given(blocks):
            if poison in given[1].tasks:
                tries += len(given[1].tasks) == 1
                blocks.lose("a")
                losses += 1
                break
            finish(blocks, given)
        results += blocks.ready()
    expected = [str(task) for task in range(count)]
    expected[poison] = f"{poison} failed"
    assert results == expected
    assert tries == LOSSES
    halvings = SMALLEST.bit_length() - 1
    assert losses == LOSSES + (halvings - 1) + LOSSES


def test_a_single_loss_fails_nothing() -> None:
    blocks = blocks_of(1)
    for _ in range(LOSSES - 1):
        blocks.join("a")
        assert blocks.give()
        blocks.lose("a")
    blocks.join("a")
    given = blocks.give()
    assert given
    finish(blocks, given)
    assert list(blocks.ready()) == ["0"]


@pytest.mark.parametrize("seed", range(20))
def test_every_task_has_one_result_whoever_is_lost(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALLEST", 4)
    choice = random.Random(seed)  # noqa: S311 -- no secret
    count = 200
    blocks = blocks_of(count, "a", "b", "c")
    given, results, lost = list[Given](), list[str](), 0
    while not blocks.is_done:
        given += all_given(blocks)
        if choice.random() < 0.2:
            worker = choice.choice("abc")
            blocks.lose(worker)
            lost += 1
            given = [(other, block) for other, block in given if other != worker]
            blocks.join(worker)
        elif given:
            finish(blocks, given.pop(choice.randrange(len(given))), slow=choice.random() < 0.5)
        results += blocks.ready()
    assert lost > 0
    assert [result.removesuffix(" failed") for result in results] == list(map(str, range(count)))


def test_results_that_wait_for_an_earlier_block_are_bounded() -> None:
    blocks = blocks_of(100 * SMALLEST, "a", "b")
    first, *rest = all_given(blocks)
    for later in rest:
        finish(blocks, later, size=HELD_BYTES)
    assert blocks.give() is None
    blocks.lose("a")  # which has the first block: it is given out in spite of that
    assert [block for _, block in all_given(blocks)] == [first[1]]
    finish(blocks, ("b", first[1]))
    assert len(list(blocks.ready())) == 4 * SMALLEST
    assert blocks.give() is not None


def test_losses_count_in_a_row_until_a_block_is_done() -> None:
    blocks = blocks_of(100 * SMALLEST)
    for losses in (1, 2):
        blocks.join("a")
        blocks.lose("a")
        assert blocks.losses_in_a_row == losses
    blocks.join("a")
    given = blocks.give()
    assert given
    finish(blocks, given)
    assert blocks.losses_in_a_row == 0


def test_no_more_workers_are_wanted_than_have_something_to_do() -> None:
    assert blocks_of(0).workers_wanted(9) == 0
    assert blocks_of(1).workers_wanted(9) == 1
    blocks = blocks_of(3 * SMALLEST)
    assert (blocks.workers_wanted(2), blocks.workers_wanted(9)) == (2, 3)
    blocks.join("a")
    for given in list(all_given(blocks)):
        assert blocks.workers_wanted(9) == 2
        finish(blocks, given)


@pytest.mark.parametrize(
    ("nodes", "share"),
    [
        ([(1, 0), (1, 0)], Share(2, 1, 0)),
        ([(16, 0), (16, 0)], Share(8, 4, 0)),
        ([(2, 0), (16, 0)], Share(4, 4, 0)),  # the small one is left alone
        ([(16, 1), (64, 8)], Share(9, 8, 1)),
        ([(16, 0), (16, 2)], Share(2, 8, 1)),  # GPUs are worth more than cores
        ([(0, 1), (6, 0)], Share(1, 4, 0)),  # a GPU without cores to feed it
    ],
)
def test_workers_are_planned_from_the_nodes(nodes: list[tuple[int, int]], share: Share) -> None:
    assert share_of(nodes) == share
    assert share_of(nodes, share.workers + 1) == share
    assert share_of(nodes, 1) == share._replace(workers=1)


def test_a_cluster_without_cores_is_refused() -> None:
    with pytest.raises(ClusterUnavailable, match="No node"):
        share_of([(0, 0)])
