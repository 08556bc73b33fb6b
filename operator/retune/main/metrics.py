"""The operator's own metrics. Numbers in values, names in labels, every label set bounded."""

from collections import Counter as Count
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector, CollectorRegistry

from retune.api import TERMINAL_PHASES, JobPhase, RunPhase
from retune.decide.conditions import moment
from retune.main.figures import OF_JOB, Sample, cost, in_brief, of_job, of_run
from retune.main.rollouts import RolloutMetrics
from retune.observe.cache import Caches, Packed

DETAILED = 1_000
"""Jobs of which everything is told, whatever they do. 10,000 would be 150,000 series, and 1.4 s of CPU a scrape."""
_ENDS = [phase.value for phase in RunPhase if phase in TERMINAL_PHASES]


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
        self.notifications = Counter(
            "retune_notifications",
            "News for a channel: sent, given-up, put-off for want of room; and tries that failed.",
            ["channel", "result"],
            registry=self.registry,
        )
        self.rollouts = RolloutMetrics(self.registry)

    def notified(self, channel: str, result: str, count: int = 1) -> None:
        """What became of news for a channel."""
        self.notifications.labels(channel, result).inc(count)

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


class Jobs(Collector):
    """What each job's status says, read from the caches when Prometheus asks; only the leader tells.

    An object is unpacked once a version, not once a scrape. Labels are namespace, job and names that the job's spec
    has: stop-losses and drift triggers, at most 16 each. Where there are more jobs than DETAILED, those at rest are
    told in brief.
    """

    def __init__(self, metrics: Metrics, caches: Caches, leading: Callable[[], bool]) -> None:
        self._caches, self._leading = caches, leading
        self._known: dict[tuple[str, str, str], tuple[Packed, list[Sample]]] = {}
        self._ends = _Ends(datetime.now(UTC))
        metrics.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The series of every job; none while another process leads."""
        if not self._leading():
            return
        families = {
            name: GaugeMetricFamily(name, about, labels=["namespace", "job", *labels])
            for name, (about, labels) in OF_JOB.items()
        }
        seen: dict[tuple[str, str, str], tuple[Packed, list[Sample]]] = {}
        many, brief = len(self._caches.jobs) > DETAILED, 0
        for job in self._caches.jobs.values():
            place, told = [job.meta.namespace, job.meta.name], self._once("job", job, of_job, seen)
            short = in_brief(told) if many else None
            brief += short is not None
            for sample in short if short is not None else [*told, *self._of_runs(job, seen)]:
                families[sample.name].add_metric([*place, *sample.labels], sample.value)
        self._known = seen
        about = "Jobs at rest of which only phase and money are told, since there are so many."
        yield GaugeMetricFamily("retune_jobs_in_brief", about, value=brief)
        yield from families.values()
        spent = families["retune_budget_spent"].samples
        yield from self._ends.counted(self._caches, {sample.labels["currency"] for sample in spent})

    def _of_runs(self, job: Packed, seen: dict[tuple[str, str, str], tuple[Packed, list[Sample]]]) -> Iterator[Sample]:
        runs = self._caches.runs.of(job.meta.uid)
        for phase, count in Count(run.phase for run in runs).items():
            yield Sample("retune_job_runs", (phase,), count)
        if runs:
            latest = max(runs, key=lambda run: (run.meta.created or _NEVER, run.meta.name))
            yield from self._once("run", latest, of_run, seen)

    def _once(
        self,
        kind: str,
        packed: Packed,
        read: Callable[[str, dict[str, object]], list[Sample]],
        seen: dict[tuple[str, str, str], tuple[Packed, list[Sample]]],
    ) -> list[Sample]:
        key = (kind, packed.meta.namespace, packed.meta.name)
        known = self._known.get(key)
        if known is None or known[0] is not packed:
            known = (packed, read(packed.meta.name, packed.content()))
        seen[key] = known
        return known[1]


_NEVER = datetime.min.replace(tzinfo=UTC)


class _Ends:
    """Runs that ended since this process began, and what they had cost. Each is counted once, whoever ended it."""

    def __init__(self, began: datetime) -> None:
        self._began = began
        self._counted: set[str] = set()  # uids of ended runs that are still there
        self._runs: Count[str] = Count()
        self._costs: defaultdict[tuple[str, str], float] = defaultdict(float)

    def counted(self, caches: Caches, currencies: set[str]) -> Iterator[CounterMetricFamily]:
        """The counters, with a zero for all that has not happened yet: a counter that is born at 1 has not risen."""
        there = {run.meta.uid: run for run in caches.runs.values() if run.ended}
        for uid in there.keys() - self._counted:
            self._count(there[uid])
        self._counted = set(there)
        runs = CounterMetricFamily("retune_runs_ended", "Runs that ended, by how.", labels=["phase"])
        spent = CounterMetricFamily(
            "retune_runs_cost", "What runs that ended had cost, by how they ended.", labels=["phase", "currency"]
        )
        for phase in _ENDS:
            runs.add_metric([phase], self._runs[phase])
        for currency in sorted({currency for _, currency in self._costs} | currencies):
            for phase in _ENDS:
                spent.add_metric([phase, currency], self._costs[phase, currency])
        yield runs
        yield spent

    def _count(self, run: Packed) -> None:
        content = run.content()
        ended = moment(content["status"].get("endedAt"))
        if ended is not None and ended >= self._began.replace(microsecond=0):  # statuses have whole seconds
            self._runs[run.phase] += 1
            currency, amount = cost(content)
            if amount > 0:
                self._costs[run.phase, currency] += amount
