"""What /metrics says of each job: from objects as the API server gives them to the text that Prometheus reads."""

import itertools
from typing import Any

import pytest
from prometheus_client import generate_latest

from retune.main import metrics
from retune.main.metrics import Jobs, Metrics
from retune.observe.cache import Caches, packed

_versions = itertools.count(1)


def raw(
    name: str, spec: dict[str, Any], status: dict[str, Any], *, owner: str = "", created: str = "09"
) -> dict[str, Any]:
    owners = [{"uid": owner, "controller": True}] if owner else []
    metadata = {
        "namespace": "support",
        "name": name,
        "uid": f"uid-of-{name}",
        "resourceVersion": str(next(_versions)),
        "creationTimestamp": f"2026-03-01T{created}:00:00Z",
        "ownerReferences": owners,
    }
    return {"metadata": metadata, "spec": spec, "status": status}


def run(name: str, phase: str, status: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    spec = {"jobRef": {"name": "triage"}, "number": 3, "trigger": {"kind": "Drift"}, **more.pop("spec", {})}
    return raw(name, spec, {"phase": phase, **(status or {})}, owner="uid-of-triage", **more)


class World:
    """Caches, and what a scrape of them gives."""

    def __init__(self, *, leads: bool = True) -> None:
        self.leads, self.caches, self.metrics = leads, Caches.empty(), Metrics()
        Jobs(self.metrics, self.caches, lambda: self.leads)

    def job(self, spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> None:
        self.caches.job(raw("triage", spec or {}, status or {}))

    def lines(self) -> list[str]:
        return [line for line in generate_latest(self.metrics.registry).decode().splitlines() if line[0] != "#"]

    def value(self, series: str) -> float | None:
        found = [line for line in self.lines() if line.rpartition(" ")[0] == series]
        return float(found[0].rpartition(" ")[2]) if found else None


def test_a_job_says_where_it_stands_and_what_serves() -> None:
    world = World()
    progressing = {"type": "Progressing", "status": "False", "reason": "FruitlessRuns"}
    status = {"phase": "Halted", "conditions": [progressing], "stable": {"run": "triage-2"}, "fruitlessRuns": 3}
    world.job({"serving": {"modelName": "support-model"}}, status)
    of = 'job="triage"'
    assert world.value(f'retune_job_phase{{{of},namespace="support",phase="Halted",reason="FruitlessRuns"}}') == 1
    info = f'retune_job_info{{candidate="",{of},model="support-model",namespace="support",stable="triage-2"}}'
    assert world.value(info) == 1
    assert world.value(f'retune_fruitless_runs{{{of},namespace="support"}}') == 3


def test_money_is_told_with_its_currency_and_no_limit_is_no_number() -> None:
    world = World()
    world.job({}, {"budget": {"spent": "12.50", "committed": "0", "currency": "EUR"}})
    assert world.value('retune_budget_spent{currency="EUR",job="triage",namespace="support"}') == 12.5
    assert not [line for line in world.lines() if line.startswith("retune_budget_released{")]


def test_each_drift_trigger_has_its_value_its_threshold_and_one_state() -> None:
    world = World()
    triggers = {"drift": [{"name": "prompts", "builtin": "PromptDrift", "threshold": 0.2}]}
    seen = {"name": "prompts", "value": 0.31, "samples": 640, "state": "Firing"}
    gone = {"name": "removed-from-the-spec", "value": 9, "state": "Firing"}
    world.job({"triggers": triggers}, {"drift": [seen, gone]})
    of = 'job="triage",namespace="support"'
    assert world.value(f'retune_drift_value{{{of},trigger="prompts"}}') == 0.31
    assert world.value(f'retune_drift_threshold{{{of},trigger="prompts"}}') == 0.2, "the spec knows it"
    states = [line for line in world.lines() if line.startswith("retune_drift_state{")]
    assert len(states) == 4
    assert [line for line in states if line.endswith(" 1.0")] == [
        f'retune_drift_state{{{of},state="Firing",trigger="prompts"}} 1.0'
    ]


def test_a_recovery_is_told_in_seconds_and_money() -> None:
    world = World()
    recovery = {"run": "triage-3", "promotedAt": "2026-03-01T12:00:00Z", "seconds": 5400, "cost": "3.20"}
    world.job({}, {"budget": {"currency": "EUR"}, "recovery": recovery})
    assert world.value('retune_recovery_seconds{job="triage",namespace="support"}') == 5400
    assert world.value('retune_recovery_cost{currency="EUR",job="triage",namespace="support"}') == 3.2


def test_a_recovery_tells_how_often_people_stepped_in_and_what_answers_took_and_cost() -> None:
    world = World()
    before, after = {"p95Seconds": 1.37, "costPer1k": "0.42"}, {"p95Seconds": 0.86}
    recovery = {"seconds": 5400, "cost": "3.20", "interventions": 0, "before": before, "after": after}
    world.job({}, {"budget": {"currency": "EUR"}, "recovery": recovery})
    of = 'job="triage",namespace="support"'
    assert world.value(f"retune_recovery_interventions{{{of}}}") == 0, "none is a figure, too"
    assert world.value(f'retune_recovery_p95_seconds{{{of},when="before"}}') == 1.37
    assert world.value(f'retune_recovery_p95_seconds{{{of},when="after"}}') == 0.86
    told = [line for line in world.lines() if line.startswith("retune_recovery_cost_per_1k{")]
    assert told == [f'retune_recovery_cost_per_1k{{currency="EUR",{of},when="before"}} 0.42'], "the other is not known"


def test_new_examples_are_those_that_no_run_has_seen() -> None:
    world = World()
    known = {"counted": 700, "corrections": 25, "trained": 640}
    world.job({"triggers": {"newExamples": {"count": 200}}}, {"examples": known})
    assert world.value('retune_new_examples{job="triage",namespace="support"}') == 85
    assert world.value('retune_new_examples_limit{job="triage",namespace="support"}') == 200


def test_the_newest_run_is_the_one_created_last_and_training_is_followed() -> None:
    world = World()
    world.job()
    world.caches.run(run("triage-9", "Promoted", created="08"))
    world.caches.run(run("triage-10", "Training", {"progress": {"step": 12, "steps": 40, "loss": 1.5}}, created="10"))
    of = 'job="triage",namespace="support"'
    info = f'retune_latest_run_info{{{of},phase="Training",run="triage-10",trigger="Drift"}}'
    assert world.value(info) == 1
    assert world.value(f"retune_training_step{{{of}}}") == 12
    assert world.value(f"retune_training_loss{{{of}}}") == 1.5
    assert world.value(f'retune_job_runs{{{of},phase="Promoted"}}') == 1


def test_a_rollout_says_its_stage_what_holds_it_and_what_was_counted() -> None:
    world = World()
    world.job()
    evidence = {
        "name": "errors",
        "bad": 3,
        "total": 100,
        "stableBad": 1,
        "stableTotal": 300,
        "harm": 0.04,
        "state": "Ok",
    }
    rollout = {"heldBecause": "Blind", "startedAt": "2026-03-01T09:00:00Z", "evidence": [evidence]}
    world.caches.run(run("triage-3", "Canary", {"rollout": rollout}, spec={"rollout": {"timeout": "2h"}}))
    of = 'job="triage"'
    assert world.value(f'retune_rollout_stage{{{of},namespace="support",stage="Canary"}}') == 1
    assert world.value(f'retune_rollout_held{{{of},namespace="support",reason="Blind"}}') == 1
    assert world.value(f'retune_rollout_timeout_seconds{{{of},namespace="support"}}') == 7200
    assert world.value(f'retune_stop_loss_total{{arm="stable",{of},metric="errors",namespace="support"}}') == 300


def test_a_rollout_that_has_ended_leaves_no_series() -> None:
    world = World()
    world.job()
    world.caches.run(run("triage-3", "Promoted", {"rollout": {"heldBecause": "Timeout", "evidence": [{"name": "x"}]}}))
    assert not [line for line in world.lines() if line.startswith(("retune_rollout_", "retune_stop_loss_"))]


def test_an_ended_run_is_counted_once_and_only_if_it_ended_since_the_process_began() -> None:
    world = World()
    world.job({}, {"budget": {"spent": "0", "currency": "EUR"}})
    old = {"endedAt": "2020-01-01T00:00:00Z", "cost": {"amount": "9", "currency": "EUR"}}
    world.caches.run(run("triage-1", "Promoted", old))
    ended, money = 'retune_runs_ended_total{phase="%s"}', 'retune_runs_cost_total{currency="EUR",phase="%s"}'
    assert world.value(ended % "Promoted") == 0
    assert world.value(money % "RolledBack") == 0, "there before it rises, or nobody would see it rise"
    new = {"endedAt": "2100-01-01T00:00:00Z", "cost": {"amount": "2.5", "currency": "EUR"}}
    for _ in range(2):  # the second time with a newer version, as when its report is done
        world.caches.run(run("triage-2", "RolledBack", new))
        assert world.value(ended % "RolledBack") == 1
        assert world.value(money % "RolledBack") == 2.5


def test_only_the_leader_tells_so_that_sums_are_right() -> None:
    world = World(leads=False)
    world.job({}, {"phase": "Idle"})
    assert not [line for line in world.lines() if line.startswith("retune_job_")]


def test_a_job_that_is_gone_takes_its_series_with_it() -> None:
    world = World()
    world.job({}, {"phase": "Idle"})
    assert [line for line in world.lines() if 'job="triage"' in line]
    world.caches.jobs.drop(raw("triage", {}, {}))
    assert not [line for line in world.lines() if 'job="triage"' in line]


def test_of_very_many_jobs_those_at_rest_are_told_in_brief_and_what_goes_on_in_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(metrics, "DETAILED", 2)
    world = World()
    money, drift = {"budget": {"spent": "1", "currency": "EUR"}}, {"name": "prompts", "threshold": 1}
    drifting = {"drift": [{"name": "prompts", "state": "Breached"}]}
    world.caches.jobs.put(one := raw("rests", {}, {"phase": "Idle", **money}), packed(one), "")
    world.caches.jobs.put(
        two := raw("drifts", {"triggers": {"drift": [drift]}}, {"phase": "Idle", **drifting}), packed(two), ""
    )
    full = world.lines()
    assert [line for line in full if line.startswith("retune_job_info") and "rests" in line]
    assert world.value("retune_jobs_in_brief") == 0
    world.caches.jobs.put(three := raw("waits", {}, {"phase": "Waiting"}), packed(three), "")
    assert [line for line in world.lines() if line.startswith("retune_job_info") and "rests" in line] == []
    assert world.value('retune_budget_spent{currency="EUR",job="rests",namespace="support"}') == 1
    assert len([line for line in world.lines() if line.startswith("retune_job_info")]) == 2, "drifts and waits"
    assert world.value("retune_jobs_in_brief") == 1


def test_a_status_of_another_version_stops_no_scrape() -> None:
    world = World()
    odd = {"phase": "Idle", "budget": {"spent": "much"}, "drift": [{}], "nextRun": {"at": "soon"}, "recovery": None}
    world.job({"triggers": {"drift": [{"name": "prompts"}]}}, odd)
    world.caches.run(run("triage-3", "Canary", {"rollout": None, "cost": None, "scores": {"base": "NaN"}}))
    assert [line for line in world.lines() if line.startswith("retune_job_phase{")]
    assert not [line for line in world.lines() if "NaN" in line]
