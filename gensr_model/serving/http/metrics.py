"""What Prometheus reads from a server at ``/metrics``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gensr_model.serving.http.versions import Versions

_SECONDS = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one server, in a registry of their own."""

    def __init__(self, versions: Versions) -> None:
        self._registry = registry = CollectorRegistry()
        self._versions = versions
        self.requests = Counter(
            "gensr_requests", "Requests by route and HTTP status.", ["route", "status"], registry=registry
        )
        self.seconds = Histogram(
            "gensr_request_seconds",
            "Time from a request to its answer.",
            ["route"],
            registry=registry,
            buckets=_SECONDS,
        )
        self.batches = Histogram(
            "gensr_batch_requests", "Requests that shared calls of the models.", registry=registry, buckets=_SIZES
        )
        self.answers = Counter(
            "gensr_answers", "Answers by task and source of their candidates.", ["task", "candidate_source"],
            registry=registry,
        )  # fmt: skip
        self.faults = Counter("gensr_faults", "Requests that ended by a fault in the server.", registry=registry)
        self.waiting = Gauge("gensr_waiting_requests", "Requests that wait for the model.", registry=registry)
        self._version = Gauge("gensr_version", "1 for what serves.", ["model", "version"], registry=registry)
        self._refused = Gauge(
            "gensr_refused_version", "1 for the version that should serve and does not.", ["version"], registry=registry
        )
        versions.changed = self._show_versions
        self._show_versions()

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def _show_versions(self) -> None:
        current, refused = self._versions.current, self._versions.refused
        self._version.clear()
        self._refused.clear()
        if current is not None:
            self._version.labels(current.model, current.version).set(1)
        if refused is not None:
            self._refused.labels(refused.version).set(1)
