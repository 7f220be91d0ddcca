"""The cluster on paper obeys the arithmetic that can be done by hand."""

import pytest

from benchmarks.simulate import (
    OVERHEAD_MS,
    TRY_LIMIT_MS,
    Cluster,
    Load,
    Outcome,
    Plan,
    Search,
    median_ms,
)

ROWS = 118_287.0
TEN = Search("ten", 10.0, 1.0, (1.0,))
QUIET = Load(per_second=5, seconds=200)


def simulated(plan: Plan, load: Load = QUIET, search: Search = TEN) -> Outcome:
    return Cluster(plan, search, load).run()


def test_one_quiet_shard_takes_the_measured_time_and_that_of_a_request() -> None:
    found = simulated(Plan(ROWS, 1))
    assert found.percentile(50) == pytest.approx(10 + OVERHEAD_MS, rel=0.05)
    assert found.percentile(99) == pytest.approx(4 * 10 + OVERHEAD_MS, rel=0.2)
    assert found.requests == len(found.queries) == pytest.approx(1000, rel=0.15)


def test_the_time_grows_with_the_rows_of_a_shard() -> None:
    lists = TEN._replace(growth=0.5)
    assert median_ms(Plan(16 * ROWS, 4), TEN) == pytest.approx(40)
    assert median_ms(Plan(16 * ROWS, 4), lists) == pytest.approx(20)


def test_a_query_takes_as_long_as_the_slowest_shard_of_each_round() -> None:
    one, many = (simulated(Plan(shards * ROWS, shards)).percentile(50) for shards in (1, 32))
    assert many > 2 * one
    rounds = TEN._replace(rounds=(0.5, 0.5))
    found = simulated(Plan(ROWS, 1), search=rounds)
    assert found.requests == 2 * len(found.queries)
    assert found.percentile(50) > 10 + 2 * OVERHEAD_MS


def test_requests_wait_for_a_core() -> None:
    busy = Load(per_second=120, seconds=20)
    few, more = (simulated(Plan(ROWS, 1, 1, cores), busy).percentile(50) for cores in (1, 4))
    assert few > 10 * more, "120 searches a second of at least 10 ms are more than a core can do"


def test_hedging_shortens_the_tail_and_asks_a_little_more() -> None:
    plan = Plan(16 * ROWS, 16)
    without, hedged = (simulated(plan, QUIET._replace(hedge_ms=hedge)) for hedge in (None, 30.0))
    assert without.hedges == 0
    assert hedged.percentile(99) < 0.9 * without.percentile(99)
    assert 0.005 < hedged.hedges / hedged.requests < 0.1


@pytest.mark.parametrize(("hedge", "longest"), [(None, TRY_LIMIT_MS + 100), (30.0, 150)])
def test_a_lost_node_costs_the_limit_of_a_try_or_a_hedge_but_no_answer(
    hedge: float | None, longest: float
) -> None:
    load = QUIET._replace(hedge_ms=hedge, lost_at=100.0)
    found = simulated(Plan(4 * ROWS, 4), load)
    assert found.failed == 0
    assert found.percentile(100, 100_000) < longest
    assert found.percentile(50, 105_000) == pytest.approx(found.percentile(50), rel=0.1)


def test_without_another_replica_every_query_after_the_loss_fails() -> None:
    load = QUIET._replace(lost_at=100.0)
    found = simulated(Plan(4 * ROWS, 4, replicas=1), load)
    assert found.failed == pytest.approx(500, rel=0.2)
    assert max(came for came, _ in found.queries) < 100_000
