"""The operator's own metrics. Numbers in values, names in labels, every label set bounded."""

from collections import Counter as Count
from collections.abc import Callable, Iterator

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from retune.api import JobPhase, RunPhase
from retune.main.rollouts import RolloutMetrics


class Metrics:
    """All that `/metrics` shows, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.reconciles = Counter(
            "retune_reconciles", "Reconciles by kind and result.", ["kind", "result"], registry=self.registry
        )
        self.durations = Histogram(
            "retune_reconcile_duration_seconds",
            "Time of a reconcile, from taking the key to the last write.",
            ["kind"],
            buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=self.registry,
        )
        self.errors = Counter("retune_errors", "Errors of reconciles by reason.", ["reason"], registry=self.registry)
        self.writes = Counter(
            "retune_api_writes", "Writes sent to the API server.", ["verb", "resource"], registry=self.registry
        )
        self.depth = Gauge("retune_queue_depth", "Keys that are due and wait for a worker.", registry=self.registry)
        self.leading = Gauge("retune_leader", "1 while this process may act.", registry=self.registry)
        self.missed = Counter(
            "retune_missed_deletions", "Deletions that no watch showed, found by a list.", registry=self.registry
        )
        self.rollouts = RolloutMetrics(self.registry)

    def api_write(self, verb: str, resource: str) -> None:
        """One write that was sent."""
        self.writes.labels(verb, resource).inc()


class Phases(Collector):
    """Objects by phase, counted when Prometheus asks."""

    def __init__(self, metrics: Metrics, jobs: Callable[[], Count[str]], runs: Callable[[], Count[str]]) -> None:
        self._jobs, self._runs = jobs, runs
        metrics.registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Every phase of every kind, also those with nothing in them: a series that vanishes alarms nobody."""
        for kind, counts, phases in (
            ("jobs", self._jobs, [p.value for p in JobPhase]),
            ("runs", self._runs, [p.value for p in RunPhase]),
        ):
            family = GaugeMetricFamily(
                f"retune_{kind}", f"FineTune{kind[:-1].capitalize()}s by phase.", labels=["phase"]
            )
            by_phase = counts()
            for phase in phases:
                family.add_metric([phase], by_phase[phase])
            yield family
