"""Two real nodes of Ray. ``make test-cluster`` runs these tests; otherwise they are skipped."""

import os
from collections.abc import Iterator

import pytest

from tests.cluster.nodes import Cluster, environment


@pytest.fixture(scope="session", autouse=True)
def _in_the_cluster_stage() -> None:
    if not os.environ.get("TEST_CLUSTER"):
        pytest.skip("tests of clusters run by `make test-cluster`")


@pytest.fixture(scope="session")
def nodes(_a_cache_of_its_own: None) -> Iterator[Cluster]:
    """The cluster of all tests. A test uses :func:`cluster`, in which both nodes run."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment().items():
            patch.setenv(name, value)
        cluster = Cluster()
        try:
            cluster.start_second()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture
def cluster(nodes: Cluster) -> Cluster:
    """A cluster of two nodes with a core each. A test may kill the second, and any actor."""
    nodes.start_second()
    return nodes


@pytest.fixture
def connected(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster, and this process connected to it."""
    import ray

    ray.init(cluster.address, log_to_driver=False, logging_level="error")
    yield cluster
    ray.shutdown()
