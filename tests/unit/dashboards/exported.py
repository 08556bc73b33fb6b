"""What operator, taps and training pods export: every metric name with its labels, from their own registries."""

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector, CollectorRegistry

from retune.api import Evidence, EvidenceState
from retune.main.figures import OF_JOB
from retune.main.metrics import Jobs, Metrics, Phases
from retune.main.rollouts import RolloutMetrics, _Rollout
from retune.observe.cache import Caches
from retune_tap.metrics import Metrics as TapMetrics
from retune_trainer.progress import Progress

TARGET = frozenset({"namespace", "pod"})
"""Labels that Prometheus gives to what it scrapes; the operator's own namespace and job stay (honor_labels)."""


def exported() -> dict[str, set[str]]:
    """Labels by name of series."""
    metrics, caches = Metrics(), Caches.empty()
    Phases(metrics, caches.job_phases, caches.run_phases)
    caches.job(_job())
    Jobs(metrics, caches, lambda: True)
    evidence = Evidence(name="errors", e_value=1.0, threshold=200.0, state=EvidenceState.OK)
    metrics.rollouts._rollouts["support", "triage"] = _Rollout("triage-1", 10, 1, 0, (evidence,))
    found = {name: {"namespace", "job", *labels} for name, (_, labels) in OF_JOB.items()}
    for registry in (metrics.registry, TapMetrics().registry, Progress(1).registry):
        found |= _of(registry)
    return {name: labels | TARGET for name, labels in found.items()}


def _of(registry: CollectorRegistry) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for collector in set(registry._names_to_collectors.values()) | set(registry._collector_to_names):
        found |= _declared(collector) if isinstance(collector, MetricWrapperBase) else _collected(collector)
    return found


def _declared(metric: MetricWrapperBase) -> dict[str, set[str]]:
    labels, name = set(metric._labelnames), metric._name
    match metric._type:
        case "counter":
            return {f"{name}_total": labels}
        case "histogram":
            return {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
    return {name: labels}


def _collected(collector: Collector) -> dict[str, set[str]]:
    assert isinstance(collector, Phases | Jobs | RolloutMetrics), "give it something to tell of, above"
    return {sample.name: set(sample.labels) for family in collector.collect() for sample in family.samples}


def _job() -> dict[str, object]:
    metadata = {"namespace": "support", "name": "triage", "uid": "u", "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {}, "status": {"budget": {"spent": "1", "currency": "EUR"}}}
