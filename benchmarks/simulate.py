"""A cluster on paper: what its nodes hold, and how long searches of all shards take.

Sizes are measured bytes per image, multiplied. Latencies come from a simulation of events: queries
arrive at random, each asks one replica of every shard and ends with the slowest answer. A replica
does its requests in order, on its cores, in the measured time scaled to its rows. What takes long
may be hedged: another replica is asked as well. docs/scale.md says what is measured, what assumed.
"""

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np

MEASURED_ROWS = 118_287
OVERHEAD_MS = 1.2  # of a request over a kept connection, beside the search; measured
TAIL = 4.0  # the 99th percentile of a shard's times, in medians; measured on two busy cores
SECONDS = 60.0  # simulated
TRY_LIMIT_MS = 1000.0  # then another replica is asked, and the one without an answer rests

# Bytes of an image (VGG16, without metadata), measured.
DISK = {"vectors": 16_384, "shortlist": 2_157, "approximate": 299, "map": 9}
IN_MEMORY = 256 + 299 + 40  # what searches read of all: first bounds, codes in lists, ids and rows
CATALOGUE = 333 + 253  # the store's own and that of a version


class Search(NamedTuple):
    """How long a shard takes on one core, and in how many rounds."""

    name: str
    measured_ms: float
    growth: float  # the exponent of the rows: 0.5 for lists as many as their square root
    rounds: tuple[float, ...]  # shares of the work; the next begins when all shards have answered
    fixed_ms: float = 0.0  # what does not grow with the rows


APPROXIMATE = Search("approximate", 1.1, 0.5, (1.0,))
FROM_DISK = APPROXIMATE._replace(name="from disk", fixed_ms=256 * 0.09)  # candidates, one by one
EXACT = Search("exact", 13.0, 1.0, (0.4, 0.6))  # seeds, then what their k-th distance leaves


class Plan(NamedTuple):
    """A collection and its shards; every replica has a node of its own."""

    images: float
    shards: int
    replicas: int = 2
    cores: int = 16


class Load(NamedTuple):
    """What a cluster is asked, when requests are hedged, and when a node is lost for good."""

    per_second: float
    seconds: float
    hedge_ms: float | None = None
    lost_at: float | None = None


@dataclass
class Outcome:
    """When each query came and how long it took, in ms; what failed, and what was asked."""

    queries: list[tuple[float, float]] = field(default_factory=list)
    failed: int = 0
    requests: int = 0
    hedges: int = 0

    def percentile(self, percent: float, since_ms: float = 0.0) -> float:
        """Return a percentile of the latencies of the queries that came after a time."""
        latencies = [took for came, took in self.queries if came >= since_ms]
        return float(np.percentile(latencies, percent))


class Cluster:
    """Simulates the searches of a plan under a load. Times are in ms."""

    def __init__(self, plan: Plan, search: Search, load: Load, seed: int = 0) -> None:
        self.plan, self.search, self.load = plan, search, load
        self.resting: set[tuple[int, int]] = set()
        self.outcome = Outcome()
        self.free = np.zeros((plan.shards, plan.replicas, plan.cores)).tolist()  # each core: when
        self._random = np.random.default_rng(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers = itertools.count()

    def run(self) -> Outcome:
        """Let all queries arrive and be answered, or fail."""
        count = self._random.poisson(self.load.per_second * self.load.seconds)
        for came in self._random.uniform(0, self.load.seconds * 1000, count).tolist():
            self.at(came, _Round(self, came, 0).begin)
        while self._events:
            now, _, event = heapq.heappop(self._events)
            event(now)
        return self.outcome

    def at(self, time: float, event: Callable[[float], None]) -> None:
        """Let something happen at a time, which it is called with."""
        heapq.heappush(self._events, (time, next(self._numbers), event))

    def work(self, shard: int, replica: int, share: float, now: float) -> float | None:
        """Occupy the core of a replica that is free first; return when it is done, None if gone."""
        lost_at = self.load.lost_at
        if lost_at is not None and shard == replica == 0 and now >= lost_at * 1000:
            return None
        spread = np.exp(self._random.normal(0, np.log(TAIL) / 2.326))
        cores = self.free[shard][replica]
        done = max(now, cores[0]) + share * median_ms(self.plan, self.search) * float(spread)
        heapq.heapreplace(cores, done)
        return done


class _Round:
    """One question of a query to all shards."""

    def __init__(self, cluster: Cluster, came: float, number: int) -> None:
        self._cluster, self._came, self._number = cluster, came, number
        self._missing = set(range(cluster.plan.shards))

    def begin(self, now: float) -> None:
        for shard in range(self._cluster.plan.shards):
            self._ask(shard, None, now)

    def _ask(self, shard: int, asked: int | None, now: float) -> None:
        """Ask the replica of a shard that is free first, but not the one that was asked before."""
        cluster, replicas = self._cluster, range(self._cluster.plan.replicas)
        able = [r for r in replicas if r != asked and (shard, r) not in cluster.resting]
        if not able or shard not in self._missing:
            cluster.outcome.failed += asked is None and shard in self._missing
            return
        replica = min(able, key=lambda r: cluster.free[shard][r][0])
        cluster.outcome.requests += 1
        cluster.outcome.hedges += asked is not None
        done = cluster.work(shard, replica, cluster.search.rounds[self._number], now)
        if done is None:
            cluster.at(now + TRY_LIMIT_MS, partial(self._give_up, shard, replica))
        else:
            cluster.at(done + OVERHEAD_MS, partial(self._answered, shard))
        if cluster.load.hedge_ms is not None and asked is None:
            cluster.at(now + cluster.load.hedge_ms, partial(self._ask, shard, replica))

    def _give_up(self, shard: int, replica: int, now: float) -> None:
        self._cluster.resting.add((shard, replica))
        self._ask(shard, None, now)

    def _answered(self, shard: int, now: float) -> None:
        """When all shards have answered, begin the next round or end the query."""
        was_last = self._missing == {shard}
        self._missing.discard(shard)
        if was_last and self._number + 1 < len(self._cluster.search.rounds):
            _Round(self._cluster, self._came, self._number + 1).begin(now)
        elif was_last:
            self._cluster.outcome.queries.append((self._came, now - self._came))


def median_ms(plan: Plan, search: Search) -> float:
    """Return the median time of one shard of a plan on one core."""
    growth: float = (plan.images / plan.shards / MEASURED_ROWS) ** search.growth
    return search.fixed_ms + search.measured_ms * growth


PLANS = (Plan(1e7, 2), Plan(1e8, 16), Plan(1e9, 128))


def main() -> None:
    """Print what the nodes of each plan hold, and its latencies."""
    print("images  shards  rows/shard  disk TB  TB/node  memory GB/node  catalogue GB")
    for plan in PLANS:
        rows, disk = plan.images / plan.shards, sum(DISK.values())
        print(
            f"{plan.images:6.0e}  {plan.shards:6}  {rows:10.2e}  {plan.images * disk / 1e12:7.2f}"
            f"  {rows * disk / 1e12:7.3f}  {rows * IN_MEMORY / 1e9:14.1f}"
            f"  {plan.images * CATALOGUE / 1e9:12.1f}"
        )
    print(
        "\nsearch       images  queries/s  hedge    p50    p99  p99.9  node lost: p99, max  failed"
    )
    for plan in PLANS:
        report(plan, APPROXIMATE, 50.0)
        report(plan, FROM_DISK, 50.0)
    for plan in PLANS[:2]:
        report(plan, EXACT, 5.0)


def report(plan: Plan, search: Search, per_second: float) -> None:
    """Print the latencies of a plan in ms, without hedging and with it, and with a node lost."""
    for hedge in (None, 3 * median_ms(plan, search) * max(search.rounds) + OVERHEAD_MS):
        load = Load(per_second, SECONDS, hedge)
        usual = Cluster(plan, search, load).run()
        lost = Cluster(plan, search, load._replace(lost_at=SECONDS / 2)).run()
        times = [usual.percentile(percent) for percent in (50, 99, 99.9)]
        times += [lost.percentile(percent, SECONDS * 500) for percent in (99, 100)]
        print(
            f"{search.name:11}  {plan.images:6.0e}  {per_second:9.0f}  {hedge or 0:5.0f}"
            + "".join(f"  {time:5.0f}" for time in times)
            + f"  {usual.failed + lost.failed}, {usual.hedges / usual.requests:.1%} hedged"
        )


if __name__ == "__main__":
    main()
