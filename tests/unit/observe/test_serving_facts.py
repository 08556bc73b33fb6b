"""What serves for a job, as decisions see it: from watched objects, from what is kept, and from those who are asked."""

import json
from typing import Any

import pytest
from tests.unit import make
from tests.unit.make import virtually
from tests.unit.raw import raw_job, raw_run
from tests.unit.serves import JOB, META, NS, OTHER, SIGNER, UID, arms, configmap, pod, raw_server, state

from retune.api import FineTuneRunStatus, RolloutIntent, RolloutStatus, RunPhase
from retune.decide.facts import JobFacts, RunFacts
from retune.decide.readings import QueryReading
from retune.observe.cache import Caches
from retune.observe.facts import Observer, Rollouts
from retune.observe.kept import Kept
from retune.observe.projections import serving_pod
from retune.observe.tap_state import read_state
from retune.observe.taps import Heard

Raw = dict[str, Any]
SERVED = make.written(serving={"modelName": "support-triage"})
SERVING = {"serving": {"modelName": "support-triage"}}


class Asked:
    """Taps and Prometheus; remembers who was asked for what."""

    def __init__(self) -> None:
        self.taps: list[tuple[str, str, int, str]] = []
        self.queries = 0

    async def read(self, *told: Any, windows: str = "none") -> Any:
        if len(told) == 1:
            self.queries += 1
            return (QueryReading("refunds", "stable", 1.0, 2.0, 3.0),)
        job, model, _, generation = told
        self.taps.append((job, model, generation, windows))
        return Heard({"p1": read_state(json.dumps(state()).encode(), pod(), JOB)}, {"p2": "ClientError"})


def deployment(digest: str = "sha256:d1", version: int = 1, name: str = JOB, uid: str = UID) -> Raw:
    labels = {"retune.dev/serving": "stable", "retune.dev/job": JOB, "retune.dev/job-uid": UID}
    annotations = {"retune.dev/serving-digest": digest, "retune.dev/refreshed": "r1"}
    owner = [{"kind": "FineTuneJob", "uid": uid, "controller": True}]
    metadata = {"namespace": NS, "name": name, "uid": name, "resourceVersion": str(version), "labels": labels}
    return {"metadata": {**metadata, "annotations": annotations, "ownerReferences": owner}}


def caches(status: FineTuneRunStatus | None = None) -> Caches:
    made = Caches.empty(SIGNER)
    made.job(raw_job(spec=SERVED))
    made.run(raw_run(status, **SERVING))
    made.deployment(deployment())
    made.server(raw_server())
    made.arms(NS, JOB, configmap(SIGNER.sealed(arms(weight=25, generation=7))))
    made.evidence(NS, make.RUN, {"data": {"evidence.json": '{"kept": 1}'}})
    return made


def observed(known: Caches) -> tuple[Observer, Asked]:
    asked = Asked()
    return Observer(known, None, make.POLICY, Rollouts(asked, asked)), asked  # type: ignore[arg-type]


def of_run(status: FineTuneRunStatus | None, known: Caches | None = None) -> tuple[RunFacts, Asked]:
    observer, asked = observed(known or caches(status))
    facts = virtually(observer.run(NS, make.RUN))
    assert facts is not None
    return facts, asked


def of_job(known: Caches) -> tuple[JobFacts, Asked]:
    observer, asked = observed(known)
    facts = observer.job(NS, JOB)
    assert facts is not None
    return virtually(observer.heard(facts)), asked


def test_a_jobs_facts_hold_what_serves_and_what_its_taps_say() -> None:
    facts, asked = of_job(caches())
    serving = facts.serving
    assert (serving.deployed, serving.refreshed) == ("sha256:d1", "r1")
    assert [(p.name, p.ip, p.ready, p.ready_since) for p in serving.pods] == [("triage-1", "10.0.0.1", True, make.NOW)]
    assert serving.arms is not None
    assert (serving.arms.generation, set(serving.taps), serving.silent) == (7, {"p1"}, {"p2": "ClientError"})
    assert asked.taps == [(META.place, JOB, 7, "none")]
    assert facts.runs[0].serving.pods == serving.pods


@pytest.mark.parametrize("phase", [RunPhase.LOADING, RunPhase.SHADOW, RunPhase.PILOT, RunPhase.CANARY, RunPhase.BAKING])
def test_while_a_candidate_meets_its_users_taps_and_prometheus_are_asked(phase: RunPhase) -> None:
    facts, asked = of_run(FineTuneRunStatus(phase=phase))
    assert asked.taps == [(META.place, JOB, 7, "all" if phase is RunPhase.LOADING else "new")]
    assert asked.queries == 1
    assert (set(facts.serving.taps), len(facts.serving.queries)) == ({"p1"}, 1)
    assert facts.serving.memory == '{"kept": 1}'


def test_with_nothing_kept_yet_all_windows_are_asked_for() -> None:
    known = caches(FineTuneRunStatus(phase=RunPhase.CANARY))
    known.evidence(NS, make.RUN, None)
    _, asked = of_run(None, known)
    assert asked.taps[0][3] == "all"


def test_a_run_that_is_being_taken_back_is_looked_at_until_it_is_over() -> None:
    intent = FineTuneRunStatus(phase=RunPhase.EVALUATING, rollout=RolloutStatus(intent=RolloutIntent.CANCEL))
    assert of_run(intent)[1].taps
    over = FineTuneRunStatus(phase=RunPhase.ROLLED_BACK, rollout=RolloutStatus(intent=RolloutIntent.ROLL_BACK))
    assert not of_run(over)[1].taps


def test_a_run_that_trains_asks_no_tap() -> None:
    facts, asked = of_run(FineTuneRunStatus(phase=RunPhase.QUEUED))
    assert (asked.taps, asked.queries) == ([], 0)
    assert facts.serving.deployed == "sha256:d1", "but knows what serves"


def test_before_the_first_document_taps_are_asked_for_the_name_in_the_spec() -> None:
    known = caches()
    known.arms(NS, JOB, None)
    assert of_job(known)[1].taps == [(META.place, "support-triage", 0, "none")]


def test_a_job_whose_spec_cannot_be_read_still_hears_its_taps() -> None:
    known = caches()
    job = raw_job(spec={"of": "a newer version"})
    job["metadata"]["resourceVersion"] = "9"
    known.job(job)
    facts, asked = of_job(known)
    assert facts.invalid
    assert len(asked.taps) == 1


def test_without_a_deployment_no_tap_is_asked() -> None:
    known = caches()
    known.deployments.drop(deployment())
    assert of_job(known)[1].taps == []


def test_an_older_version_of_a_deployment_does_not_hide_what_was_just_written() -> None:
    known = caches()
    known.deployment(deployment("sha256:new", version=5))
    known.deployment(deployment("sha256:d1", version=4))
    assert of_job(known)[0].serving.deployed == "sha256:new"


@pytest.mark.parametrize("uid", ["other"])
def test_a_deployment_or_pod_that_only_wears_our_labels_is_not_what_serves(uid: str) -> None:
    known = Caches.empty(SIGNER)
    known.job(raw_job(spec=SERVED))
    known.deployment(deployment(uid=uid))
    bare = raw_server()
    del bare["metadata"]["ownerReferences"]
    known.server(bare)
    serving = of_job(known)[0].serving
    assert (serving.deployed, serving.pods) == ("", ())


def test_the_document_of_a_namesake_is_not_the_jobs() -> None:
    known = caches()
    known.arms(NS, JOB, configmap(SIGNER.sealed(arms().__class__(NS, JOB, "older-uid", {}, 3))))
    assert of_job(known)[0].serving.arms is None


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no"}]},
         "Unschedulable"),
        ({"initContainerStatuses": [{"name": "server", "state": {"waiting": {"reason": "CrashLoopBackOff"}}}],
          "containerStatuses": [{"name": "tap", "state": {"running": {}}}], "phase": "Running"}, "CrashLoopBackOff"),
        ({"initContainerStatuses": [{"name": "fetch", "state": {"waiting": {"reason": "ErrImagePull"}}}],
          "containerStatuses": [{"name": "tap", "state": {"waiting": {"reason": "PodInitializing"}}}]},
         "ErrImagePull"),
    ],
)  # fmt: skip
def test_why_a_pod_does_not_serve_yet_is_said_by_the_container_that_knows(status: Raw, reason: str) -> None:
    found = serving_pod({**raw_server(), "status": status})
    assert found.waiting is not None
    assert (found.waiting[0], found.ready) == (reason, False)


# ------------------------------------------------------------------------------------------------------- when it begins


class Lists:
    """ConfigMaps in pages of one."""

    def __init__(self, *items: Raw) -> None:
        self.items, self.queries = items, []

    async def list_page(self, resource: str, namespace: str, query: dict[str, str]) -> Raw:
        self.queries.append((resource, query["labelSelector"]))
        start = int(query.get("continue", 0))
        more = {"continue": str(start + 1)} if start + 1 < len(self.items) else {}
        return {"metadata": more, "items": [self.items[start]]}


def kept_evidence(run: str, uid: str) -> Raw:
    labels = {"retune.dev/kept": "evidence", "retune.dev/job": JOB, "retune.dev/run": run}
    owner = [{"uid": uid, "controller": True}]
    metadata = {"namespace": NS, "name": f"{run}-evidence", "labels": labels, "ownerReferences": owner}
    return {"metadata": metadata, "data": {"evidence.json": "{}"}}


def test_a_new_leader_knows_what_the_last_one_told_the_taps_and_had_counted() -> None:
    known = Caches.empty(SIGNER)
    known.job(raw_job(spec=SERVED))
    known.run(raw_run(FineTuneRunStatus(phase=RunPhase.CANARY), **SERVING))
    stranger = kept_evidence("stranger", "x")
    lists = Lists(configmap(SIGNER.sealed(arms(generation=7))), kept_evidence(make.RUN, "run-uid-1"), stranger)
    virtually(Kept(known, lists, ("",)).load())  # type: ignore[arg-type]
    facts, _ = of_run(None, known)
    assert facts.serving.arms is not None
    assert (facts.serving.arms.generation, facts.serving.memory) == (7, "{}")
    assert len(known.memories) == 1
    assert {q for _, q in lists.queries} == {"retune.dev/kept in (arms,evidence)"}


@pytest.mark.parametrize("raw", [configmap(OTHER.sealed(arms(generation=7))), configmap("x"), configmap("", uid="no")])
def test_a_new_leader_believes_no_document_that_it_did_not_sign_or_that_is_not_the_jobs(raw: Raw) -> None:
    known = Caches.empty(SIGNER)
    known.job(raw_job(spec=SERVED))
    virtually(Kept(known, Lists(raw), (NS,)).load())  # type: ignore[arg-type]
    assert of_job(known)[0].serving.arms is None


def test_the_evidence_of_a_run_that_is_over_is_not_held() -> None:
    known = Caches.empty(SIGNER)
    known.run(raw_run(FineTuneRunStatus(phase=RunPhase.PROMOTED)))
    virtually(Kept(known, Lists(kept_evidence(make.RUN, "run-uid-1")), (NS,)).load())  # type: ignore[arg-type]
    assert known.memories == {}


def test_a_rollout_that_begins_again_asks_for_the_hour_before_it_again() -> None:
    _, asked = of_run(FineTuneRunStatus(phase=RunPhase.LOADING))
    assert [windows for *_, windows in asked.taps] == ["all"], "although something is kept"
