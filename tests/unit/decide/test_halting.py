"""The halt after too many runs for nothing: what counts, how often, and who lets the job go on."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Approval, AttemptStage, FineTuneJobStatus, FineTuneRunStatus, GoldLooks, JobPhase, RunPhase
from retune.decide.actions import CreateRun, DeleteRun
from retune.decide.conditions import find
from retune.decide.facts import RunFacts
from retune.decide.halting import FRUITLESS
from retune.decide.job import decide_job
from retune.decide.naming import RESUME_ANNOTATION, RETRY_ANNOTATION

ENDS = [p for p in RunPhase if p.is_terminal]


class Job:
    """A job over its whole life; a retry makes each next run due, and history keeps almost none of them."""

    def __init__(self, limit: int = 3, **spec: Any) -> None:
        triggers = {"haltAfterFruitlessRuns": limit}
        self.spec = make.job_spec(triggers=triggers, history={"succeeded": 1, "unsuccessful": 0}, **spec)
        self.status, self.runs = FineTuneJobStatus(), {}  # type: ignore[var-annotated]
        self.annotations: dict[str, str] = {}

    def look(self) -> None:
        """Reconcile until nothing changes; twice at each step, as a level-triggered operator may."""
        for _ in range(6):
            runs = tuple(self.runs.values())
            facts = make.job_facts(self.spec, self.status, runs, annotations=self.annotations)
            decision = decide_job(facts)
            again = decide_job(replace(facts, status=decision.status))
            assert again.status.fruitless_runs == decision.status.fruitless_runs
            self.status = decision.status
            for action in decision.actions:
                if isinstance(action, CreateRun):
                    self.runs[action.name] = make.run_facts(spec=action.spec)
                if isinstance(action, DeleteRun):
                    del self.runs[action.name]

    def flying(self) -> RunFacts | None:
        return next((r for r in self.runs.values() if r.status.phase is None), None)

    def run(self, phase: RunPhase, *, trained: bool = True) -> bool:
        """One more run that ends so; False if none starts."""
        self.annotations[RETRY_ANNOTATION] = f"retry-{self.status.latest_run}"
        self.look()
        run = self.flying()
        if run is None:
            return False
        attempt = make.attempt(1, AttemptStage.TRAIN, started_at=make.NOW if trained else None, ended_at=make.NOW)
        self.runs[run.meta.name] = replace(run, status=FineTuneRunStatus(phase=phase, attempts=(attempt,)))
        self.look()
        return True


@given(st.lists(st.tuples(st.sampled_from(ENDS), st.booleans()), max_size=9), st.integers(1, 3))
def test_the_job_halts_at_the_nth_run_in_a_row_that_trained_for_nothing(
    ends: list[tuple[RunPhase, bool]], limit: int
) -> None:
    job, count = Job(limit), 0
    for phase, trained in ends:
        started = job.run(phase, trained=trained)
        assert started == (count < limit)
        if not started:
            assert job.status.phase is JobPhase.HALTED
            return
        count = 0 if phase is RunPhase.PROMOTED else count + (trained and phase in FRUITLESS)
        assert job.status.fruitless_runs == count


def halted() -> Job:
    job = Job(2)
    assert job.run(RunPhase.REJECTED)
    assert job.run(RunPhase.FAILED)
    return job


def test_a_halt_names_the_runs_and_the_way_out() -> None:
    job = halted()
    said = find(job.status.conditions, "Progressing")
    assert said is not None
    assert said.reason == "FruitlessRuns"
    (last,) = job.runs
    assert f"{last} (Failed)" in said.message
    assert "spec.triggers.haltAfterFruitlessRuns is 2" in said.message
    assert "kubectl retune resume triage -n support" in said.message
    assert RESUME_ANNOTATION in said.message


def test_neither_a_change_nor_a_retry_gets_past_a_halt_and_a_resume_does() -> None:
    job = halted()
    job.spec = job.spec.model_copy(update={"training": make.job_spec(training=make.training(seed=99)).training})
    assert not job.run(RunPhase.REJECTED)
    job.annotations[RESUME_ANNOTATION] = "2026-03-02"
    assert job.run(RunPhase.REJECTED)
    assert (job.status.resumed, job.status.resumed_after, job.status.fruitless_runs) == ("2026-03-02", 2, 1)
    assert job.run(RunPhase.REJECTED)
    assert not job.run(RunPhase.REJECTED), "the same resume counts once"
    job.annotations[RESUME_ANNOTATION] = "2026-03-03"
    assert job.run(RunPhase.PROMOTED)


def test_a_run_in_flight_at_a_resume_does_not_count_any_more() -> None:
    job = Job(1)
    job.annotations[RETRY_ANNOTATION] = "x"
    job.look()
    job.annotations[RESUME_ANNOTATION] = "now"
    assert job.run(RunPhase.REJECTED)
    assert job.status.fruitless_runs == 0


@pytest.mark.parametrize("value", ["x" * 5000, "y"])
def test_a_resume_is_done_once_however_long_it_is(value: str) -> None:
    job = halted()
    job.annotations[RESUME_ANNOTATION] = value
    job.look()
    before = job.status
    job.look()
    assert job.status == before
    FineTuneJobStatus.model_validate(before.model_dump())


# ------------------------------------------------------------------------------------- what later runs take over


def judged(number: int, look: int | None, digest: str) -> RunFacts:
    resolved = {**make.RESOLVED, "gold": {**make.RESOLVED["gold"], "digest": digest, "sketch": digest}}
    said: dict[str, Any] = {"phase": "Rejected", "resolved": resolved}
    if look is not None:
        said |= {"look": {"number": look, "alpha": 0.01}, "scores": {"metric": "ExactMatch"}}
    return make.run_facts(FineTuneRunStatus.model_validate(said), spec=make.run_spec(number))


def test_the_job_remembers_the_last_look_at_the_gold_set_when_its_run_is_gone() -> None:
    first = decide_job(make.job_facts(runs=(judged(1, 1, "a"), judged(2, 2, "b"), judged(3, None, "c")))).status
    assert first.gold == GoldLooks(digest="b", sketch="b", looks=2, run=2)
    after = decide_job(make.job_facts(status=first, runs=(judged(1, 1, "a"), judged(3, None, "c")))).status
    assert after.gold == first.gold, "an older run is no news"


def test_approvals_are_kept_by_name_and_the_newest_runs_count() -> None:
    def run(number: int, *approvals: Approval) -> RunFacts:
        status = FineTuneRunStatus(phase=RunPhase.REJECTED, approvals=approvals)
        return make.run_facts(status, spec=make.run_spec(number))

    legal, privacy = (Approval(name=n, by="ann", at=make.NOW, subject="1") for n in ("legal", "privacy"))
    newer = Approval(name="legal", by="bob", at=make.at(9), subject="2")
    first = decide_job(make.job_facts(runs=(run(1, legal, privacy),))).status
    assert first.approvals == (legal, privacy)
    assert decide_job(make.job_facts(status=first, runs=(run(2, newer),))).status.approvals == (newer, privacy)
