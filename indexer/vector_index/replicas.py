"""Asking the replicas of shards: which one is asked, what a late or failed one costs.

A replica that fails, or is slow, costs a question no more than :data:`HEDGE_SECONDS`: the next one
is asked.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from indexer.errors import ShardUnavailable
from indexer.executors.ray import ray
from indexer.store import Manifest
from indexer.vector_index.sharded import Shard

logger = logging.getLogger(__name__)

HEDGE_SECONDS = 0.5
"""After this time another replica is asked, too."""

ANSWER_SECONDS = 30.0
"""How long a search waits for a shard."""


class VersionName(NamedTuple):
    """What tells a version from others, those of another store at the same path included."""

    id: str
    created: str

    @classmethod
    def of(cls, manifest: Manifest) -> "VersionName":
        """Return the name of a version."""
        return cls(manifest.version, manifest.created.isoformat())


class Replica:
    """A replica of a shard, as those see it who ask it about one version."""

    def __init__(self, actor: Any, shard: int, number: int, version: VersionName) -> None:
        self._actor = actor
        self._version = version
        self.shard = shard
        self._name = f"Replica {number + 1} of shard {shard + 1}"
        self.is_ready = False
        """It has answered, and has not failed since."""
        self.is_slow = False
        """It has been slower than another one, and has not been probed since."""
        self.probe: Any = None
        """The answer to the last probe, if that is still awaited."""
        self._problem = ""

    def start(self, call: Callable[[Shard], Any]) -> Any:
        """Return a reference to the answer."""
        return self._actor.run.remote(self._version, call)

    def get(self, reference: Any) -> Any:
        """Return the answer that is ready. Raises :class:`ray.exceptions.RayError`."""
        version, answer = ray.get(reference)
        if version != self._version:
            raise ray.exceptions.RayError(f"{self._name} has answered for version {version}.")
        return answer

    def answered(self) -> None:
        """Note that it has answered a probe."""
        if self._problem:
            logger.warning("%s answers again for version %s.", self._name, self._version.id)
        self.is_ready, self.is_slow, self._problem = True, False, ""

    def failed(self, error: Exception) -> None:
        """Note that it does not answer; it is asked again once it has answered a probe."""
        kind, version = type(error).__name__, self._version.id
        if kind != self._problem:  # not again with each probe
            logger.warning("%s does not answer for version %s: %s", self._name, version, error)
        self.is_ready, self._problem = False, kind


class Question:
    """One call of all shards: which replicas are asked, and what they have answered.

    ``untried`` are the replicas of each shard in the order in which to ask them. One that is not
    ready is passed over, but may be asked later, when another one turns out to be late or lost.
    ``unavailable`` makes the error of some shards that have no replica that answers.
    """

    def __init__(
        self,
        call: Callable[[Shard], Any],
        untried: list[list[Replica]],
        unavailable: Callable[[Sequence[int]], ShardUnavailable],
    ) -> None:
        self._call = call
        self._untried = untried
        self._unavailable = unavailable
        self._asked: dict[Any, Replica] = {}
        """The replicas that have not answered yet, by the references to their answers."""
        self._answers: dict[int, Any] = {}

    def answers(self) -> list[Any]:
        """Return the answers of all shards, in order."""
        if missing := [shard for shard in self._waiting() if not self._ask_next(shard)]:
            raise self._unavailable(missing)
        now = time.monotonic()
        hedge_at, give_up_at = now + HEDGE_SECONDS, now + ANSWER_SECONDS
        while waiting := self._waiting():
            seconds = max(min(hedge_at, give_up_at) - time.monotonic(), 0)
            for reference in ray.wait(list(self._asked), timeout=seconds)[0]:
                self._take(reference)
            if time.monotonic() >= give_up_at:
                self._note_late_replicas()
                raise self._unavailable(waiting)
            if time.monotonic() >= hedge_at:
                hedge_at += HEDGE_SECONDS
                for shard in self._waiting():
                    self._ask_next(shard)
        for replica in self._asked.values():
            replica.is_slow = True  # another one has answered before it
        return [self._answers[shard] for shard in range(len(self._untried))]

    def _waiting(self) -> list[int]:
        return [shard for shard in range(len(self._untried)) if shard not in self._answers]

    def _ask_next(self, shard: int) -> bool:
        """Ask the next replica of a shard that is ready; return whether there was one."""
        while ready := [replica for replica in self._untried[shard] if replica.is_ready]:
            replica = ready[0]
            self._untried[shard].remove(replica)
            try:
                self._asked[replica.start(self._call)] = replica
            except ray.exceptions.RayError as error:
                replica.failed(error)
            else:
                return True
        return False

    def _take(self, reference: Any) -> None:
        """Keep the answer that is ready; if it is an error, ask another replica."""
        replica = self._asked.pop(reference)
        try:
            self._answers.setdefault(replica.shard, replica.get(reference))
        except ray.exceptions.RayError as error:
            is_of_call = isinstance(error, ray.exceptions.RayTaskError)
            if not is_of_call:
                replica.failed(error)
            if replica.shard in self._answers or self._ask_next(replica.shard):
                return
            if any(other.shard == replica.shard for other in self._asked.values()):
                return
            if is_of_call:
                raise error.cause from error
            raise self._unavailable([replica.shard]) from error

    def _note_late_replicas(self) -> None:
        for replica in self._asked.values():
            if replica.shard not in self._answers:
                replica.failed(TimeoutError(f"no answer in {ANSWER_SECONDS:.0f} seconds"))


def in_order(replicas: Sequence[Replica], turn: int) -> list[Replica]:
    """Return replicas in the order in which to ask: the next one in turn first, slow ones last."""
    first = turn % len(replicas)
    return sorted((*replicas[first:], *replicas[:first]), key=lambda replica: replica.is_slow)
