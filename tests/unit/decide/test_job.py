"""What starts a run, what a job says of itself, and what it keeps."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import make

from retune.api import (
    Artifact,
    AttemptStage,
    Condition,
    FineTuneJobStatus,
    FineTuneRunStatus,
    GateResult,
    GateVerdict,
    JobPhase,
    Resolved,
    RunPhase,
    Trigger,
    TriggerKind,
)
from retune.decide.actions import Action, CreateRun, DeleteRun, JobDecision, WriteLedger
from retune.decide.conditions import find
from retune.decide.facts import JobFacts, RunFacts
from retune.decide.job import decide_job
from retune.decide.naming import HALT_ANNOTATION, PAUSE_ANNOTATION, RETRY_ANNOTATION, run_name

TERMINAL = [p for p in RunPhase if p.is_terminal]
ENDED = [RunPhase.FAILED, RunPhase.REJECTED, RunPhase.CANCELLED]


def run(number: int = 1, phase: RunPhase | None = RunPhase.PROMOTED, **status: Any) -> RunFacts:
    if phase is RunPhase.PROMOTED:
        artifact = Artifact(uri=f"s3://models/retune/{number}", digest=f"sha256:{number}")
        status = {"artifact": artifact, "ended_at": make.at(number), **status}
    return make.run_facts(FineTuneRunStatus(phase=phase, **status), spec=make.run_spec(number))


def known(*runs: RunFacts, **changes: Any) -> FineTuneJobStatus:
    """The status of a job that has seen these runs."""
    status = decide_job(make.job_facts(runs=runs)).status
    return status.model_copy(update=changes)


def creates(decision: JobDecision) -> list[CreateRun]:
    return [a for a in decision.actions if isinstance(a, CreateRun)]


def asked(decision: JobDecision) -> list[Action]:
    """What is to be done, but for the books: tests/unit/test_money_through_crashes.py."""
    return [a for a in decision.actions if not isinstance(a, WriteLedger)]


def said(decision: JobDecision, type_: str) -> Condition:
    found = find(decision.status.conditions, type_)
    assert found is not None
    return found


def steady(facts: JobFacts) -> JobDecision:
    """The decision; a second look a minute later, at the same facts, changes nothing and asks for nothing new."""
    decision = decide_job(facts)
    later = decide_job(replace(facts, status=decision.status, now=make.at(60)))
    assert later.status == decision.status
    assert later.actions == decision.actions
    assert not later.events
    return decision


# ------------------------------------------------------------------------------------------------------------- triggers


def test_a_new_job_starts_run_one() -> None:
    (create,) = creates(steady(make.job_facts()))
    assert create.name == run_name("triage", "job-uid", 1)
    assert (create.spec.number, create.spec.trigger.kind) == (1, TriggerKind.CREATED)
    assert create.spec.job_ref.uid == "job-uid"


@pytest.mark.parametrize("phase", TERMINAL)
def test_nothing_starts_by_itself_after_a_run_has_ended(phase: RunPhase) -> None:
    decision = steady(make.job_facts(runs=(run(1, phase),), status=known(run(1, phase))))
    assert not asked(decision)
    assert decision.status.phase is JobPhase.IDLE
    assert phase.value in said(decision, "Progressing").message


@pytest.mark.parametrize("on_change", [True, False])
def test_a_changed_model_starts_a_run_if_asked_to(on_change: bool) -> None:
    spec = make.job_spec(training=make.training(seed=99), triggers={"onChange": on_change})
    decision = steady(make.job_facts(spec, known(run()), (run(),)))
    triggers = [(c.spec.number, c.spec.trigger.kind) for c in creates(decision)]
    assert triggers == ([(2, TriggerKind.SPEC_CHANGED)] if on_change else [])


@pytest.mark.parametrize("phase", [None, *(p for p in RunPhase if not p.is_terminal)])
def test_triggers_wait_for_the_run_in_flight_and_become_one(phase: RunPhase | None) -> None:
    spec, retry = make.job_spec(training=make.training(seed=99)), {RETRY_ANNOTATION: "again"}
    flying = run(1, phase)
    decision = steady(make.job_facts(spec, known(flying), (flying,), annotations=retry))
    assert not asked(decision)
    after = run(1, RunPhase.FAILED)
    (create,) = creates(steady(make.job_facts(spec, decision.status, (after,), annotations=retry)))
    assert create.spec.trigger == Trigger(kind=TriggerKind.RETRY, name="again")
    second = make.run_facts(FineTuneRunStatus(phase=RunPhase.FAILED), spec=create.spec)
    last = decide_job(make.job_facts(spec, decision.status, (after, second), annotations=retry))
    assert not creates(last), "the retry took the changed spec with it"
    assert last.status.retried == "again"


@pytest.mark.parametrize("length", [1, 256, 5000])
def test_a_retry_is_done_once_for_each_value_however_long(length: int) -> None:
    value = "x" * length
    status, runs = known(run(1, RunPhase.FAILED)), [run(1, RunPhase.FAILED)]
    for number, said_value in ((2, value), (3, "y" + value)):
        annotations = {RETRY_ANNOTATION: said_value}
        decision = decide_job(make.job_facts(status=status, runs=tuple(runs), annotations=annotations))
        (create,) = creates(decision)
        assert (create.spec.number, create.spec.trigger.kind) == (number, TriggerKind.RETRY)
        runs.append(make.run_facts(FineTuneRunStatus(phase=RunPhase.FAILED), spec=create.spec))
        decision = steady(make.job_facts(status=decision.status, runs=tuple(runs), annotations=annotations))
        assert not asked(decision)
        status = decision.status


def test_the_same_run_is_asked_for_until_it_is_seen() -> None:
    """The answer to the create may be lost: the name does not change, so there is one run in the end."""
    first = decide_job(make.job_facts())
    again = decide_job(make.job_facts(status=first.status, now=make.at(5)))
    assert creates(again) == creates(first)


# ---------------------------------------------------------------------------------------------- suspension and deletion


@pytest.mark.parametrize("runs", [(), (run(1, RunPhase.TRAINING),), (run(1, RunPhase.FAILED),)])
def test_nothing_starts_while_suspended(runs: tuple[RunFacts, ...]) -> None:
    spec = make.job_spec(suspend=True, training=make.training(seed=99))
    status = known(*runs) if runs else FineTuneJobStatus()
    decision = steady(make.job_facts(spec, status, runs, annotations={RETRY_ANNOTATION: "x"}))
    assert not asked(decision)
    assert decision.status.phase is JobPhase.SUSPENDED
    assert said(decision, "Progressing").reason == "Suspended"


@pytest.mark.parametrize("runs", [(), (run(1, RunPhase.TRAINING),), (run(1, RunPhase.FAILED),)])
@pytest.mark.parametrize(
    ("annotation", "value", "phase", "reason"),
    [
        (PAUSE_ANNOTATION, "", JobPhase.SUSPENDED, "Paused"),
        (HALT_ANNOTATION, "too many complaints", JobPhase.HALTED, "HaltedByPerson"),
    ],
)
def test_a_person_pauses_or_halts_a_job_without_touching_its_spec(
    runs: tuple[RunFacts, ...], annotation: str, value: str, phase: JobPhase, reason: str
) -> None:
    spec, status = make.job_spec(training=make.training(seed=99)), known(*runs) if runs else FineTuneJobStatus()
    stopped = steady(make.job_facts(spec, status, runs, annotations={annotation: value}))
    assert not asked(stopped)
    assert (stopped.status.phase, said(stopped, "Progressing").reason) == (phase, reason)
    assert annotation in said(stopped, "Progressing").message
    assert value in said(stopped, "Progressing").message
    assert all(event.type == "Normal" for event in stopped.events if event.reason == reason), "it was wanted"
    freed = steady(make.job_facts(spec, stopped.status, runs))
    assert freed.status.phase is JobPhase.RUNNING


def test_a_halt_says_more_than_a_pause() -> None:
    both = {HALT_ANNOTATION: "why", PAUSE_ANNOTATION: ""}
    assert steady(make.job_facts(make.job_spec(suspend=True), annotations=both)).status.phase is JobPhase.HALTED


def test_a_job_that_is_being_deleted_starts_nothing_and_says_nothing() -> None:
    facts = make.job_facts(deleting=True)
    decision = decide_job(facts)
    assert (decision.status, decision.actions, decision.events) == (facts.status, (), ())


def test_a_run_deleted_in_flight_counts_as_cancelled_and_is_not_made_again() -> None:
    status = known(run(1, RunPhase.TRAINING))
    decision = steady(make.job_facts(status=status))
    assert not asked(decision)
    assert decision.status.phase is JobPhase.IDLE
    assert decision.status.latest_run is not None
    assert decision.status.latest_run.phase is RunPhase.CANCELLED


@pytest.mark.parametrize("phase", [RunPhase.PROMOTED, RunPhase.FAILED])
def test_numbers_go_on_when_finished_runs_were_deleted(phase: RunPhase) -> None:
    status = known(run(1, RunPhase.FAILED), run(2, phase))
    (create,) = creates(steady(make.job_facts(status=status, annotations={RETRY_ANNOTATION: "x"})))
    assert create.spec.number == 3


# -------------------------------------------------------------------------------------------- what is kept, what serves


@pytest.mark.parametrize(
    ("phases", "history", "deleted"),
    [
        ([RunPhase.FAILED] * 5, {"unsuccessful": 3}, {1, 2}),
        ([RunPhase.FAILED] * 3, {"unsuccessful": 0}, {1, 2}),
        ([RunPhase.PROMOTED] * 5, {"succeeded": 3}, {1, 2}),
        # stable and previous stay, whatever history says
        ([RunPhase.PROMOTED] * 4, {"succeeded": 1}, {1, 2}),
        ([RunPhase.PROMOTED, RunPhase.PROMOTED, RunPhase.FAILED, RunPhase.FAILED], {"unsuccessful": 1}, {3}),
        ([RunPhase.FAILED, RunPhase.PROMOTED, RunPhase.TRAINING], {"unsuccessful": 0}, {1}),
        ([RunPhase.FAILED, RunPhase.FAILED, RunPhase.TRAINING], {"unsuccessful": 2}, set()),
    ],
)
def test_history(phases: list[RunPhase], history: dict[str, int], deleted: set[int]) -> None:
    runs = tuple(run(n, p) for n, p in enumerate(phases, 1))
    decision = decide_job(make.job_facts(make.job_spec(history=history), known(*runs), runs))
    names = {a.name for a in decision.actions if isinstance(a, DeleteRun)}
    assert names == {run_name("triage", "job-uid", n) for n in deleted}


def test_stable_and_previous_are_the_last_two_promoted_runs() -> None:
    runs = (run(1), run(2), run(3, RunPhase.REJECTED))
    status = decide_job(make.job_facts(runs=runs)).status
    assert status.stable is not None
    assert status.previous is not None
    assert (status.stable.run, status.stable.digest) == (runs[1].meta.name, "sha256:2")
    assert (status.previous.run, status.previous.digest) == (runs[0].meta.name, "sha256:1")


def test_a_twin_of_stable_does_not_push_out_the_model_to_go_back_to() -> None:
    first, second = run(1), run(2)
    twin = run(3, artifact=second.status.artifact)
    status = decide_job(make.job_facts(runs=(first, second, twin))).status
    assert status.stable is not None
    assert status.previous is not None
    assert (status.stable.run, status.previous.run) == (twin.meta.name, first.meta.name)


def test_a_retraining_is_pinned_to_the_base_that_the_job_once_found() -> None:
    first = run(1, RunPhase.FAILED, resolved=Resolved.model_validate(make.RESOLVED))
    status = known(first)
    retry = {RETRY_ANNOTATION: "x"}
    (create,) = creates(decide_job(make.job_facts(status=status, runs=(first,), annotations=retry)))
    assert create.spec.base_model.digest == make.DIGEST
    other = make.job_spec(baseModel={"uri": "s3://models/other"})
    (create,) = creates(decide_job(make.job_facts(other, status, (first,))))
    assert create.spec.base_model.digest is None, "another URI is resolved afresh"


# ------------------------------------------------------------------------------------------------------ what is refused


def test_a_spec_that_cannot_be_read_is_named() -> None:
    decision = steady(make.job_facts(invalid="spec.training.seed: not a number."))
    assert not asked(decision)
    assert decision.status.phase is JobPhase.INVALID
    assert "spec.training.seed" in said(decision, "Valid").message


def test_a_job_without_a_place_for_artifacts_is_told_so_once_not_for_ever() -> None:
    """Each reconcile must leave the status as it is: a write wakes the next reconcile, and so on."""
    policy = replace(make.POLICY, artifacts_uri="")
    decision = steady(make.job_facts(make.job_spec(artifacts=None), policy=policy))
    assert not asked(decision)
    assert (decision.status.phase, said(decision, "Valid").status) == (JobPhase.INVALID, "False")
    assert "spec.artifacts.uri" in said(decision, "Valid").message


def test_the_operators_own_place_for_artifacts_serves_all_who_name_none() -> None:
    (create,) = creates(steady(make.job_facts(make.job_spec(artifacts=None))))
    assert create.spec.artifacts.uri == "s3://default/retune"
    assert create.spec.artifacts.secret_ref is None


@pytest.mark.parametrize(
    ("budget", "currency", "gpu", "cpu"),
    [
        (None, "EUR", "2.50", "0.04"),
        ({"gpuHourPrice": "3.20", "currency": "EUR"}, "EUR", "3.20", "0.04"),
        ({"gpuHourPrice": "1.00", "currency": "EUR"}, "EUR", "2.50", "0.04"),
        ({"gpuHourPrice": "10", "currency": "EUR"}, "EUR", "10", "0.04"),
        ({"gpuHourPrice": 10}, "EUR", "10", "0.04"),
        ({"total": "600"}, "EUR", "2.50", "0.04"),
        # the price list holds in its own currency only
        ({"gpuHourPrice": "1.00", "currency": "USD"}, "USD", "1.00", "0"),
    ],
)
def test_prices_of_a_run(budget: dict[str, Any] | None, currency: str, gpu: str, cpu: str) -> None:
    (create,) = creates(decide_job(make.job_facts(make.job_spec(budget=budget))))
    prices = create.spec.prices
    assert (prices.currency, prices.gpu_hour, prices.cpu_hour) == (currency, gpu, cpu)


def test_defaults_are_filled_in_once_and_for_all() -> None:
    spec = make.job_spec(evaluation=None, training={"epochs": 1, "gpusPerNode": 0})
    (create,) = creates(decide_job(make.job_facts(spec)))
    assert create.spec.evaluation.acceptance.metric == "TokenF1"
    assert [m.name for m in create.spec.evaluation.metrics] == ["TokenF1"]
    assert create.spec.training.packing is False
    assert create.spec.image == "registry.example/trainer:1"


# -------------------------------------------------------------------------------------------------------- what is shown


@pytest.mark.parametrize(
    ("phase", "admitted", "shown"),
    [
        (RunPhase.TRAINING, ("True", "Running"), JobPhase.RUNNING),
        (RunPhase.QUEUED, ("Unknown", "Unschedulable"), JobPhase.WAITING),
        (RunPhase.PREFLIGHT, ("False", "ImagePullBackOff"), JobPhase.WAITING),
        (RunPhase.QUEUED, ("Unknown", "Starting"), JobPhase.RUNNING),
        (RunPhase.QUEUED, None, JobPhase.RUNNING),
        (None, None, JobPhase.RUNNING),
    ],
)
def test_a_job_waits_when_its_run_does_and_says_for_what(
    phase: RunPhase | None, admitted: tuple[str, str] | None, shown: JobPhase
) -> None:
    conditions = ()
    if admitted:
        truth, reason = admitted
        conditions = (
            Condition(type="Admitted", status=truth, reason=reason, message="m", last_transition_time=make.NOW),
        )  # type: ignore[arg-type]
    flying = run(1, phase, conditions=conditions)
    decision = steady(make.job_facts(status=known(flying), runs=(flying,)))
    assert decision.status.phase is shown
    if admitted and shown is JobPhase.WAITING:
        assert said(decision, "Progressing").reason == admitted[1]


def test_a_job_whose_run_needs_signatures_says_whose() -> None:
    waits = Condition(
        type="GatesPassed",
        status="Unknown",
        reason="AwaitingApproval",
        message="Waiting for approval: legal.",
        last_transition_time=make.NOW,
    )
    flying = run(1, RunPhase.AWAITING_APPROVAL, conditions=(waits,))
    decision = steady(make.job_facts(status=known(flying), runs=(flying,)))
    assert decision.status.phase is JobPhase.WAITING
    assert "Waiting for approval: legal." in said(decision, "Progressing").message


def test_a_job_says_whether_it_pays_off_as_its_newest_run_found() -> None:
    gate = GateResult(name="payback", verdict=GateVerdict.FAILED, reason="pays back in 40.0 months")
    ended = run(1, RunPhase.DECLINED, gates=(gate,))
    decision = steady(make.job_facts(status=known(ended), runs=(ended,)))
    assert said(decision, "PaysOff").status == "False"
    assert "40.0 months" in said(decision, "PaysOff").message
    unasked = run(2, RunPhase.DECLINED, gates=(gate.model_copy(update={"verdict": GateVerdict.SKIPPED}),))
    later = steady(make.job_facts(status=decision.status, runs=(ended, unasked)))
    assert find(later.status.conditions, "PaysOff") is None, "nobody asks any more"


def test_a_run_is_kept_until_its_report_is_written() -> None:
    report = make.attempt(1, AttemptStage.REPORT)
    keeps_none = make.job_spec(history={"unsuccessful": 0})
    old, new = run(1, RunPhase.FAILED, attempts=(report,)), run(2, RunPhase.FAILED)
    facts = make.job_facts(keeps_none, known(old, new), (old, new))
    assert not [a for a in decide_job(facts).actions if isinstance(a, DeleteRun)]
    written = run(1, RunPhase.FAILED, attempts=(report.model_copy(update={"ended_at": make.at(9)}),))
    facts = make.job_facts(keeps_none, known(written, new), (written, new))
    assert [a.name for a in decide_job(facts).actions if isinstance(a, DeleteRun)] == [written.meta.name]


PHASES = st.lists(st.sampled_from([*ENDED, RunPhase.PROMOTED]), max_size=6)


@settings(max_examples=60, deadline=None)
@given(
    phases=PHASES,
    last=st.sampled_from([None, RunPhase.TRAINING, RunPhase.QUEUED, RunPhase.FAILED]),
    flying=st.booleans(),
    suspend=st.booleans(),
    seed=st.sampled_from([7, 8]),
    retry=st.sampled_from(["", "a", "b"]),
    gone=st.sets(st.integers(0, 6)),
)
def test_in_any_state_one_look_settles_it_and_at_most_one_run_is_in_flight(
    phases: list[RunPhase],
    last: RunPhase | None,
    flying: bool,
    suspend: bool,
    seed: int,
    retry: str,
    gone: set[int],
) -> None:
    runs = [run(n, p) for n, p in enumerate(phases, 1)]
    if flying:
        runs.append(run(len(runs) + 1, last))
    status = known(*runs) if runs else FineTuneJobStatus()
    there = tuple(r for n, r in enumerate(runs) if n not in gone)
    spec = make.job_spec(suspend=suspend, training=make.training(seed=seed))
    decision = steady(make.job_facts(spec, status, there, annotations={RETRY_ANNOTATION: retry} if retry else {}))
    started = creates(decision)
    assert len(started) <= 1
    if suspend or any(r.status.phase is None or not r.status.phase.is_terminal for r in there):
        assert not started
    for create in started:
        assert create.spec.number == max([len(runs), *(r.spec.number for r in there)]) + 1 if runs else 1
    deleted = [a.uid for a in decision.actions if isinstance(a, DeleteRun)]
    assert len(deleted) == len(set(deleted))
