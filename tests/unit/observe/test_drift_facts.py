"""What a decision sees of drift: asked for as often as it is looked at, remembered over a restart, of this job only."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from tests.unit import make
from tests.unit.make import virtually
from tests.unit.observe.test_serving_facts import Asked, Lists, deployment
from tests.unit.raw import raw_job
from tests.unit.serves import JOB, META, NS, SIGNER, UID, arms, configmap, raw_server

from retune.api import DriftBuiltin, FineTuneJobStatus, FineTuneRunStatus, RunPhase
from retune.decide.drift.evidence import DriftEvidence, Row
from retune.decide.drift.memory import Memory, dump
from retune.decide.drift.watch import watch
from retune.decide.facts import JobFacts
from retune.observe.cache import Caches
from retune.observe.facts import Observer, Rollouts
from retune.observe.features import Prompts
from retune.observe.kept import Kept

Raw = dict[str, Any]
DRIFT = [
    {"name": "mix", "builtin": "PromptDrift", "threshold": 0.2},
    {"name": "slow", "query": "job:slow:ratio", "threshold": 0.1},
]


class Told:
    """Taps' features, and Prometheus; remembers what was asked."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    async def read(self, *told: Any) -> Any:
        self.asked.append(told)
        return Prompts((Row("p1", 7, 1.0, bytes(64)),), 1) if len(told) == 3 else {}


def known(drift: list[Raw] | None = None) -> Caches:
    made = Caches.empty(SIGNER)
    triggers = {"drift": DRIFT if drift is None else drift}
    made.job(raw_job(spec=make.written(serving={"modelName": "support-triage"}, triggers=triggers)))
    made.deployment(deployment())
    made.server(raw_server())
    made.arms(NS, JOB, configmap(SIGNER.sealed(arms(generation=7))))
    return made


def heard(caches: Caches, later: float = 0.0) -> tuple[JobFacts, Asked, Told, Told]:
    taps, features, queries = Asked(), Told(), Told()
    observer = Observer(caches, None, make.POLICY, Rollouts(taps, taps, features, queries))  # type: ignore[arg-type]
    facts = observer.job(NS, JOB)
    assert facts is not None
    facts = replace(facts, now=facts.now + timedelta(seconds=later))
    return virtually(observer.heard(facts)), taps, features, queries


def after_a_look(caches: Caches, ago: float = 0.0) -> None:
    facts = heard(caches)[0]
    assert facts.spec is not None
    seen = watch(
        facts.spec.triggers.drift,
        facts.spec.triggers.reference,
        DriftEvidence((Row("p1", 7, facts.now.timestamp(), bytes(64)),), 1),
        None,
        facts.now - timedelta(seconds=ago),
    )
    caches.drift_seen(META, seen.memory, None)


def test_the_first_look_asks_for_all_that_taps_have_and_for_the_jobs_own_queries() -> None:
    facts, taps, features, queries = heard(known())
    assert [windows for *_, windows in taps.taps] == ["all"]
    assert [(model, dict(cursors)) for model, _, cursors in features.asked] == [(JOB, {})]
    assert queries.asked == [({"slow": "job:slow:ratio"},)]
    assert facts.watch.drift is not None
    assert (len(facts.watch.drift.rows), facts.watch.drift.version) == (1, 1)


def test_between_two_looks_nothing_is_asked_for() -> None:
    caches = known()
    after_a_look(caches)
    facts, taps, features, queries = heard(caches, later=5)
    assert ([windows for *_, windows in taps.taps], features.asked, queries.asked) == (["none"], [], [])
    assert facts.watch.drift is None
    assert facts.watch.kept is not None


def test_the_next_look_goes_on_where_the_last_one_ended() -> None:
    caches = known()
    after_a_look(caches, ago=31)
    _, taps, features, _ = heard(caches)
    assert [windows for *_, windows in taps.taps] == ["new"]
    assert [dict(cursors) for *_, cursors in features.asked] == [{"p1": 7}]


def test_after_a_long_time_all_windows_are_asked_for_again() -> None:
    caches = known()
    after_a_look(caches, ago=600)
    assert [windows for *_, windows in heard(caches)[1].taps] == ["all"]


def test_a_clock_that_was_set_back_does_not_end_the_looking() -> None:
    caches = known()
    after_a_look(caches, ago=-3600)
    assert heard(caches)[0].watch.drift is not None


@pytest.mark.parametrize("drift", [[], DRIFT[1:]])
def test_taps_are_asked_for_features_only_where_prompt_drift_is_asked_for(drift: list[Raw]) -> None:
    _, taps, features, queries = heard(known(drift))
    assert features.asked == []
    assert len(queries.asked) == len(drift)
    assert [windows for *_, windows in taps.taps] == ["all" if drift else "none"]


def test_without_a_deployment_the_jobs_own_queries_are_asked_all_the_same() -> None:
    caches = known()
    caches.deployments.drop(deployment())
    facts, taps, features, queries = heard(caches)
    assert (taps.taps, features.asked, len(queries.asked)) == ([], [], 1)
    assert facts.watch.drift is not None
    assert facts.watch.drift.version is None


def test_a_run_in_rollout_knows_what_its_jobs_triggers_ask_for() -> None:
    from tests.unit.raw import raw_run

    caches = known([*DRIFT, {"name": "q", "builtin": "QualityDrop", "threshold": 0.1}])
    caches.run(raw_run(FineTuneRunStatus(phase=RunPhase.CANARY), serving={"modelName": "support-triage"}))
    observer = Observer(caches, None, make.POLICY)  # type: ignore[arg-type]
    run = virtually(observer.run(NS, make.RUN))
    assert run is not None
    assert run.signals == {DriftBuiltin.PROMPT_DRIFT, DriftBuiltin.QUALITY_DROP}


# ------------------------------------------------------------------------------------------------- over a restart


def kept(text: str, uid: str = UID, name: str = f"{JOB}-drift") -> Raw:
    labels = {"retune.dev/kept": "drift", "retune.dev/job": JOB, "retune.dev/job-uid": uid}
    owner = [{"kind": "FineTuneJob", "uid": uid, "controller": True}]
    metadata = {"namespace": NS, "name": name, "labels": labels, "ownerReferences": owner}
    return {"metadata": metadata, "data": {"drift.json": text}}


def restarted(*maps: Raw) -> Caches:
    caches = known()
    virtually(Kept(caches, Lists(*maps), ("",)).load())  # type: ignore[arg-type]
    return caches


def test_a_new_leader_goes_on_with_what_the_last_one_remembered() -> None:
    memory = Memory(at=make.NOW.timestamp(), served="triage-1/sha256:1")
    facts = heard(restarted(kept(dump(memory))))[0]
    assert facts.watch.kept is not None
    assert facts.watch.kept.memory is not None
    assert (facts.watch.kept.memory.served, facts.watch.kept.written) == (memory.served, memory.at)


@pytest.mark.parametrize("text", ["", "{}", "[" * 10_000, '{"version": 99}'])
def test_what_cannot_be_read_is_known_to_be_lost(text: str) -> None:
    facts = heard(restarted(kept(text)))[0]
    assert facts.watch.kept is not None
    assert facts.watch.kept.memory is None
    assert facts.watch.drift is not None, "it is looked at all the same"


@pytest.mark.parametrize("raw", [kept(dump(Memory(1.0)), uid="stranger"), kept(dump(Memory(1.0)), name="other-drift")])
def test_what_is_not_the_jobs_own_is_not_believed(raw: Raw) -> None:
    assert heard(restarted(raw))[0].watch.kept is None


def test_a_namesake_begins_with_nothing() -> None:
    caches = known()
    caches.drift_seen(replace(META, uid="older"), Memory(1.0), 1.0)
    assert heard(caches)[0].watch.kept is None


# --------------------------------------------------------------------------------------------------- watch pods


def raw_watch(uid: str = "w1", owner: str = UID, asked: str = "count", **status: Any) -> Raw:
    labels = {
        "app.kubernetes.io/managed-by": "retune",
        "retune.dev/job": JOB,
        "retune.dev/job-uid": UID,
        "retune.dev/stage": "watch",
        "retune.dev/attempt": "1",
        "retune.dev/watch": asked,
    }
    metadata = {"namespace": NS, "name": f"{JOB}-watch-{uid}", "uid": uid, "resourceVersion": "5", "labels": labels}
    owners = [{"kind": "FineTuneJob", "uid": owner, "controller": True}]
    created = {"creationTimestamp": "2026-03-01T12:00:00Z", "ownerReferences": owners}
    return {"metadata": {**metadata, **created}, "status": status}


def raw_watch_pod(job: str = "w1", message: str = "", kind: str = "Job") -> Raw:
    made = raw_watch(f"{job}-pod")
    made["metadata"]["ownerReferences"] = [{"kind": kind, "uid": job, "controller": True}]
    end = {"exitCode": 0, "message": message, "startedAt": "2026-03-01T12:00:10Z"}
    containers = [{"name": "trainer", "state": {"terminated": end}}]
    return {**made, "status": {"phase": "Succeeded", "containerStatuses": containers}}


COMPLETE = {"conditions": [{"type": "Complete", "status": "True"}]}
COUNTED = '{"outcome": "Succeeded", "watch": {"examples": {"train": 640, "corrections": 12}, "probe": null}}'


def test_what_a_watch_pod_counted_comes_to_the_job_it_was_sent_for() -> None:
    caches = known()
    caches.watcher(raw_watch(asked="count-probe", **COMPLETE))
    caches.watch_pod(raw_watch_pod(message=COUNTED))
    facts = heard(caches)[0]
    (sent,) = facts.watch.sent
    assert (sent.count, sent.probe, sent.child.complete, len(sent.pods)) == (True, True, True, 1)
    assert facts.watch.examples is not None
    assert (facts.watch.examples.train, facts.watch.examples.corrections) == (640, 12)
    assert facts.status == FineTuneJobStatus()


@pytest.mark.parametrize("what", ["of another job", "of no Job", "made by a ReplicaSet", "with odd labels"])
def test_what_only_looks_like_a_watch_is_none(what: str) -> None:
    caches = known()
    caches.watcher(raw_watch(owner="other" if what == "of another job" else UID, **COMPLETE))
    pod = raw_watch_pod(message=COUNTED, kind="ReplicaSet" if what == "made by a ReplicaSet" else "Job")
    if what == "of no Job":
        pod["metadata"]["ownerReferences"] = []
    if what == "with odd labels":
        pod["metadata"]["labels"]["retune.dev/attempt"] = "x"
    caches.watch_pod(pod)
    assert heard(caches)[0].watch.examples is None


def test_a_watch_is_no_child_of_a_run() -> None:
    caches = known()
    caches.child(raw_watch())
    caches.pod(raw_watch_pod())
    assert (len(caches.children), len(caches.pods)) == (0, 0)
