"""What Prometheus reads: counters and histograms by public model and arm; nothing else is a label."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Histogram

# The operator chooses the default edge of Slow among these, so that graphs and stop-loss agree.
_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_ARM = ("model", "arm")
# What becomes of a correction. Unusable: what was asked is not known any more, or is not text. Dropped: too many wait.
# Failed: personal data could not be taken out. Full: as many as the job wants are there.
CORRECTIONS = ("written", "unusable", "dropped", "failed", "full")


class Metrics:
    """One tap's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, about: str, labels: tuple[str, ...] = _ARM) -> Counter:
            return Counter(f"retune_tap_{name}", about, labels, registry=self.registry)

        def histogram(name: str, about: str) -> Histogram:
            return Histogram(f"retune_tap_{name}_seconds", about, _ARM, buckets=_BUCKETS, registry=self.registry)

        self.requests = counter("requests", "Requests that were given to an arm")
        self.errors = counter("errors", "Requests that an arm failed: 5xx, time-out, connection lost, broken stream")
        self.latency = histogram("latency", "From a request to the end of its answer")
        self.first_token = histogram("first_token", "From a request to the first of its answer")
        self.tokens = counter("tokens", "Tokens of answers")
        self.invalid = counter("invalid_output", "Answers whose text is not JSON of the schema")
        self.overrides = counter("overrides", "Answers that users replaced by their own")
        self.feedback = counter("feedback", "Feedback by signal", (*_ARM, "signal"))
        self.fallbacks = counter("fallbacks", "Requests that stable answered since the candidate failed", ("model",))
        self.shadow = counter(
            "shadow", "Copies of requests for the candidate, by what became of them", ("model", "result")
        )
        self.corrections = counter("corrections", "Corrections of users, by what became of them", ("result",))
        for result in CORRECTIONS:
            self.corrections.labels(result)

    def of(self, model: str, arm: str) -> ArmMetrics:
        """The metrics of one arm, looked up once."""
        return ArmMetrics(self, model, arm)


class ArmMetrics:
    """One arm's children of the metrics."""

    def __init__(self, metrics: Metrics, model: str, arm: str) -> None:
        self.requests = metrics.requests.labels(model, arm)
        self.errors = metrics.errors.labels(model, arm)
        self.latency = metrics.latency.labels(model, arm)
        self.first_token = metrics.first_token.labels(model, arm)
        self.tokens = metrics.tokens.labels(model, arm)
        self.invalid = metrics.invalid.labels(model, arm)
        self.overrides = metrics.overrides.labels(model, arm)
