"""What the metrics say of one job and of one run: from objects as the API server gave them to samples. Pure.

A status written by another version may lack what this one writes: what is absent gives no sample, and nothing raises.
"""

from collections.abc import Iterator, Mapping
from itertools import chain
from math import isfinite
from typing import Any, NamedTuple

from retune.api import DriftState, JobPhase, Rollout, RunPhase, seconds
from retune.decide.conditions import moment

Raw = Mapping[str, Any]

OF_JOB: dict[str, tuple[str, tuple[str, ...]]] = {
    "retune_job_info": (
        "1. model: name that clients ask for; stable, candidate: runs that made them.",
        ("model", "stable", "candidate"),
    ),
    "retune_job_phase": ("1 for the phase it is in; reason: of its condition Progressing.", ("phase", "reason")),
    "retune_job_runs": ("Runs that are kept or in flight, by phase.", ("phase",)),
    "retune_fruitless_runs": ("Trained runs in a row that were not promoted.", ()),
    "retune_fruitless_runs_limit": ("Fruitless runs in a row from which the programme halts.", ()),
    "retune_next_run_timestamp_seconds": ("When the next run starts, as far as is known (Unix time).", ()),
    "retune_budget_released": ("What may be spent now.", ("currency",)),
    "retune_budget_spent": ("What has been spent.", ("currency",)),
    "retune_budget_committed": ("What the run in flight may still spend.", ("currency",)),
    "retune_drift_value": ("Value that a drift trigger last saw.", ("trigger",)),
    "retune_drift_threshold": ("Value beyond which it has drifted.", ("trigger",)),
    "retune_drift_samples": ("Requests behind the value.", ("trigger",)),
    "retune_drift_e_value": ("Evidence of a drift trigger's betting detector.", ("trigger",)),
    "retune_drift_state": ("1 for the state that a drift trigger is in.", ("trigger", "state")),
    "retune_new_examples": ("Examples, corrections among them, that no run has been trained on yet.", ()),
    "retune_new_examples_limit": ("New examples that start a run.", ()),
    "retune_recovery_seconds": ("From drift noticed to the promotion that answered it, in the last cycle.", ()),
    "retune_recovery_cost": ("What the runs of the last recovery have cost.", ("currency",)),
    "retune_recovery_interventions": ("Acts of people in the last recovery, such as approvals.", ()),
    "retune_recovery_p95_seconds": (
        "Time for 95 of 100 answers at the slowest tap; when: before and after the last recovery.",
        ("when",),
    ),
    "retune_recovery_cost_per_1k": (
        "Price of the pods that serve for 1,000 answers; when: before and after the last recovery.",
        ("when", "currency"),
    ),
    "retune_recovery_promoted_timestamp_seconds": ("When the last recovery's model was promoted (Unix time).", ()),
    "retune_latest_run_info": ("1. The newest run: name, what fired it, where it stands.", ("run", "trigger", "phase")),
    "retune_latest_run_number": ("Number of the newest run: as many were started in the job's life.", ()),
    "retune_latest_run_ended_timestamp_seconds": ("When the newest run ended (Unix time), and how.", ("phase",)),
    "retune_latest_run_cost": ("What the newest run has cost so far.", ("currency",)),
    "retune_latest_run_score": ("Score on the gold set in the newest run; of: base, stable, candidate.", ("of",)),
    "retune_training_step": ("Optimiser steps done by the run in training.", ()),
    "retune_training_steps": ("Optimiser steps in all of the run in training.", ()),
    "retune_training_loss": ("Loss last seen of the run in training.", ()),
    "retune_training_tokens_per_second": ("Speed of the run in training.", ()),
    "retune_rollout_stage": ("1 for the stage that the rollout is in.", ("stage",)),
    "retune_rollout_held": ("1 while something keeps the rollout from going on; reason: what.", ("reason",)),
    "retune_rollout_since_timestamp_seconds": ("When the rollout came to its stage or step (Unix time).", ()),
    "retune_rollout_started_timestamp_seconds": ("When the rollout began (Unix time), moved on by pauses.", ()),
    "retune_rollout_timeout_seconds": ("Time after which a rollout that cannot be judged ends.", ()),
    "retune_rollout_blind_since_timestamp_seconds": ("Since when something cannot be measured (Unix time).", ()),
    "retune_stop_loss_bad": ("Bad answers counted, by arm.", ("metric", "arm")),
    "retune_stop_loss_total": ("Answers counted, by arm.", ("metric", "arm")),
    "retune_stop_loss_harm": ("Most harm that the counts of this step leave possible.", ("metric",)),
    "retune_stop_loss_margin": ("Harm that must be ruled out before the weight rises.", ("metric",)),
}
"""Gauges by name: what they say, and their labels after namespace and job."""

_TRAINS = frozenset({RunPhase.TRAINING.value, RunPhase.EVALUATING.value})
ROLLS_OUT = frozenset(
    p.value for p in (RunPhase.LOADING, RunPhase.SHADOW, RunPhase.PILOT, RunPhase.CANARY, RunPhase.BAKING)
)
_BRIEF = frozenset({"retune_job_phase", "retune_budget_released", "retune_budget_spent"})
_TIMEOUT = str(Rollout.model_fields["timeout"].default)


class Sample(NamedTuple):
    """One value of a gauge in OF_JOB; labels: those after namespace and job."""

    name: str
    labels: tuple[str, ...]
    value: float


def of_job(name: str, content: Raw) -> list[Sample]:
    """What `{"spec", "status"}` of the job `name` says."""
    spec, status = content["spec"], content["status"]
    told = (_standing(name, spec, status), _money(status), _drift(spec, status), _examples(spec, status))
    return [*chain(*told), *_recovery(status)]


def of_run(name: str, content: Raw) -> list[Sample]:
    """What `{"spec", "status"}` of a job's newest run says."""
    spec, status = content["spec"], content["status"]
    phase = _word(status.get("phase")) or RunPhase.PENDING.value
    fired = _word((spec.get("trigger") or {}).get("kind"))
    found = [Sample("retune_latest_run_info", (name, fired, phase), 1.0)]
    found += _maybe("retune_latest_run_number", (), spec.get("number"))
    found += _when("retune_latest_run_ended_timestamp_seconds", status.get("endedAt"), (phase,))
    cost, scores = status.get("cost") or {}, status.get("scores") or {}
    found += _maybe("retune_latest_run_cost", (_word(cost.get("currency")),), cost.get("amount"))
    for of in ("base", "stable", "candidate"):
        found += _maybe("retune_latest_run_score", (of,), scores.get(of))
    if phase in _TRAINS:
        found += _training(status.get("progress") or {})
    if phase in ROLLS_OUT:
        found += _rollout(spec.get("rollout") or {}, status.get("rollout") or {}, phase)
    return found


def in_brief(told: list[Sample]) -> list[Sample] | None:
    """Of a job at rest, where it stands and its money; None if something is going on there. `told`: as of `of_job`."""
    resting = any(s.name == "retune_job_phase" and s.labels[0] == JobPhase.IDLE.value for s in told)
    drifts = any(s.name == "retune_drift_state" and s.labels[1] != DriftState.OK.value and s.value for s in told)
    return [s for s in told if s.name in _BRIEF] if resting and not drifts else None


def cost(content: Raw) -> tuple[str, float]:
    """Currency and amount of what a run has cost; ("", 0) if it cost nothing."""
    said = content["status"].get("cost") or {}
    return _word(said.get("currency")), _number(said.get("amount")) or 0.0


def _standing(name: str, spec: Raw, status: Raw) -> Iterator[Sample]:
    serving, triggers = spec.get("serving"), spec.get("triggers") or {}
    model = _word(serving.get("modelName") or name) if serving is not None else ""
    stable, candidate = (_word((status.get(key) or {}).get("run")) for key in ("stable", "candidate"))
    yield Sample("retune_job_info", (model, stable, candidate), 1.0)
    progressing: Raw = next((c for c in status.get("conditions") or [] if c.get("type") == "Progressing"), {})
    if status.get("phase"):
        yield Sample("retune_job_phase", (_word(status["phase"]), _word(progressing.get("reason"))[:64]), 1.0)
    yield Sample("retune_fruitless_runs", (), _number(status.get("fruitlessRuns")) or 0.0)
    yield from _maybe("retune_fruitless_runs_limit", (), triggers.get("haltAfterFruitlessRuns", 3))
    yield from _when("retune_next_run_timestamp_seconds", (status.get("nextRun") or {}).get("at"))


def _money(status: Raw) -> Iterator[Sample]:
    budget = status.get("budget") or {}
    for key in ("released", "spent", "committed"):
        yield from _maybe(f"retune_budget_{key}", (_word(budget.get("currency")),), budget.get(key))


def _drift(spec: Raw, status: Raw) -> Iterator[Sample]:
    wanted = {t.get("name"): t.get("threshold") for t in (spec.get("triggers") or {}).get("drift") or []}
    for seen in status.get("drift") or []:
        trigger = _word(seen.get("name"))
        if trigger not in wanted:  # taken out of the spec since
            continue
        threshold = seen.get("threshold")
        yield from _maybe("retune_drift_value", (trigger,), seen.get("value"))
        yield from _maybe("retune_drift_threshold", (trigger,), wanted[trigger] if threshold is None else threshold)
        yield from _maybe("retune_drift_samples", (trigger,), seen.get("samples"))
        yield from _maybe("retune_drift_e_value", (trigger,), seen.get("eValue"))
        for state in DriftState:
            yield Sample("retune_drift_state", (trigger, state.value), float(seen.get("state") == state.value))


def _examples(spec: Raw, status: Raw) -> Iterator[Sample]:
    wanted, known = (spec.get("triggers") or {}).get("newExamples"), status.get("examples") or {}
    if not wanted:
        return
    yield from _maybe("retune_new_examples_limit", (), wanted.get("count"))
    counted, corrections, trained = (_number(known.get(key)) for key in ("counted", "corrections", "trained"))
    if counted is not None and trained is not None:
        yield Sample("retune_new_examples", (), max(0.0, counted + (corrections or 0.0) - trained))


def _recovery(status: Raw) -> Iterator[Sample]:
    last = status.get("recovery") or {}
    currency = _word(last.get("currency") or (status.get("budget") or {}).get("currency"))
    yield from _maybe("retune_recovery_seconds", (), last.get("seconds"))
    yield from _maybe("retune_recovery_cost", (currency,), last.get("cost"))
    yield from _maybe("retune_recovery_interventions", (), last.get("interventions"))
    for when in ("before", "after"):
        figures = last.get(when) or {}
        yield from _maybe("retune_recovery_p95_seconds", (when,), figures.get("p95Seconds"))
        yield from _maybe("retune_recovery_cost_per_1k", (when, currency), figures.get("costPer1k"))
    yield from _when("retune_recovery_promoted_timestamp_seconds", last.get("promotedAt"))


def _training(progress: Raw) -> Iterator[Sample]:
    named = {"step": "step", "steps": "steps", "loss": "loss", "tokensPerSecond": "tokens_per_second"}
    for key, metric in named.items():
        yield from _maybe(f"retune_training_{metric}", (), progress.get(key))


def _rollout(wanted: Raw, rollout: Raw, phase: str) -> Iterator[Sample]:
    yield Sample("retune_rollout_stage", (phase,), 1.0)
    if rollout.get("heldBecause"):
        yield Sample("retune_rollout_held", (_word(rollout["heldBecause"])[:64],), 1.0)
    for key, metric in (("since", "since"), ("startedAt", "started"), ("blindSince", "blind_since")):
        yield from _when(f"retune_rollout_{metric}_timestamp_seconds", rollout.get(key))
    yield Sample("retune_rollout_timeout_seconds", (), float(seconds(wanted.get("timeout") or _TIMEOUT)))
    for seen in rollout.get("evidence") or []:
        metric = _word(seen.get("name"))
        for arm, bad, total in (("canary", "bad", "total"), ("stable", "stableBad", "stableTotal")):
            yield from _maybe("retune_stop_loss_bad", (metric, arm), seen.get(bad))
            yield from _maybe("retune_stop_loss_total", (metric, arm), seen.get(total))
        yield from _maybe("retune_stop_loss_harm", (metric,), seen.get("harm"))
        yield from _maybe("retune_stop_loss_margin", (metric,), seen.get("margin"))


def _maybe(name: str, labels: tuple[str, ...], value: object) -> Iterator[Sample]:
    number = _number(value)
    if number is not None:
        yield Sample(name, labels, number)


def _when(name: str, at: object, labels: tuple[str, ...] = ()) -> Iterator[Sample]:
    try:
        when = moment(at) if isinstance(at, str) else None
    except ValueError:
        return
    if when is not None:
        yield Sample(name, labels, when.timestamp())


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if isfinite(number) else None


def _word(value: object) -> str:
    return value if isinstance(value, str) else ""
