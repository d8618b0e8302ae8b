"""What one replica counts, in Prometheus' own types. Knows nothing about models; no label ever holds user input."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lepton_ray.serving.standing import UNKNOWN, Standing

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class _Sizes(Collector):
    """What holds for the endpoint and not for this replica: read when somebody asks."""

    standing: Standing

    def collect(self) -> Iterator[Metric]:
        """The gauges; what is not known is left out."""
        scale, rate = self.standing.scale(), self.standing.rate
        if rate is not None:
            yield GaugeMetricFamily("lepton_usd_per_hour", "What the endpoint's machines cost.", float(rate))
        if scale is None:
            return
        yield GaugeMetricFamily("lepton_replicas", "Replicas that answer.", scale.running)
        yield GaugeMetricFamily("lepton_replicas_wanted", "Replicas that there are to be.", scale.wanted)
        cap, most = (float(scale.bound == bound) for bound in ("cap", "most"))
        yield GaugeMetricFamily("lepton_cap_binds", "1 while the cap on dollars keeps it from more replicas.", cap)
        yield GaugeMetricFamily("lepton_max_replicas_binds", "1 while their largest number keeps it from more.", most)
        if scale.per_hour is not None:
            yield GaugeMetricFamily("lepton_usd_spent", "What its machines have cost until now.", float(scale.spent))


class Metrics:
    """The counters of one replica; every replica has its own registry."""

    def __init__(self, model: str, bundle_id: str, standing: Standing = UNKNOWN) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "lepton_requests_total", "Requests answered.", ["route", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "lepton_request_seconds", "Seconds to answer.", ["route"], buckets=_BUCKETS, registry=self._registry
        )
        self._rows = Counter("lepton_rows_total", "Rows predicted.", registry=self._registry)
        self._running = Gauge("lepton_requests_in_flight", "Requests being answered.", registry=self._registry)
        about = Gauge("lepton_model_info", "Always 1.", ["model", "bundle"], registry=self._registry)
        about.labels(model, bundle_id).set(1)
        replica = Gauge("lepton_replica_info", "Always 1: whose counts.", ["replica"], registry=self._registry)
        replica.labels(standing.replica).set(1)
        started = Gauge("lepton_started_time_seconds", "When it came up, since 1970.", registry=self._registry)
        started.set_to_current_time()
        self._registry.register(_Sizes(standing))

    def add_rows(self, rows: int) -> None:
        """Count rows that were predicted."""
        self._rows.inc(rows)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def watch(self, app: ASGIApp, route_of: Callable[[str], str]) -> ASGIApp:
        """Wrap an app so that every request is counted under the route that ``route_of`` gives to its path."""

        requests, seconds = cache(self._requests.labels), cache(self._seconds.labels)

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            status = "500"

            async def seen(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = str(message["status"])
                await send(message)

            route, began = route_of(scope["path"]), time.perf_counter()
            with self._running.track_inprogress():
                try:
                    await app(scope, receive, seen)
                finally:
                    requests(route, status).inc()
                    seconds(route).observe(time.perf_counter() - began)

        return watched
