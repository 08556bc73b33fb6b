"""Metrics of rollouts in flight: one set of series for each job, gone when its rollout ends."""

from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector, CollectorRegistry

from retune.api import Evidence, EvidenceState, FineTuneRunStatus, RolloutIntent
from retune.decide.facts import RunFacts
from retune.observe.facts import in_rollout


@dataclass(frozen=True)
class _Rollout:
    """What was last seen of a job's rollout."""

    run: str
    weight: int
    generation: int
    out_of_step: int
    evidence: tuple[Evidence, ...]


class RolloutMetrics(Collector):
    """What the rollouts in flight are doing, and how fast the last ones were taken back.

    Its labels are namespace, job and the name of a stop-loss; a job has at most one rollout in flight.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._rollouts: dict[tuple[str, str], _Rollout] = {}
        self._breached: dict[tuple[str, str], float] = {}  # by namespace and run: when it was decided to take it back
        self.to_zero = Histogram(
            "retune_breach_to_zero_seconds",
            "From the reconcile that saw a breach until every tap was read back at weight 0.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 60, 300),
            registry=registry,
        )
        self.polls = Counter("retune_tap_polls", "Taps that were asked, by result.", ["result"], registry=registry)
        self.pushes = Counter(
            "retune_arms_pushes", "Taps that were given an arms document, by result.", ["result"], registry=registry
        )
        self.queries = Counter(
            "retune_prometheus_queries", "Queries sent to Prometheus, by result.", ["result"], registry=registry
        )
        self.features = Counter(
            "retune_feature_rows", "Rows of numbers that taps told of requests, for drift.", registry=registry
        )
        registry.register(self)

    def feature_rows(self, count: int) -> None:
        """So many rows came."""
        self.features.inc(count)

    def poll(self, *, ok: bool) -> None:
        """One tap that was asked."""
        self.polls.labels("ok" if ok else "failed").inc()

    def push(self, *, ok: bool) -> None:
        """One tap that was given an arms document."""
        self.pushes.labels("ok" if ok else "failed").inc()

    def query(self, result: str) -> None:
        """One query to Prometheus: ok, absent, Invalid or SourceDown."""
        self.queries.labels(result).inc()

    def seen(self, facts: RunFacts, decided: FineTuneRunStatus, now: float) -> None:
        """Take in what was seen and decided of a run, at the monotonic time `now`."""
        job, run = (facts.meta.namespace, facts.spec.job_ref.name), (facts.meta.namespace, facts.meta.name)
        taps = facts.serving.taps.values()
        generation = facts.serving.arms.generation if facts.serving.arms is not None else 0
        behind = sum(tap.generation != generation for tap in taps) + len(facts.serving.silent)
        route = facts.serving.route
        routed = route.weight if route is not None else 0  # of mode Deployment
        known = self._breached.get(run)
        if known is not None and behind == 0 and all(tap.weight == 0 for tap in taps) and routed == 0:
            self.to_zero.observe(now - self._breached.pop(run))
        intent = decided.rollout.intent if decided.rollout is not None else None
        before = facts.status.rollout.intent if facts.status.rollout is not None else None
        if intent is RolloutIntent.ROLL_BACK and before is not RolloutIntent.ROLL_BACK:
            self._breached.setdefault(run, now)
        if in_rollout(decided):
            rollout = decided.rollout
            self._rollouts[job] = _Rollout(
                facts.meta.name,
                rollout.weight if rollout is not None else 0,
                generation,
                behind,
                rollout.evidence if rollout is not None else (),
            )
        else:
            self.gone(*run)

    def gone(self, namespace: str, run: str) -> None:
        """The rollout of this run has ended, or the run is no more."""
        self._breached.pop((namespace, run), None)
        for job in [j for j, rollout in self._rollouts.items() if (j[0], rollout.run) == (namespace, run)]:
            del self._rollouts[job]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The series of the rollouts in flight."""
        of_job = ["namespace", "job"]
        weight = GaugeMetricFamily("retune_rollout_weight", "Candidate's share of traffic, in percent.", labels=of_job)
        generation = GaugeMetricFamily(
            "retune_arms_generation", "Generation of the arms document as last written.", labels=of_job
        )
        behind = GaugeMetricFamily(
            "retune_taps_out_of_step", "Taps that are silent, or have another arms document.", labels=of_job
        )
        value = GaugeMetricFamily("retune_stop_loss_e_value", "Evidence of harm so far.", labels=[*of_job, "metric"])
        threshold = GaugeMetricFamily(
            "retune_stop_loss_threshold", "Evidence from which it is taken back.", labels=[*of_job, "metric"]
        )
        state = GaugeMetricFamily(
            "retune_stop_loss_state", "1 for the state it is in.", labels=[*of_job, "metric", "state"]
        )
        for job, rollout in self._rollouts.items():
            weight.add_metric(job, rollout.weight)
            generation.add_metric(job, rollout.generation)
            behind.add_metric(job, rollout.out_of_step)
            for found in rollout.evidence:
                if found.e_value is not None:
                    value.add_metric([*job, found.name], found.e_value)
                if found.threshold is not None:
                    threshold.add_metric([*job, found.name], found.threshold)
                for each in EvidenceState:
                    state.add_metric([*job, found.name, each.value], float(each is found.state))
        return iter((weight, generation, behind, value, threshold, state))
