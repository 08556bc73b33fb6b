"""Bugs that a review found, across the layers: each test says what should be."""

import asyncio
import contextlib
from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.make import virtually
from tests.unit.raw import NS, Server, raw_job, raw_pod, raw_run

from retune.act.carry_out import Hands
from retune.api import Artifact, AttemptStage, Condition, FineTuneJobStatus, FineTuneRunStatus, Resolved, RunPhase
from retune.decide.actions import CreateRun
from retune.decide.conditions import find
from retune.decide.job import decide_job
from retune.decide.run import decide_run
from retune.kube.client import ApiError
from retune.observe.cache import Caches
from retune.observe.facts import Observer
from retune.observe.resync import Resync

Raw = dict[str, Any]


class Silent:
    """Nobody to ask."""

    async def progress(self, pods: Any) -> None:
        return None

    async def denied(self, namespace: str, child: Any) -> None:
        return None

    async def account_refused(self, namespace: str, name: str) -> str:
        return ""


def test_a_pod_whose_labels_are_not_ours_does_not_keep_the_operator_from_starting() -> None:
    """Anybody who may create a pod can label it retune.dev/run: no cache takes it in, and complete() never ends."""

    async def scenario() -> None:
        caches, stranger = Caches.empty(), raw_pod(stage="", attempt="")
        with contextlib.suppress(KeyError):  # what happens in the handler; kopf logs it
            caches.pod(stranger)
        server = Server({"pods": [stranger]})
        await asyncio.wait_for(Resync(caches, server, ("",), lambda *_: None).complete(), 60)  # type: ignore[arg-type]

    virtually(scenario())


def test_a_pod_of_another_namespace_is_never_one_of_the_runs_pods() -> None:
    """Labels are what anybody can write: the end of such a pod would count as the attempt's."""
    caches = Caches.empty()
    caches.job(raw_job())
    caches.run(raw_run())
    caches.pod(raw_pod(namespace="strangers"))
    facts = virtually(Observer(caches, Silent(), make.POLICY).run(NS, make.RUN))
    assert facts is not None
    assert facts.pods == ()


def test_a_cancel_without_a_reason_is_a_cancel() -> None:
    """Like pause and halt: a GPU that a person has stopped must not go on because they gave no reason."""
    caches, run = Caches.empty(), raw_run()
    run["metadata"]["annotations"] = {"retune.dev/cancel": ""}
    caches.job(raw_job())
    caches.run(run)
    facts = virtually(Observer(caches, Silent(), make.POLICY).run(NS, make.RUN))
    assert facts is not None
    assert decide_run(facts).status.phase is RunPhase.CANCELLED


def test_stable_does_not_go_back_when_somebody_deletes_the_run_that_made_it() -> None:
    def promoted(number: int) -> Any:
        artifact = Artifact(uri=f"s3://m/{number}", digest=f"sha256:{number}")
        status = FineTuneRunStatus(phase=RunPhase.PROMOTED, artifact=artifact, ended_at=make.at(number))
        return make.run_facts(status, spec=make.run_spec(number))

    before = decide_job(make.job_facts(runs=(promoted(1), promoted(2)))).status
    after = decide_job(make.job_facts(status=before, runs=(promoted(1),))).status
    assert after.stable == before.stable


def test_a_run_that_the_api_server_refuses_is_said_on_the_job() -> None:
    async def scenario() -> None:
        server, facts = Server(refuse=frozenset({"finetuneruns"})), make.job_facts()
        with pytest.raises(ApiError):
            await Hands(server, Caches.empty()).job(facts, decide_job(facts))  # type: ignore[arg-type]
        last = FineTuneJobStatus.model_validate(server.writes[-1][1]["status"])
        assert any("exceeded quota" in c.message for c in last.conditions)

        # Refused again and again, it is written once: every write wakes the next reconcile.
        again, written = replace(facts, status=last), len(server.writes)
        with pytest.raises(ApiError):
            await Hands(server, Caches.empty()).job(again, decide_job(again))  # type: ignore[arg-type]
        assert [w for w in server.writes[written:] if "status" in w[1]] == []

    virtually(scenario())


def test_a_run_of_a_newer_operator_does_not_stop_its_job() -> None:
    """After a downgrade; a job's own spec is handled (`invalid`), a run's is not."""
    caches = Caches.empty()
    caches.job(raw_job())
    caches.run(raw_run(FineTuneRunStatus(phase=RunPhase.PROMOTED), fieldOfTomorrow=1))
    assert Observer(caches, Silent(), make.POLICY).job(NS, "triage") is not None


def test_one_pod_is_charged_as_one_pod() -> None:
    """spec.training.nodes is not acted on yet ("one node trains"), so one node's GPUs are used, not two."""
    spec = make.run_spec(spec=make.job_spec(training=make.training(nodes=2, gpusPerNode=1)))
    status = FineTuneRunStatus(
        phase=RunPhase.TRAINING,
        resolved=Resolved.model_validate(make.RESOLVED),
        attempts=(make.attempt(1, started_at=make.NOW, job_uid="u"),),
    )
    ended = make.ended(0, make.trained())  # 100 s
    decision = decide_run(make.run_facts(status, spec=spec, children=(make.child(complete=True),), pods=(ended,)))
    assert decision.status.attempts[0].gpu_seconds == 100


def test_a_job_that_became_invalid_does_not_say_for_ever_that_its_run_is_in_flight() -> None:
    flying = make.run_facts(FineTuneRunStatus(phase=RunPhase.TRAINING))
    before = decide_job(make.job_facts(runs=(flying,))).status
    ended = replace(flying, status=FineTuneRunStatus(phase=RunPhase.FAILED))
    after = decide_job(make.job_facts(status=before, runs=(ended,), invalid="spec.training.seed: not a number.")).status
    said = find(after.conditions, "Progressing")
    assert said is None or said.status != "True"


def test_time_spent_suspended_does_not_count_against_the_deadline_of_a_refused_account() -> None:
    """The deadline counts from when Admitted became False; Suspended is Unknown."""
    suspended = Condition(
        type="Admitted", status="Unknown", reason="Suspended", message="m", last_transition_time=make.NOW
    )
    preflight = make.attempt(1, AttemptStage.PREFLIGHT)
    status = FineTuneRunStatus(phase=RunPhase.PENDING, conditions=(suspended,), attempts=(preflight,))
    decision = decide_run(make.run_facts(status, now=make.at(3600), account_refused="no such account"))
    assert decision.status.phase is not RunPhase.FAILED


def test_a_retry_annotation_that_a_new_job_brings_along_starts_no_second_run() -> None:
    """A job applied together with retune.dev/retry (a backup, a copy) runs twice; its first run is that retry."""
    annotations = {"retune.dev/retry": "last-year"}
    first = decide_job(make.job_facts(annotations=annotations))
    done = make.run_facts(FineTuneRunStatus(phase=RunPhase.FAILED), spec=first.actions[1].spec)  # type: ignore[union-attr]
    after = decide_job(make.job_facts(status=first.status, runs=(done,), annotations=annotations))
    assert not any(isinstance(action, CreateRun) for action in after.actions)
