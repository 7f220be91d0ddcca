"""The cluster of these tests: two nodes that can be killed and started again."""

import os
import signal
import subprocess
import sys

from tests.cluster.nodes import HEAD, SECOND, Cluster
from tests.waiting import eventually


def test_a_node_that_is_killed_is_missed_and_another_takes_its_place(cluster: Cluster) -> None:
    assert sorted(cluster.alive()) == [HEAD, SECOND]
    before = cluster.start_second()
    before.kill()
    assert before.processes() == []
    cluster.wait_for_nodes(1)
    cluster.start_second()
    assert sorted(cluster.alive()) == [HEAD, SECOND]


def test_actors_are_on_both_nodes_and_can_be_killed(connected: Cluster) -> None:
    import ray

    @ray.remote(num_cpus=1)
    class Sleeper:
        def process(self) -> tuple[str, int]:
            return ray.util.get_node_ip_address(), os.getpid()

    sleepers = [Sleeper.remote() for _ in range(2)]
    processes = dict(ray.get([sleeper.process.remote() for sleeper in sleepers]))
    assert sorted(processes) == [HEAD, SECOND]
    assert sorted(connected.processes("ray::Sleeper")) == sorted(processes.values())
    os.kill(processes[SECOND], signal.SIGKILL)
    eventually(lambda: connected.processes("ray::Sleeper") == [processes[HEAD]])


def test_nobody_joins_without_the_token(cluster: Cluster) -> None:
    code = f"import ray; ray.init({cluster.address!r})"
    variables = {**os.environ, "RAY_AUTH_TOKEN": "", "HOME": "/nonexistent"}
    driver = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, timeout=120
    )
    assert driver.returncode != 0
    assert "token" in driver.stderr
