"""Single steps of a run that the state machine does not look at: messages, results, deadlines, money."""

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit import make
from tests.unit.decide.world import stored

from retune.api import (
    AttemptStage,
    Condition,
    FineTuneJobStatus,
    FineTuneRunStatus,
    Recovery,
    Resolved,
    RunPhase,
    Trigger,
    TriggerKind,
)
from retune.decide.actions import CreateChild, DeleteChild, RunDecision
from retune.decide.conditions import find
from retune.decide.facts import PodProgress, RunFacts, Stage
from retune.decide.job import decide_job
from retune.decide.run import decide_run

PASSED = make.attempt(1, AttemptStage.PREFLIGHT, started_at=make.NOW, ended_at=make.at(5), exit="Succeeded")
RESOLVED = Resolved.model_validate(make.RESOLVED)


def preflight(**changes: Any) -> RunFacts:
    status = FineTuneRunStatus(
        phase=RunPhase.PREFLIGHT, started_at=make.NOW, attempts=(make.attempt(1, AttemptStage.PREFLIGHT),)
    )
    return make.run_facts(status, **changes)


def in_training(*earlier: Any, number: int = 1, **changes: Any) -> RunFacts:
    current = make.attempt(number, started_at=make.NOW, job_uid=make.child(attempt=number).uid)
    status = FineTuneRunStatus(
        phase=RunPhase.TRAINING, started_at=make.NOW, resolved=RESOLVED, attempts=(PASSED, *earlier, current)
    )
    return make.run_facts(status, **changes)


def said(decision: RunDecision, type_: str) -> Condition:
    found = find(decision.status.conditions, type_)
    assert found is not None
    return found


def over(message: Any, stage: Stage = Stage.TRAIN, code: int = 0) -> dict[str, Any]:
    child = make.child(stage, complete=True) if code == 0 else make.failed_child(code, stage)
    return {"children": (child,), "pods": (make.ended(code, message, stage),), "now": make.at(200)}


def test_a_good_result_is_promoted_with_its_numbers() -> None:
    status = decide_run(in_training(**over(make.trained()))).status
    assert (status.phase, status.ended_at) == (RunPhase.PROMOTED, make.at(200))
    assert status.scores is not None
    assert (status.scores.uplift, status.scores.n) == (0.7, 240)
    assert status.artifact is not None
    assert status.artifact.digest == make.ADAPTER
    assert status.versions == {"torch": "2.9.0"}
    assert status.cost is not None
    assert status.cost.gpu_seconds == 100.0  # one GPU from the pod's start to its end
    assert status.cost.amount == "0.0700"  # 100 s at 2.50 and half a core at 0.04 an hour: 0.06944… + 0.00055…


@pytest.mark.parametrize(("candidate", "base"), [(None, 0.1), (0.5, None), (None, None)])
def test_a_result_without_scores_is_neither_promoted_nor_rejected(candidate: Any, base: Any) -> None:
    decision = decide_run(in_training(**over(make.trained(candidate, base))))
    assert decision.status.phase is RunPhase.FAILED
    assert said(decision, "Trained").reason == "InvalidResult"
    assert decision.status.artifact is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=30) | st.dictionaries(st.text(max_size=8), inner, max_size=5),
    max_leaves=8,
)
KEYS = [
    "resolved",
    "measured",
    "notes",
    "versions",
    "steps",
    "scores",
    "metrics",
    "segments",
    "artifact",
    "comparisons",
    "segmentsTested",
    "tokensPerSecond",
]


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(KEYS), value=JSON, stage=st.sampled_from([Stage.PREFLIGHT, Stage.TRAIN]))
def test_a_foreign_result_ends_the_run_or_fits_into_its_status(key: str, value: Any, stage: Stage) -> None:
    message = {**(make.CHECKED if stage is Stage.PREFLIGHT else make.trained()), key: value}
    facts = preflight if stage is Stage.PREFLIGHT else in_training
    decision = decide_run(facts(**over(message, stage)))
    stored(decision.status)
    assert decision.status.attempts[1 if stage is Stage.TRAIN else 0].exit == "Succeeded"
    if decision.status.phase is RunPhase.FAILED:
        assert "InvalidResult" in {c.reason for c in decision.status.conditions}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("steps", -1),
        ("steps", "many"),
        ("tokensPerSecond", -5),
        ("metrics", ["ExactMatch"]),
        ("segments", [{"name": str(n), "n": 1} for n in range(21)]),
        ("versions", "1.0"),
        ("versions", {"torch": "x" * 500}),
        ("artifact", None),
        ("comparisons", []),
        ("comparisons", [make.comparison(None)]),
        ("comparisons", [make.comparison(set="Bronze")]),
        ("segmentsTested", -1),
    ],
)
def test_a_result_that_the_api_server_would_refuse_is_named_as_invalid(key: str, value: Any) -> None:
    decision = decide_run(in_training(**over({**make.trained(), key: value})))
    assert (decision.status.phase, said(decision, "Trained").reason) == (RunPhase.FAILED, "InvalidResult")


def test_a_result_that_is_not_good_enough_is_rejected_with_the_number_that_failed() -> None:
    decision = decide_run(in_training(**over(make.trained(candidate=0.12, base=0.1))))  # minUplift is 0.02
    assert decision.status.phase is RunPhase.REJECTED
    assert "uplift +0.020 (at least -0.030" in said(decision, "Accepted").message


# ---------------------------------------------------------------------------------------------------------------- gates


def measured(**gates: Any) -> Any:
    return {**make.CHECKED, "measured": {**make.MEASURED, **gates}}


def test_a_gate_that_says_no_declines_the_run_before_any_training_pod() -> None:
    leaked = measured(leakage={"gold": 240, "exact": 9, "near": 9, "nearFraction": 0.0375})
    decision = decide_run(preflight(**over(leaked, Stage.PREFLIGHT)))
    assert decision.status.phase is RunPhase.DECLINED
    assert said(decision, "GatesPassed").reason == "LeakageGateFailed"
    assert "9 of 240" in said(decision, "GatesPassed").message
    assert not [a for a in decision.actions if isinstance(a, CreateChild) and a.stage is Stage.TRAIN]
    assert {g.name for g in decision.status.gates} >= {"data", "leakage", "privacy"}


def needs(*names: str, **changes: Any) -> RunFacts:
    spec = make.run_spec(spec=make.job_spec(gates={"approvals": {"required": [{"name": n} for n in names]}}))
    return preflight(spec=spec, **over(make.CHECKED, Stage.PREFLIGHT), **changes)


def signed(facts: RunFacts, **by: str) -> RunFacts:
    annotations = {f"approval.retune.dev/{name}": who for name, who in by.items()}
    return replace(facts, meta=replace(facts.meta, annotations=annotations), now=make.at(300))


def test_a_run_waits_until_everybody_has_signed_and_remembers_who_and_when() -> None:
    waits = decide_run(needs("legal", "privacy"))
    assert waits.status.phase is RunPhase.AWAITING_APPROVAL
    assert "legal, privacy" in said(waits, "GatesPassed").message
    assert not waits.actions
    facts = replace(needs("legal", "privacy"), status=waits.status)
    half = decide_run(signed(facts, legal="alice"))
    assert half.status.phase is RunPhase.AWAITING_APPROVAL
    both = decide_run(replace(signed(facts, legal="alice", privacy="bob"), status=half.status, now=make.at(400)))
    assert both.status.phase is RunPhase.QUEUED
    assert [(a.name, a.by, a.at) for a in both.status.approvals] == [
        ("legal", "alice", make.at(300)),
        ("privacy", "bob", make.at(400)),
    ]


def test_a_signature_that_is_withdrawn_while_others_are_missing_does_not_count() -> None:
    facts = replace(needs("legal", "privacy"), status=decide_run(needs("legal", "privacy")).status)
    half = decide_run(signed(facts, legal="alice"))
    waiting = replace(facts, status=half.status)
    job = replace(facts, job=decide_job(make.job_facts(runs=(waiting,))).status)
    after = decide_run(replace(signed(job, privacy="bob"), status=half.status))
    assert after.status.phase is RunPhase.AWAITING_APPROVAL
    assert "legal" in said(after, "GatesPassed").message


PII = {"EMAIL_ADDRESS": 3, "rows": 3, "redacted": 1}


def finds(pii: dict[str, Any], *names: str, **privacy: Any) -> RunFacts:
    gates = {"approvals": {"required": [{"name": n} for n in names]}, "privacy": privacy}
    spec = make.run_spec(spec=make.job_spec(gates=gates))
    return preflight(spec=spec, **over(measured(privacy=pii), Stage.PREFLIGHT))


def test_a_signature_from_before_personal_data_was_found_counts_only_when_it_is_put_again() -> None:
    early = signed(finds(PII, "legal", redact=True), legal="alice")
    first = decide_run(early)
    assert first.status.phase is RunPhase.AWAITING_APPROVAL
    assert not first.status.approvals
    assert "alice" in said(first, "GatesPassed").message
    again = decide_run(replace(early, status=first.status))
    assert again.status == first.status, "looking twice changes nothing"
    withdrawn = decide_run(signed(replace(early, status=first.status)))
    resigned = decide_run(replace(early, status=withdrawn.status))
    assert resigned.status.phase is RunPhase.QUEUED
    assert [(a.name, a.by) for a in resigned.status.approvals] == [("legal", "alice")]


def test_somebody_elses_signature_may_take_the_place_of_one_that_came_too_early() -> None:
    early = signed(finds(PII, "legal", redact=True), legal="alice")
    replaced = decide_run(signed(replace(early, status=decide_run(early).status), legal="bob"))
    assert replaced.status.phase is RunPhase.QUEUED


def test_an_early_signature_holds_when_no_personal_data_is_found() -> None:
    assert decide_run(signed(needs("legal"), legal="alice")).status.phase is RunPhase.QUEUED


@pytest.mark.parametrize(
    ("pii", "later"),
    [
        ({"rows": 0}, finds({}, "legal", mode="Off")),
        ({"rows": 0}, finds({"rows": 0}, "legal", entities=["IBAN_CODE"])),
        (PII, finds({**PII, "redacted": 0}, "legal", mode="Warn")),
    ],
    ids=["nobody looks any more", "less is looked for", "it is not scrubbed any more"],
)
def test_an_approval_does_not_hold_once_less_is_done_about_personal_data(pii: dict[str, Any], later: RunFacts) -> None:
    facts = finds(pii, "legal", redact=True)
    signed_off = decide_run(signed(replace(facts, status=decide_run(facts).status), legal="alice")).status
    assert signed_off.phase is RunPhase.QUEUED
    job = facts.job.model_copy(update={"approvals": signed_off.approvals})
    assert decide_run(replace(facts, job=job)).status.phase is RunPhase.QUEUED
    assert decide_run(replace(later, job=job)).status.phase is RunPhase.AWAITING_APPROVAL


def test_sixteen_approvals_by_people_with_long_names_fit_into_the_status() -> None:
    names = [f"{letter * 60}" for letter in "abcdefghijklmnop"]
    waits = decide_run(needs(*names))
    assert waits.status.phase is RunPhase.AWAITING_APPROVAL
    facts = replace(needs(*names), status=waits.status)
    done = decide_run(signed(facts, **dict.fromkeys(names, "system:serviceaccount:" + "x" * 100)))
    assert done.status.phase is RunPhase.QUEUED
    for status in (waits.status, done.status):
        FineTuneRunStatus.model_validate(status.model_dump())


def test_a_run_that_is_suspended_while_it_waits_for_people_still_says_so() -> None:
    waits = decide_run(needs("legal"))
    stopped = decide_run(replace(needs("legal"), status=waits.status, suspended=True))
    assert stopped.status.phase is RunPhase.AWAITING_APPROVAL
    assert said(stopped, "Admitted").reason == "Suspended"
    on = decide_run(replace(needs("legal"), status=stopped.status))
    assert not [c for c in on.status.conditions if c.reason == "Suspended"], "it is not suspended any more"


def test_a_result_with_a_number_beyond_all_bounds_fails_the_run_instead_of_the_operator() -> None:
    facts = in_training(**over({**make.trained(), "steps": float("inf")}, Stage.TRAIN))
    decision = decide_run(facts)
    assert decision.status.phase is RunPhase.FAILED
    assert said(decision, "Trained").reason == "InvalidResult"


def test_an_approval_holds_for_a_later_run_as_long_as_what_was_approved_stays_the_same() -> None:
    first = decide_run(signed(needs("legal"), legal="alice")).status
    assert first.phase is RunPhase.QUEUED
    job = needs("legal").job.model_copy(update={"approvals": first.approvals})
    later = replace(needs("legal"), job=job, meta=replace(needs("legal").meta, created=make.at(5000)))
    assert decide_run(later).status.phase is RunPhase.QUEUED
    found_pii = measured(privacy={"EMAIL_ADDRESS": 3, "rows": 3, "redacted": 1})
    redact = {"approvals": {"required": [{"name": "legal"}]}, "privacy": {"redact": True}}
    spec = make.run_spec(spec=make.job_spec(gates=redact))
    other = replace(later, spec=spec, pods=over(found_pii, Stage.PREFLIGHT)["pods"])
    assert decide_run(other).status.phase is RunPhase.AWAITING_APPROVAL


def test_a_failed_gate_is_told_before_anybody_is_asked_to_sign() -> None:
    spec = make.run_spec(spec=make.job_spec(gates={"approvals": {"required": [{"name": "legal"}]}}))
    leaked = measured(leakage={"gold": 240, "exact": 9, "near": 9, "nearFraction": 0.0375})
    assert decide_run(preflight(spec=spec, **over(leaked, Stage.PREFLIGHT))).status.phase is RunPhase.DECLINED


# ------------------------------------------------------------------------------------------------------------- money


def test_a_run_that_has_used_up_its_money_fails_and_says_so() -> None:
    spec = make.run_spec(spec=make.job_spec(budget={"perRun": "0.10"}))  # some 140 s
    late = make.failed_child(137)
    late = replace(late, failed=("DeadlineExceeded", "Job was active longer than specified deadline"))
    decision = decide_run(in_training(spec=spec, children=(late,), pods=(), now=make.at(150)))
    assert decision.status.phase is RunPhase.FAILED
    assert said(decision, "Trained").reason == "BudgetExceeded"
    assert "spec.budget.perRun (0.10 EUR)" in said(decision, "Trained").message


def test_the_training_pod_is_given_what_the_money_allows() -> None:
    spec = make.run_spec(spec=make.job_spec(budget={"perRun": "0.10"}))
    decision = decide_run(preflight(spec=spec, **over(make.CHECKED, Stage.PREFLIGHT)))
    (create,) = (a for a in decision.actions if isinstance(a, CreateChild))
    assert 100 < create.deadline < 143


# ------------------------------------------------------------------------------------------------------------ report


def reports(decision: RunDecision) -> list[CreateChild]:
    return [a for a in decision.actions if isinstance(a, CreateChild) and a.stage is Stage.REPORT]


def test_every_end_of_a_run_that_had_pods_is_followed_by_a_report_that_knows_the_verdict() -> None:
    for decision in (
        decide_run(in_training(**over(make.trained()))),
        decide_run(in_training(**over(make.failed("DatasetEmpty", "spec.dataset.train.uri", "x"), code=64))),
        decide_run(preflight(**over(measured(leakage={"gold": 1, "exact": 1, "nearFraction": 1}), Stage.PREFLIGHT))),
    ):
        (asked,) = reports(decision)
        assert json.loads(asked.status)["phase"] == decision.status.phase
        assert json.loads(asked.status)["attempts"][0]["stage"] == "Preflight"


def answered_drift(run: str = make.RUN) -> tuple[RunFacts, FineTuneJobStatus]:
    """A run that drift had started, promoted now; and the job's status once it has reckoned up `run`'s recovery."""
    drift = Trigger(kind=TriggerKind.DRIFT, name="prompts", noticed_at=make.at(-3600))
    facts = in_training(**over(make.trained()), spec=make.run_spec(trigger=drift))
    ended = replace(facts, status=decide_run(facts).status)
    recovery = Recovery(run=run, noticed_at=make.at(-3600), promoted_at=make.NOW, seconds=3600, interventions=2)
    return ended, FineTuneJobStatus(recovery=recovery)


def test_the_report_of_a_run_that_answered_drift_tells_the_recovery() -> None:
    ended, job = answered_drift()
    waits = decide_run(ended)
    assert (reports(waits), waits.requeue_after) == ([], 1), "the job has not reckoned it up yet"
    (asked,) = reports(decide_run(replace(ended, job=job)))
    told = json.loads(asked.status)["recovery"]
    assert (told["seconds"], told["interventions"]) == (3600, 2)


def test_a_report_does_not_wait_for_ever_for_a_recovery_and_tells_no_other_runs() -> None:
    ended, job = answered_drift(run="triage-9-ffff")
    assert ended.status.ended_at is not None
    late = replace(ended, job=job, now=ended.status.ended_at + timedelta(seconds=61))
    (asked,) = reports(decide_run(late))
    assert "recovery" not in json.loads(asked.status)


def test_a_report_waits_until_the_training_pod_is_gone() -> None:
    running = in_training(children=(make.child(),), pods=(make.running(),), cancel="enough")
    first = decide_run(running)
    assert first.status.phase is RunPhase.CANCELLED
    assert not reports(first)
    gone = decide_run(replace(running, status=first.status, children=(), pods=()))
    assert len(reports(gone)) == 1


def test_the_report_is_named_when_it_is_written_and_given_up_after_two_tries() -> None:
    ended = decide_run(in_training(**over(make.trained()))).status
    facts = in_training(**over(make.trained()))

    def try_(status: FineTuneRunStatus, number: int, message: Any, code: int = 0) -> RunDecision:
        done = make.child(Stage.REPORT, number, complete=True)
        child = done if code == 0 else make.failed_child(code, Stage.REPORT, number)
        pod = make.ended(code, message, Stage.REPORT, number)
        return decide_run(replace(facts, status=status, children=(child,), pods=(pod,)))

    uri = "s3://models/retune/support/triage/run/report.html"
    written = try_(ended, 1, {"outcome": "Succeeded", "reportUri": uri})
    assert (written.status.report_uri, reports(written)) == (uri, [])
    again = try_(ended, 1, {}, code=1)
    assert [r.attempt for r in reports(again)] == [2]
    given_up = try_(again.status, 2, {}, code=1)
    assert (given_up.status.report_uri, reports(given_up)) == (None, [])
    assert given_up.status.phase is RunPhase.PROMOTED


def test_a_report_that_cannot_be_created_is_given_up_an_hour_after_the_end() -> None:
    facts = in_training(**over(make.trained()))
    ended = decide_run(facts).status
    waiting = replace(facts, status=ended, children=(), pods=())
    assert len(reports(decide_run(replace(waiting, now=make.at(3000))))) == 1
    late = decide_run(replace(waiting, now=make.at(4000)))
    assert (reports(late), late.status.attempts[-1].reason) == ([], "ReportGivenUp")
    after = decide_run(replace(waiting, status=late.status, now=make.at(5000)))
    assert (after.actions, after.status) == ((), late.status)


def test_a_run_whose_pods_end_an_hour_after_it_has_no_report_and_is_left_alone() -> None:
    facts = in_training(children=(make.child(),), pods=(make.running(),), cancel="enough")
    cancelled = decide_run(facts).status
    late = replace(facts, status=cancelled, children=(), pods=(), now=make.at(8000))
    assert (decide_run(late).actions, decide_run(late).status) == ((), cancelled)


def test_a_run_that_never_had_a_pod_has_no_report() -> None:
    cancelled = decide_run(make.run_facts(cancel="never mind"))
    assert cancelled.status.phase is RunPhase.CANCELLED
    assert not reports(cancelled)


# -------------------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize(("ended", "wait"), [(1, 10), (2, 20), (3, 40), (5, 160), (6, 300), (30, 300)])
def test_the_pause_before_the_next_attempt_doubles_up_to_five_minutes(ended: int, wait: int) -> None:
    attempts = [
        make.attempt(n, started_at=make.NOW, ended_at=make.at(100), exit="Disrupted", reason="Evicted", message="m")
        for n in range(1, ended + 1)
    ]
    status = FineTuneRunStatus(phase=RunPhase.QUEUED, resolved=RESOLVED, attempts=(PASSED, *attempts))
    early = decide_run(make.run_facts(status, now=make.at(100 + wait - 1)))
    assert not early.actions
    assert early.requeue_after == pytest.approx(1.0)
    assert said(early, "Admitted").reason == "Retrying"
    (create,) = decide_run(make.run_facts(status, now=make.at(100 + wait))).actions
    assert isinstance(create, CreateChild)
    assert create.attempt == ended + 1


def test_attempts_without_end_come_to_an_end() -> None:
    """Disruptions never count, but the status holds 64 attempts: one more would be refused for ever."""
    attempts = tuple(
        make.attempt(n, started_at=make.NOW, ended_at=make.at(1), exit="Disrupted", reason="Evicted", message="gone")
        for n in range(1, 64)
    )
    status = FineTuneRunStatus(phase=RunPhase.QUEUED, resolved=RESOLVED, attempts=(PASSED, *attempts))
    decision = decide_run(make.run_facts(status, now=make.at(10_000)))
    stored(decision.status)
    assert decision.status.phase is RunPhase.FAILED
    assert "64" in said(decision, "Trained").message


def test_an_image_that_is_no_trainer_is_given_up_after_the_allowed_retries() -> None:
    facts, created = in_training(**over({})), 1
    for _ in range(20):
        decision = decide_run(facts)
        facts = replace(facts, status=decision.status, now=facts.now.replace(year=facts.now.year + 1))
        for action in decision.actions:
            if isinstance(action, CreateChild) and action.stage is Stage.TRAIN:
                created += 1
                child = make.child(attempt=action.attempt, complete=True)
                ended = make.ended(0, {}, attempt=action.attempt)
                facts = replace(facts, children=(*facts.children, child), pods=(*facts.pods, ended))
    assert facts.status.phase is RunPhase.FAILED
    assert created == 3  # the first one and spec.training.maxRetries


def test_a_deleted_pods_exit_code_is_no_crash_even_when_only_the_job_remembers_it() -> None:
    going = in_training(children=(make.child(),), pods=(make.running(deleting=True),))
    seen = decide_run(going).status
    decision = decide_run(replace(going, status=seen, children=(make.failed_child(137),), pods=()))
    assert (decision.status.attempts[1].exit, decision.status.attempts[1].counted) == ("Disrupted", False)


# ------------------------------------------------------------------------------------------------------ while it waits


def test_a_reason_that_only_a_person_mends_ends_the_run_at_the_deadline_not_before() -> None:
    stuck = make.pod(Stage.PREFLIGHT, waiting=("ImagePullBackOff", "no such image"))
    facts = preflight(children=(make.child(Stage.PREFLIGHT),), pods=(stuck,))
    first = decide_run(facts)
    assert first.requeue_after == 600
    other = replace(stuck, waiting=("ErrImagePull", "no such image"))  # the kubelet goes to and fro between the two
    at_599 = decide_run(replace(facts, status=first.status, pods=(other,), now=make.at(599)))
    assert (at_599.status.phase, at_599.requeue_after) == (RunPhase.PREFLIGHT, 1)
    end = decide_run(replace(facts, status=at_599.status, now=make.at(600)))
    assert end.status.phase is RunPhase.FAILED
    assert "spec.training.image" in said(end, "GatesPassed").message
    assert [a.name for a in end.actions if isinstance(a, DeleteChild)] == [make.child(Stage.PREFLIGHT).name]


def test_no_room_in_the_cluster_is_waited_for_without_end() -> None:
    pods = (make.pod(waiting=("Unschedulable", "0/3 nodes")),)
    facts = in_training(children=(make.child(),), pods=pods, now=make.at(1_000_000))
    decision = decide_run(facts)
    assert decision.status.phase is RunPhase.QUEUED
    assert said(decision, "Admitted").reason == "Unschedulable"


# ------------------------------------------------------------------------------------------------------------- progress


def test_progress_is_written_as_often_as_asked_and_a_change_of_phase_at_once() -> None:
    facts = in_training(children=(make.child(),), pods=(make.running(),))
    at_zero = PodProgress(1, "Training", 1, 40, 2.0, 100.0, 90.0)
    status = decide_run(replace(facts, progress=at_zero)).status
    assert status.progress is not None
    assert (status.progress.display, status.progress.eta) == ("1/40", make.at(90))
    soon = replace(facts, status=status, progress=replace(at_zero, step=5), now=make.at(9))
    assert decide_run(soon).status == status
    later = decide_run(replace(soon, now=make.at(10))).status
    assert later.progress is not None
    assert later.progress.step == 5
    evaluating = decide_run(replace(soon, progress=replace(at_zero, stage="Evaluating", step=40))).status
    assert evaluating.phase is RunPhase.EVALUATING
    silent = decide_run(replace(soon, status=evaluating, progress=None)).status
    assert silent.phase is RunPhase.EVALUATING, "a poll that fails once does not move a run back"


def test_a_pod_that_does_not_know_its_step_yet_is_at_none() -> None:
    facts = in_training(children=(make.child(),), pods=(make.running(),))
    status = decide_run(replace(facts, progress=PodProgress(1, "Loading", None, 40))).status
    assert status.progress is not None
    assert status.progress.display == "0/40"


def test_what_an_older_attempt_says_of_itself_is_not_ours() -> None:
    facts = in_training(number=2, children=(make.child(attempt=2),), pods=(make.running(attempt=2),))
    assert decide_run(replace(facts, progress=PodProgress(1, "Training", 39, 40))).status.progress is None


# ------------------------------------------------------------------------------------------------------------ and money


@pytest.mark.parametrize(
    ("resources", "cores"),
    [
        ({"requests": {"cpu": "4"}}, 4),
        ({"requests": {"cpu": "500m"}, "limits": {"cpu": "2"}}, 0.5),
        ({"limits": {"cpu": "8"}}, 8),  # Kubernetes takes a lone limit for the request
        (None, 1),
    ],
)
def test_cpu_time_is_that_of_the_cores_asked_for(resources: Any, cores: float) -> None:
    spec = make.run_spec(spec=make.job_spec(training=make.training(resources=resources)))
    status = decide_run(in_training(spec=spec, **over(make.trained()))).status
    assert status.attempts[1].cpu_seconds == 100 * cores


def test_a_pod_that_vanished_is_charged_until_it_was_missed() -> None:
    decision = decide_run(in_training(now=make.at(500)))  # neither Job nor pod is there
    attempt = decision.status.attempts[1]
    assert (attempt.exit, attempt.gpu_seconds) == ("Lost", 500)


def test_what_preflight_found_is_handed_to_training_word_for_word() -> None:
    decision = decide_run(preflight(**over(make.CHECKED, Stage.PREFLIGHT)))
    (create,) = (a for a in decision.actions if isinstance(a, CreateChild))
    assert (create.stage, create.attempt) == (Stage.TRAIN, 1)
    assert json.loads(create.expected) == {**make.RESOLVED, "alpha": pytest.approx(0.025)}


def test_a_suspended_job_whose_preflight_just_ended_does_not_start_training() -> None:
    decision = decide_run(preflight(suspended=True, **over(make.CHECKED, Stage.PREFLIGHT)))
    assert not [a for a in decision.actions if isinstance(a, CreateChild)]
    assert decision.status.resolved is not None, "the result is kept"
    assert said(decision, "Admitted").reason == "Suspended"


def test_the_next_attempt_waits_for_a_pod_that_outlived_its_job() -> None:
    crashed = make.attempt(1, started_at=make.NOW, ended_at=make.at(1), exit="Lost", reason="JobDeleted", message="m")
    status = FineTuneRunStatus(phase=RunPhase.QUEUED, resolved=RESOLVED, attempts=(PASSED, crashed))
    decision = decide_run(make.run_facts(status, now=make.at(1000), pods=(make.running(),)))
    assert not decision.actions
    assert said(decision, "Admitted").reason == "WaitingForPods"


def test_a_job_that_is_going_is_not_over_until_it_is_gone() -> None:
    going = in_training(children=(make.child(deleting=True, failed=("x", "y")),), pods=(make.ended(1),))
    assert decide_run(going).status.attempts == going.status.attempts
    gone = decide_run(replace(going, children=(), pods=()))
    assert (gone.status.attempts[1].exit, gone.status.attempts[1].reason) == ("Lost", "JobDeleted")
