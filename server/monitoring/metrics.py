"""Metrics for Prometheus: how long requests and their stages take, what the index holds.

One process of threads serves, so the counters are simply in its memory. Each application has a
registry of its own.
"""

import math
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from flask import Flask, Response, current_app, g, request
from flask_openapi import APIBlueprint
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Gauge, Histogram
from prometheus_client import generate_latest as exposition
from prometheus_client.core import (
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from indexer.errors import LookalikeError
from indexer.search import Batcher
from server.api.openapi import OPERATIONS, SECURITY
from server.current_index import IndexHolder
from server.errors import error_responses
from server.monitoring.logs import when_made

blueprint = APIBlueprint("metrics", __name__, abp_security=SECURITY)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
STAGES = ("decode", "encode", "search")


class Metrics:
    """What one application counts."""

    def __init__(self, holder: IndexHolder) -> None:
        self.registry = CollectorRegistry()
        self.requests = Histogram(
            "lookalike_request_seconds",
            "Time from the request's first handler until the answer has been made.",
            ("method", "route", "status"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.stages = Histogram(
            "lookalike_stage_seconds",
            "Time of one stage of a query, waiting for its turn included.",
            ("stage",),
            buckets=SECONDS,
            registry=self.registry,
        )
        for stage in STAGES:
            self.stages.labels(stage)  # there from the start: a graph of none is a line at 0
        self.registry.register(IndexCollector(holder))
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)

    def observe(self, timings_ms: Mapping[str, float]) -> None:
        """Count a query's stages by the milliseconds they took; not those that did not happen."""
        for stage in STAGES:
            if timings_ms.get(stage):
                self.stages.labels(stage).observe(timings_ms[stage] / 1000)


class IndexCollector(Collector):
    """Reads what the index is at the moment of asking; nothing while there is none."""

    def __init__(self, holder: IndexHolder) -> None:
        self._holder = holder

    def collect(self) -> Iterable[Metric]:
        """Yield readiness, version, vectors and the recall that is promised."""
        ready = self._holder.not_ready() is None
        yield GaugeMetricFamily(
            "lookalike_ready", "1 if every query can be answered.", float(ready)
        )
        try:
            searcher = self._holder.searcher()
        except LookalikeError:
            return
        info = searcher.info
        named = {"version": info.version, "encoder": info.encoder.fingerprint}
        yield InfoMetricFamily("lookalike_index", "The version that answers.", named)
        version = float(info.version)
        yield GaugeMetricFamily("lookalike_index_version", "The version as a number.", version)
        yield GaugeMetricFamily(
            "lookalike_vectors", "Images that can be found.", float(info.counts.indexed)
        )
        yield GaugeMetricFamily(
            "lookalike_skipped_files",
            "Files that could not be indexed.",
            float(info.counts.skipped),
        )
        yield self._batches(
            "lookalike_search_batch_queries",
            "Exact searches made together.",
            searcher.search_batcher,
        )
        if searcher.encode_batcher:
            yield self._batches(
                "lookalike_encode_batch_images", "Images encoded together.", searcher.encode_batcher
            )
            yield GaugeMetricFamily(
                "lookalike_encode_waiting",
                "Images that wait for the encoder.",
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

    def _batches(self, name: str, text: str, batcher: Batcher[Any, Any]) -> Metric:
        sizes = dict(batcher.sizes)
        buckets = [
            (str(bound), float(sum(n for size, n in sizes.items() if size <= bound)))
            for bound in (1, 2, 4, 8, 16, 32, math.inf)
        ]
        buckets[-1] = ("+Inf", buckets[-1][1])
        items = float(sum(size * n for size, n in sizes.items()))
        return HistogramMetricFamily(name, text, buckets, items)


def register(app: Flask) -> None:
    """Count every answer of the application, and the slots that are taken."""
    app.extensions["metrics"] = counted = Metrics(app.extensions["lookalike"])
    capacity = app.extensions["capacity"]
    for name, text, slots in (
        ("lookalike_requests_working", "Requests at work.", capacity.requests),
        (
            "lookalike_long_working",
            "Of them, those that take a core for long.",
            capacity.long_searches,
        ),
    ):
        gauge = Gauge(name, text, registry=counted.registry)
        gauge.set_function(lambda slots=slots: slots.taken)  # type: ignore[misc]
    app.after_request(_count)


def metrics() -> Metrics:
    """Return the metrics of the application that handles the request."""
    found: Metrics = current_app.extensions["metrics"]
    return found


@blueprint.get(
    "/metrics",
    operation_id="getMetrics",
    tags=[OPERATIONS],
    summary="Metrics for Prometheus",
    description="With keys configured, it takes one of scope admin.",
    responses={
        HTTPStatus.OK: {"content": {"text/plain": {"schema": {"type": "string"}}}},
        **error_responses(HTTPStatus.FORBIDDEN),
    },
)
def exposed() -> Response:
    """Return all metrics in Prometheus' text format."""
    return Response(exposition(metrics().registry), content_type=CONTENT_TYPE_LATEST)


def _count(response: Response) -> Response:
    # The rule, not the path: as many series as there are routes, whatever is asked.
    route = request.url_rule.rule if request.url_rule else "none"
    method = request.method if request.url_rule else "none"
    counted = metrics()
    timer = counted.requests.labels(method, route, str(response.status_code))
    searches = g.setdefault("timings_ms", [])  # one that is streamed goes on to fill it

    def observe(seconds: float) -> None:
        timer.observe(seconds)
        for timings_ms in searches:
            counted.observe(timings_ms)

    when_made(response, observe)
    return response
