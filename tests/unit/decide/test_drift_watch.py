"""A job's look at drift: figures in its status without a storm of writes, and what the looks add up to."""

import json
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from tests.unit import make

from retune.api import (
    Artifact,
    DriftState,
    FineTuneJobStatus,
    FineTuneRunStatus,
    MetricName,
    RunPhase,
    Scores,
    StableModel,
    TriggerKind,
)
from retune.decide.actions import CreateRun, JobDecision, RememberDrift, WriteArms
from retune.decide.arms import OVERRIDES, RATED, Arm, ArmKind, Arms, Corrections, Edge, Split, read_arms
from retune.decide.drift.evidence import DriftEvidence, QueryReading
from retune.decide.drift.memory import Memory
from retune.decide.drift_watch import WRITTEN, accepted
from retune.decide.facts import Child, KeptDrift, Pod, RunFacts, Sent, Stage, Termination, WatchFacts
from retune.decide.job import decide_job
from retune.decide.readings import ArmState, ServingPod, TapReading
from retune.decide.readings import Serving as Seen

SLOW = {"name": "slow", "query": "job:slow:ratio", "threshold": 0.1, "for": "5m"}
RATE = {"name": "overridden", "builtin": "OverrideRate", "threshold": 0.1, "for": "5m"}
DROP = {"name": "worse", "builtin": "QualityDrop", "threshold": 0.05, "for": "5m"}
SEPARATE = {"mode": "Deployment", "httpRoute": {"parentRefs": [{"name": "gate"}]}}
MIX = {"name": "mix", "builtin": "PromptDrift", "threshold": 0.2}


class Job:
    """A job with a promoted model, its status as the API server keeps it, and what the operator remembers."""

    def __init__(self, *drift: dict[str, Any], **spec: Any) -> None:
        self.spec = make.job_spec(triggers={"drift": list(drift), "cooldown": "0s"}, **spec)
        self.now = make.NOW
        self.kept: KeptDrift | None = None
        self.serving = Seen()
        self.sent: tuple[Sent, ...] = ()
        ended = FineTuneRunStatus(
            phase=RunPhase.PROMOTED,
            ended_at=make.NOW,
            artifact=Artifact(uri="s3://models/1", digest=make.ADAPTER),
            scores=Scores(metric=MetricName.EXACT_MATCH, candidate=0.9),
        )
        self.runs: list[RunFacts] = [make.run_facts(ended, spec=make.run_spec(spec=self.spec))]
        self.status = FineTuneJobStatus()
        self.writes = self.kept_writes = 0
        self.look()  # the run is seen
        self.writes = self.kept_writes = 0

    def look(self, seen: DriftEvidence | None = None) -> JobDecision:
        """One reconcile, with what taps and Prometheus said, if they were asked."""
        facts = make.job_facts(self.spec, self.status, tuple(self.runs), now=self.now)
        watch = WatchFacts(sent=self.sent, drift=seen, kept=self.kept)
        decision = decide_job(replace(facts, watch=watch, serving=self.serving))
        told = json.loads(decision.status.model_dump_json(by_alias=True, exclude_none=True))
        self.writes += told != json.loads(self.status.model_dump_json(by_alias=True, exclude_none=True))
        self.status = FineTuneJobStatus.model_validate(told)
        for action in decision.actions:
            if isinstance(action, RememberDrift):
                written = self.kept.written if self.kept is not None else 0.0
                self.kept_writes += action.write
                self.kept = KeptDrift("job-uid", action.memory, self.now.timestamp() if action.write else written)
        return decision

    def after(self, seconds: float, seen: DriftEvidence | None = None) -> JobDecision:
        self.now += timedelta(seconds=seconds)
        return self.look(seen)

    def slow(self, value: float | None, error: str = "") -> DriftEvidence:
        return DriftEvidence(queries={"slow": QueryReading(value, self.now.timestamp() + 30, error)})


def test_a_query_that_stays_beyond_its_threshold_starts_a_run_that_has_its_numbers() -> None:
    job = Job(SLOW)
    job.after(30, job.slow(0.01))
    assert job.status.drift[0].state is DriftState.OK
    began = None
    for _ in range(20):
        created = [a for a in job.after(30, job.slow(0.31)).actions if isinstance(a, CreateRun)]
        began = began or job.status.drift[0].breached_since
        if created:
            break
        assert job.status.drift[0].state is DriftState.BREACHED
    (run,) = created
    trigger = run.spec.trigger
    assert (trigger.kind, trigger.name, trigger.value, trigger.threshold) == (TriggerKind.DRIFT, "slow", 0.31, 0.1)
    assert trigger.noticed_at == began
    assert job.now - began == timedelta(minutes=5)


def test_a_healthy_job_is_written_every_five_minutes_at_most_and_only_if_its_figures_moved() -> None:
    job = Job(SLOW)
    job.after(30, job.slow(0.01))
    job.writes = job.kept_writes = 0
    for look in range(120):  # an hour
        job.after(30, job.slow(0.01 + look / 1e6))
    assert job.writes == job.kept_writes == 3600 / WRITTEN
    job.writes = 0
    for _ in range(120):
        job.after(30, job.slow(0.02))
    assert job.writes == 1, "the first, with the new value"


def test_a_change_of_state_is_written_at_once() -> None:
    job = Job(SLOW)
    job.after(30, job.slow(0.01))
    job.writes = job.kept_writes = 0
    job.after(30, job.slow(0.01))
    assert (job.writes, job.kept_writes) == (0, 0)
    job.after(30, job.slow(0.5))
    assert (job.writes, job.kept_writes) == (1, 1)
    assert job.status.drift[0].state is DriftState.BREACHED
    job.after(30, job.slow(0.01))
    assert job.writes == 2
    assert job.status.drift[0].state is DriftState.OK


def test_no_answer_is_neither_drift_nor_its_absence() -> None:
    job = Job(SLOW)
    job.after(30, job.slow(0.01))
    for _ in range(12):
        job.after(30, job.slow(None, "SourceDown: Prometheus has not answered within 3 s"))
    (slow,) = job.status.drift
    assert slow.state is DriftState.UNKNOWN
    assert slow.message.startswith("SourceDown")


def test_it_is_looked_at_again_when_the_next_look_is_due_whatever_happens_in_between() -> None:
    job = Job(SLOW)
    assert job.after(30, job.slow(0.01)).requeue_after == 30
    remembered = job.kept
    decision = job.after(12)
    assert decision.requeue_after == pytest.approx(18)
    assert job.kept is remembered


def test_a_job_without_drift_triggers_is_not_looked_at() -> None:
    job = Job()
    decision = job.after(30, DriftEvidence())
    assert job.kept is None
    assert decision.requeue_after is None


def test_drift_is_measured_while_the_job_is_suspended_and_while_a_run_is_in_flight() -> None:
    job = Job(SLOW)
    job.runs.append(make.run_facts(FineTuneRunStatus(phase=RunPhase.TRAINING), spec=make.run_spec(2, job.spec)))
    job.after(30, job.slow(0.5))
    assert job.status.drift[0].state is DriftState.BREACHED
    job.spec = job.spec.model_copy(update={"suspend": True})
    job.after(30, job.slow(0.01))
    assert job.status.drift[0].state is DriftState.OK


def test_what_was_lost_is_said_once() -> None:
    job = Job(SLOW)
    job.kept = KeptDrift("job-uid", None, 0.0)
    assert [event.reason for event in job.after(30, job.slow(0.01)).events].count("DriftMemoryLost") == 1
    assert [event.reason for event in job.after(30, job.slow(0.01)).events].count("DriftMemoryLost") == 0


def test_what_a_look_learned_is_kept_before_anything_else_is_tried() -> None:
    job = Job(SLOW, serving={})
    decision = job.after(30, job.slow(0.5))
    kinds = [type(action) for action in decision.actions]
    assert kinds.index(RememberDrift) == 0
    assert len(kinds) > 1


# ------------------------------------------------------------------------------------------- what taps and probes say


def tap(now: datetime, windows: dict[str, Any], uid: str = "p1") -> TapReading:
    at = now.timestamp()
    told = {edge: tuple((at - 15 * n, bad, total) for n, bad, total in rows) for edge, rows in windows.items()}
    return TapReading(pod=uid, pod_uid=uid, started=0.0, now=at, generation=1, windows=told)


def test_overrides_of_stable_are_counted_over_all_taps() -> None:
    job = Job(RATE, serving={})
    for _ in range(8):
        edges = {OVERRIDES: [(1, 8, 20)], "overrides": [(1, 0, 1000)]}
        job.now += timedelta(seconds=60)
        pods = tuple(ServingPod(uid, uid, "10.0.0.1", ready=True) for uid in ("p1", "p2"))
        job.serving = Seen(pods=pods, taps={uid: tap(job.now, edges, uid) for uid in ("p1", "p2")})
        job.look(DriftEvidence())
    (rate,) = job.status.drift
    assert rate.state is DriftState.FIRING
    assert rate.value == pytest.approx(0.4)


def test_in_mode_deployment_only_pods_that_have_the_model_of_stable_speak_for_it() -> None:
    """Not the candidate's own pods, nor one of stable's that is being rolled to it."""
    job = Job(RATE, serving=SEPARATE, method={"type": "Full"})
    arms = {
        "p1": {"stable": ArmState("triage-1", make.ADAPTER, "Ready")},
        "rolled": {"stable": ArmState("triage-2", make.DIGEST, "Ready")},
        "canary": {"canary": ArmState("triage-2", make.DIGEST, "Ready")},
    }
    for _ in range(8):
        job.now += timedelta(seconds=60)
        said = {
            uid: replace(tap(job.now, {OVERRIDES: [(1, 8 if uid == "p1" else 20, 20)]}, uid), arms=arm)
            for uid, arm in arms.items()
        }
        job.serving = Seen(taps=said)
        job.look(DriftEvidence())
    (rate,) = job.status.drift
    assert rate.value == pytest.approx(0.4)
    job.serving = Seen(taps={"canary": replace(tap(job.now, {}, "canary"), arms=arms["canary"])})
    job.after(400, DriftEvidence())
    assert (job.status.drift[0].state, job.status.drift[0].message) == (DriftState.UNKNOWN, "no tap answered")


def test_taps_that_do_not_count_them_yet_say_nothing() -> None:
    job = Job(RATE, serving={})
    job.serving = Seen(taps={"p1": tap(job.now, {"errors": [(1, 0, 500)]})})
    job.after(30, DriftEvidence())
    told = (job.status.drift[0].state, job.status.drift[0].message)
    assert told == (DriftState.UNKNOWN, "0 of 100 answers in the last hour")


def test_silent_taps_are_not_taken_for_taps_without_answers() -> None:
    job = Job(RATE, serving={})
    job.after(30, DriftEvidence())
    assert (job.status.drift[0].state, job.status.drift[0].message) == (DriftState.UNKNOWN, "no tap answered")


def probe(name: str, at: datetime, right: int) -> Sent:
    told = {"asked": 200, "answered": 200, "score": float(right), "right": right, "metric": "ExactMatch"}
    end = Termination(0, "Completed", {"outcome": "Succeeded", "watch": {"probe": told}}, at, at)
    child = Child(name, f"uid-{name}", Stage.WATCH, 1, complete=True, created=at)
    pod = Pod(name, f"pod-{name}", Stage.WATCH, 1, "Succeeded", created=at, termination=end)
    return Sent(child, count=False, probe=True, pods=(pod,))


def test_probes_that_find_the_model_worse_than_when_it_was_accepted_fire() -> None:
    job = Job(DROP, serving={})
    for number in range(3):
        job.sent = (probe(f"triage-watch-{number}", job.now + timedelta(seconds=30), 120),)
        for _ in range(6):
            job.after(30, DriftEvidence())
    (worse,) = job.status.drift
    assert worse.state is DriftState.FIRING
    assert worse.value == pytest.approx(0.9 - 0.6)
    assert worse.samples is not None
    assert worse.samples % 200 == 0, "each probe counts once, however often it is read"


@pytest.mark.parametrize("what", ["another metric", "no scores", "the run is gone", "nothing serves"])
def test_where_it_is_not_known_how_good_the_model_was_nothing_is_compared(what: str) -> None:
    job = Job(DROP, serving={})
    run = job.runs[0]
    scores = Scores(metric=MetricName.TOKEN_F1, candidate=0.9) if what == "another metric" else None
    if what in ("another metric", "no scores"):
        job.runs = [replace(run, status=run.status.model_copy(update={"scores": scores}))]
    elif what == "the run is gone":
        job.runs = []
    else:
        job.runs = [make.run_facts(FineTuneRunStatus(phase=RunPhase.FAILED), spec=run.spec)]
        job.status = FineTuneJobStatus(latest_run=job.status.latest_run)
    job.sent = (probe("triage-watch-1", job.now + timedelta(seconds=30), 120),)
    job.after(60, DriftEvidence())
    assert job.status.drift[0].state is DriftState.UNKNOWN


def test_the_accuracy_is_that_of_the_model_that_serves_not_of_the_newest_run() -> None:
    from retune.decide.draft import JobDraft

    job = Job(DROP, serving={})
    job.runs.append(make.run_facts(FineTuneRunStatus(phase=RunPhase.TRAINING), spec=make.run_spec(2, job.spec)))
    draft = JobDraft(make.job_facts(job.spec, job.status, tuple(job.runs)), job.status)
    assert accepted(draft.facts.runs, draft) == 0.9


# ------------------------------------------------------------------------------------------------ what taps are told


def told(job: Job) -> Split:
    job.serving = Seen()
    (arms,) = [a.arms for a in job.look().actions if isinstance(a, WriteArms)]
    (split,) = arms.models.values()
    return split


def based(*drift: dict[str, Any], **spec: Any) -> Job:
    job = Job(*drift, **{"serving": {}, **spec})
    from retune.api import PinnedBaseModel

    job.status = job.status.model_copy(
        update={"base_model": PinnedBaseModel(uri="s3://models/tiny", digest=make.DIGEST, resolved="s3://models/tiny")}
    )
    return job


@pytest.mark.parametrize(
    ("drift", "features", "edges"),
    [
        ((), False, set()),
        ((SLOW,), False, set()),
        ((MIX,), True, set()),
        ((RATE,), False, {OVERRIDES}),
        ((DROP,), False, {RATED}),
        ((MIX, RATE, DROP, SLOW), True, {OVERRIDES, RATED}),
    ],
)
def test_taps_tell_of_what_a_trigger_asks_for_and_of_nothing_else(
    drift: tuple[dict[str, Any], ...], features: bool, edges: set[str]
) -> None:
    split = told(based(*drift))
    assert split.features is features
    assert {edge.name for edge in split.edges if edge.name.startswith("drift:")} == edges
    assert split.corrections is None


@pytest.mark.parametrize(
    ("drift", "serving", "header"),
    [
        ((MIX,), {}, None),
        ((DROP,), {}, "x-retune-stable"),
        ((DROP,), {"optOutHeader": "x-mine"}, "x-mine"),
        ((DROP,), {"stickyHeader": "X-Retune-Stable"}, None),
    ],
)
def test_probes_can_be_told_from_users_although_the_job_names_no_header(
    drift: tuple[dict[str, Any], ...], serving: dict[str, str], header: str | None
) -> None:
    assert told(based(*drift, serving=serving)).opt_out_header == header


def test_in_mode_deployment_taps_tell_of_drift_too_and_know_probes_at_rest() -> None:
    serving = {**SEPARATE, "corrections": {"collect": True}}
    split = told(based(MIX, RATE, DROP, serving=serving, method={"type": "Full"}))
    assert (split.stable.kind, split.features, split.opt_out_header) == (ArmKind.MODEL, True, "x-retune-stable")
    assert {OVERRIDES, RATED} <= {edge.name for edge in split.edges}
    assert split.corrections is not None


def test_corrections_go_into_the_jobs_own_folder_without_the_personal_data_that_its_gate_names() -> None:
    serving = {"corrections": {"collect": True, "maxExamples": 300}}
    split = told(based(serving=serving, gates={"privacy": {"entities": ["PERSON", "IBAN_CODE"]}}))
    assert split.corrections == Corrections(
        "s3://models/retune/support/triage/corrections/", ("PERSON", "IBAN_CODE"), 300
    )


@pytest.mark.parametrize(
    ("uri", "folder"),
    [
        (None, "s3://default/retune/support/triage/corrections/"),
        ("s3://models/", "s3://models/support/triage/corrections/"),
        ("pvc://models/retune", None),
    ],
)
def test_corrections_go_where_artifacts_go(uri: str | None, folder: str | None) -> None:
    place = {"uri": uri} if uri else None
    split = told(based(serving={"corrections": {"collect": True}}, artifacts=place))
    assert (split.corrections.uri if split.corrections is not None else None) == folder


def arms(**changes: Any) -> Arms:
    edges = (Edge("errors", "Errors"), Edge(OVERRIDES, "Overrides", window=600.0), Edge(RATED, "Rated", window=600.0))
    return Arms("support", "triage", "uid", {"triage": Split(Arm(ArmKind.BASE), edges=edges, **changes)}, 3)


def test_a_document_is_read_as_it_was_written() -> None:
    document = arms(features=True, corrections=Corrections("s3://models/x/", ("PERSON",), 5000))
    assert read_arms(document.json()) == document
    said = json.loads(document.json())["models"]["triage"]
    assert said["features"] is True
    assert said["corrections"] == {"uri": "s3://models/x/", "entities": ["PERSON"], "most": 5000}


def test_what_nobody_asks_for_is_not_said_so_that_an_upgrade_writes_no_document_again() -> None:
    said = json.loads(arms().json())["models"]["triage"]
    assert not {"features", "corrections"} & set(said)
    assert read_arms(arms().json()) == arms()


@pytest.mark.parametrize("broken", [{}, {"uri": "s3://x"}, {"uri": "s3://x", "entities": 3, "most": 1}, "s3://x"])
def test_a_document_with_broken_corrections_is_none(broken: Any) -> None:
    said = json.loads(arms().json())
    said["models"]["triage"]["corrections"] = broken or {"most": 1}
    with pytest.raises(ValueError, match="not an arms document"):
        read_arms(json.dumps(said))


def test_the_model_that_serves_is_that_of_the_status_as_it_becomes() -> None:
    job = Job(SLOW)
    job.after(30, job.slow(0.01))
    assert job.kept is not None
    assert isinstance(job.kept.memory, Memory)
    stable = job.status.stable
    assert isinstance(stable, StableModel)
    assert job.kept.memory.served == f"{stable.run}/{stable.digest}"
