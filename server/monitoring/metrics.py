"""Metrics for Prometheus: durations of requests and of stages of searches, and the index.

The server is one process, so the counters are in its memory. Each application has its own registry.
"""

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_openapi import APIBlueprint
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Gauge,
    Histogram,
    generate_latest,
)
from prometheus_client.core import (
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from indexer.search import Batcher
from server.admission.capacity import Capacity
from server.api.openapi import OPERATIONS, SECURITY
from server.current_index import CurrentIndex
from server.errors import error_responses
from server.monitoring.logs import call_when_complete

blueprint = APIBlueprint("metrics", __name__, abp_security=SECURITY)

BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGES = ("decode", "encode", "search")


class Metrics:
    """The metrics of one application."""

    def __init__(self, index: CurrentIndex) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "lookalike_request_seconds",
            "Time from the request's first handler until its answer is complete.",
            ("method", "route", "status"),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self.stages = Histogram(
            "lookalike_stage_seconds",
            "Time of one stage of a search, including waiting.",
            ("stage",),
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        for stage in STAGES:
            self.stages.labels(stage)  # exported from the start, as 0
        self.registry.register(IndexCollector(index))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def observe(self, timings_ms: Mapping[str, float]) -> None:
        """Record the stages of a search, in milliseconds, except those it did not have."""
        for stage in STAGES:
            if timings_ms.get(stage):
                self.stages.labels(stage).observe(timings_ms[stage] / 1000)


class IndexCollector(Collector):
    """Collects the metrics of the current index, if there is one."""

    def __init__(self, index: CurrentIndex) -> None:
        self._index = index

    def collect(self) -> Iterable[Metric]:
        """Yield readiness, version, counts, batches and the promised recall."""
        searcher = self._index.opened
        ready = searcher is not None and searcher.encoder_is_loaded and searcher.problem() is None
        yield GaugeMetricFamily(
            "lookalike_ready", "1 if every kind of query can be answered.", float(ready)
        )
        if searcher is None:
            return
        info = searcher.info
        labels = {"version": info.version, "encoder": info.encoder.fingerprint}
        yield InfoMetricFamily("lookalike_index", "The version in use.", labels)
        version = float(info.version)
        yield GaugeMetricFamily(
            "lookalike_index_version", "The version in use as a number.", version
        )
        yield GaugeMetricFamily(
            "lookalike_vectors", "Images in the index.", float(info.counts.indexed)
        )
        yield GaugeMetricFamily(
            "lookalike_skipped_files",
            "Files that could not be indexed.",
            float(info.counts.skipped),
        )
        if searcher.ready_replicas:
            replicas = GaugeMetricFamily(
                "lookalike_shard_replicas", "Replicas of a shard that answer.", labels=["shard"]
            )
            for number, ready_replicas in enumerate(searcher.ready_replicas, 1):
                replicas.add_metric([str(number)], float(ready_replicas))
            yield replicas
        yield _batch_sizes(
            "lookalike_search_batch_queries",
            "Exact searches that run together.",
            searcher.search_batcher,
        )
        if searcher.encode_batcher:
            yield _batch_sizes(
                "lookalike_encode_batch_images", "Images encoded together.", searcher.encode_batcher
            )
            yield GaugeMetricFamily(
                "lookalike_encode_waiting",
                "Images waiting for the encoder.",
                float(searcher.encode_batcher.waiting),
            )
        if info.promise:
            yield GaugeMetricFamily(
                "lookalike_recall",
                "Recall@30 of approximate search: lower end of the 95 % confidence interval.",
                info.promise.point.recall,
            )
            yield GaugeMetricFamily(
                "lookalike_recall_wanted", "The setting index.recall.", info.promise.wanted
            )


def register(app: Flask) -> None:
    """Measure every request of the application, and the slots that are taken."""
    app.extensions["metrics"] = registered = Metrics(app.extensions["current_index"])
    capacity: Capacity = app.extensions["capacity"]
    for name, text, slots in (
        ("lookalike_requests_working", "Requests being handled.", capacity.requests),
        (
            "lookalike_long_working",
            "Those of them that take a core for long.",
            capacity.long_searches,
        ),
    ):
        gauge = Gauge(name, text, registry=registered.registry)
        gauge.set_function(lambda slots=slots: slots.taken)  # type: ignore[misc]
    app.after_request(_measure)


def metrics() -> Metrics:
    """Return the metrics of the application that handles the request."""
    found: Metrics = current_app.extensions["metrics"]
    return found


@blueprint.get(
    "/metrics",
    operation_id="getMetrics",
    tags=[OPERATIONS],
    summary="Metrics for Prometheus",
    description="If the server has API keys, a key of scope admin is needed.",
    responses={
        HTTPStatus.OK: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **error_responses(HTTPStatus.FORBIDDEN),
    },
)
def export() -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(generate_latest(metrics().registry), content_type=CONTENT_TYPE_LATEST)


def _measure(response: Response) -> Response:
    # The rule, not the path: the number of series is that of the routes.
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.url_rule else "none"
    current = metrics()
    timer = current.requests.labels(method, route, str(response.status_code))
    searches = g.setdefault("timings_ms", [])  # a streamed answer adds to it later

    def observe(seconds: float) -> None:
        timer.observe(seconds)
        for timings_ms in searches:
            current.observe(timings_ms)

    call_when_complete(response, observe)
    return response


def _batch_sizes(name: str, text: str, batcher: Batcher[Any, Any]) -> Metric:
    sizes = dict(batcher.sizes)
    buckets = [
        ("+Inf" if bound == math.inf else str(bound), _count_up_to(bound, sizes))
        for bound in (1, 2, 4, 8, 16, 32, math.inf)
    ]
    items = float(sum(size * count for size, count in sizes.items()))
    return HistogramMetricFamily(name, text, buckets, items)


def _count_up_to(bound: float, sizes: Mapping[int, int]) -> float:
    return float(sum(count for size, count in sizes.items() if size <= bound))
