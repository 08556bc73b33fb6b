"""A job that serves: what its pods are made from, what its taps are told at rest, and how a person goes back."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.decide.rollout_world import OLD, STABLE, RolloutWorld

from retune.api import FineTuneJobSpec, FineTuneJobStatus, LatestRun, PinnedBaseModel, PreviousModel, RunPhase
from retune.decide.actions import ApplyServing, CreateRun, JobDecision, PushArms, WriteArms
from retune.decide.arms import Arm, ArmKind, Arms, Split
from retune.decide.digest import model_digest
from retune.decide.facts import JobFacts, RunFacts
from retune.decide.job import decide_job
from retune.decide.readings import ArmState, Serving, ServingPod, TapReading
from retune.decide.snapshot import resolved

BASE = PinnedBaseModel(uri="s3://models/tiny", digest=make.DIGEST)


def spec(**changes: Any) -> FineTuneJobSpec:
    return make.job_spec(**{"serving": {}, **changes})


def status(wanted: FineTuneJobSpec | None = None, **changes: Any) -> FineTuneJobStatus:
    """Of a job at rest: its last run is over, and the base is known."""
    last = LatestRun(
        name=make.RUN, number=1, phase=RunPhase.PROMOTED, model_digest=model_digest(resolved(wanted or spec()))
    )
    return FineTuneJobStatus(base_model=BASE, latest_run=last).model_copy(update=changes)


def facts(wanted: FineTuneJobSpec | None = None, seen: Serving | None = None, **changes: Any) -> JobFacts:
    wanted = wanted or spec()
    made = changes.pop("status", None) or status(wanted)
    return replace(make.job_facts(wanted, made, **changes), serving=seen or Serving())


def actions(decision: JobDecision, kind: type) -> list[Any]:
    return [a for a in decision.actions if isinstance(a, kind)]


def served(found: JobFacts) -> Serving:
    """The world after the decision was carried out: deployed, and told."""
    decision = decide_job(found)
    applied, told = actions(decision, ApplyServing), actions(decision, WriteArms)
    seen = found.serving
    if applied:
        seen = replace(seen, deployed=applied[0].digest, refreshed=applied[0].refresh)
    if told:
        generation = (seen.arms.generation if seen.arms else 0) + 1
        seen = replace(seen, arms=replace(told[0].arms, generation=generation))
    return seen


def split(decision: JobDecision) -> Split:
    told = actions(decision, WriteArms)
    assert len(told) == 1
    return next(iter(told[0].arms.models.values()))


def pod(name: str, ready: bool = True) -> ServingPod:
    return ServingPod(name, f"uid-{name}", ready=ready)


def tap(name: str, generation: int = 1, digest: str = "") -> TapReading:
    arms = {"stable": ArmState("base", digest, "Ready")}
    return TapReading(name, f"uid-{name}", 0.0, 100.0, generation, arms=arms)


def promoted(number: int, **changes: Any) -> RunFacts:
    """Run `number`, promoted at that hour of the day."""
    text = {"phase": "Promoted", "endedAt": f"2026-03-01T{number:02}:00:00Z", "resolved": make.RESOLVED}
    digest = f"sha256:{number:064x}"
    uri = f"s3://models/retune/{number}"
    made = make.read_status({**text, "artifact": {"uri": uri, "digest": digest}})
    return make.run_facts(made, spec=make.run_spec(number, spec()), **changes)


def condition(decision: JobDecision, type_: str) -> Any:
    return next(c for c in decision.status.conditions if c.type == type_)


# ----------------------------------------------------------------------------------------------------------- the pods


def test_nothing_is_deployed_before_the_base_is_known() -> None:
    decision = decide_job(replace(make.job_facts(spec()), serving=Serving()))
    assert not actions(decision, ApplyServing)
    assert actions(decision, CreateRun), "the first run's preflight resolves it"
    assert condition(decision, "Ready").reason == "BaseNotResolved"


def test_the_bare_base_serves_until_something_is_promoted() -> None:
    decision = decide_job(facts())
    assert actions(decision, ApplyServing)[0].template.base_digest == make.DIGEST
    assert split(decision).stable == Arm(ArmKind.BASE)
    assert split(decision).weight == 0


def test_what_is_deployed_is_applied_again_only_when_a_user_changes_it_or_asks() -> None:
    found = facts()
    seen = served(found)
    assert not decide_job(replace(found, serving=seen)).actions
    upgraded = replace(found, serving=seen, policy=replace(found.policy, operator_version="9.9", trainer_image="new:2"))
    assert not actions(decide_job(upgraded), ApplyServing)
    larger = facts(spec(serving={"replicas": 3}), seen)
    assert actions(decide_job(larger), ApplyServing)
    asked = facts(seen=seen, annotations={"retune.dev/refresh": "now"})
    again = actions(decide_job(asked), ApplyServing)
    assert again[0].refresh == "now"
    assert not actions(decide_job(replace(asked, serving=served(asked))), ApplyServing)


def test_a_header_is_a_matter_of_the_arms_and_touches_no_pod() -> None:
    seen = served(facts())
    decision = decide_job(facts(spec(serving={"stickyHeader": "x-user"}), seen))
    assert not actions(decision, ApplyServing)
    assert split(decision).sticky_header == "x-user"


@pytest.mark.parametrize(("rank", "fitting"), [(8, 16), (16, 16), (17, 32), (64, 64), (100, 128)])
def test_the_servers_take_the_candidates_rank(rank: int, fitting: int) -> None:
    wanted = spec(method={"type": "LoRA", "lora": {"rank": rank}})
    decision = decide_job(facts(wanted))
    assert actions(decision, ApplyServing)[0].template.max_rank == fitting


def test_the_servers_rank_never_falls() -> None:
    decision = decide_job(facts(status=status(max_rank=64)))
    assert actions(decision, ApplyServing)[0].template.max_rank == 64


def test_another_base_is_refused_while_the_job_serves() -> None:
    wanted = spec(baseModel={"uri": "s3://models/other"})
    seen = served(facts())
    decision = decide_job(facts(wanted, seen, status=status()))
    assert condition(decision, "Valid").reason == "BaseChanged"
    assert "second job" in condition(decision, "Valid").message
    assert not actions(decision, CreateRun)
    assert not actions(decision, ApplyServing), "what serves keeps serving"


def test_deployment_mode_says_what_it_cannot_serve_with() -> None:
    wanted = spec(serving={"mode": "Deployment", "httpRoute": {"parentRefs": [{"name": "g"}]}}, rollout={"shadow": {}})
    decision = decide_job(facts(wanted))
    assert condition(decision, "Ready").reason == "NotToBeHad"
    assert "spec.method.type LoRA" in condition(decision, "Ready").message
    assert "spec.rollout.shadow" in condition(decision, "Ready").message
    assert not actions(decision, ApplyServing)
    assert not actions(decision, WriteArms)


# ------------------------------------------------------------------------------------------------------- at rest


def test_stable_is_ready_when_every_pod_serves_it() -> None:
    seen = replace(served(facts()), pods=(pod("a"), pod("b")), taps={"uid-a": tap("a")}, silent={"uid-b": "timed out"})
    one = decide_job(facts(seen=seen))
    assert condition(one, "Ready").status == "False"
    assert "1 of 2" in condition(one, "Ready").message
    assert "b: timed out" in condition(one, "ServingHealthy").message
    both = decide_job(facts(seen=replace(seen, taps={"uid-a": tap("a"), "uid-b": tap("b")}, silent={})))
    assert condition(both, "Ready").status == "True"
    assert condition(both, "ServingHealthy").status == "True"


def test_a_tap_with_an_older_document_is_told_again() -> None:
    seen = replace(served(facts()), pods=(pod("a"), pod("b")), taps={"uid-a": tap("a", 0), "uid-b": tap("b", 1)})
    pushed = actions(decide_job(facts(seen=seen)), PushArms)
    assert [p.name for p in pushed[0].pods] == ["a"]


def test_a_run_deleted_in_mid_canary_leaves_nothing_at_the_candidate() -> None:
    w = RolloutWorld({"steps": [{"weight": 10, "hold": "1h"}]})
    w.until("Canary")
    seen = w.serving()
    there = replace(w.facts(), serving=Serving())
    job = status(spec(rollout={"steps": [{"weight": 10, "hold": "1h"}]}), stable=STABLE, latest_run=None)
    wanted = spec(rollout={"steps": [{"weight": 10, "hold": "1h"}]})
    held = decide_job(facts(wanted, seen, status=job, runs=(there,)))
    assert not actions(held, WriteArms), "the run decides while it is there"
    assert held.status.candidate is not None
    assert held.status.candidate.weight == 10
    gone = replace(there, meta=replace(there.meta, deleting=True))
    left = decide_job(facts(wanted, seen, status=job, runs=(gone,)))
    assert split(left).candidate is None
    assert split(left).weight == 0
    assert split(left).stable.digest == OLD


def test_a_spec_that_cannot_be_read_still_ends_a_canary_whose_run_is_gone() -> None:
    w = RolloutWorld({"steps": [{"weight": 10, "hold": "1h"}]})
    w.until("Canary")
    found = replace(make.job_facts(status=status(stable=STABLE), invalid="unreadable"), serving=w.serving())
    left = split(decide_job(found))
    assert (left.candidate, left.weight, left.stable.digest) == (None, 0, OLD)


def test_a_promoted_run_and_its_job_say_the_same_to_the_taps() -> None:
    """Otherwise every promotion would tell the taps twice."""
    short = {"steps": [{"weight": 50, "hold": "20s"}], "bake": "20s"}
    w = RolloutWorld(short)
    w.pass_time(600, 300)
    assert w.phase == "Promoted"
    wanted = spec(rollout=short)
    found = facts(wanted, w.serving(), status=status(wanted, stable=STABLE), runs=(w.facts(),))
    decision = decide_job(found)
    assert decision.status.stable is not None
    assert decision.status.stable.digest == make.ADAPTER
    assert not actions(decision, WriteArms)


# ------------------------------------------------------------------------------------------------------ going back


def back(name: str, **changes: Any) -> JobFacts:
    runs = (promoted(1), promoted(2))
    return facts(runs=runs, annotations={"retune.dev/rollback": name}, **changes)


def test_a_person_goes_back_to_an_earlier_model_once() -> None:
    first = promoted(1)
    found = back(first.meta.name)
    decision = decide_job(found)
    assert decision.status.stable is not None
    assert decision.status.stable.run == first.meta.name
    assert decision.status.previous == PreviousModel(
        run=promoted(2).meta.name, digest=f"sha256:{2:064x}", uri="s3://models/retune/2"
    )
    assert split(decision).stable.digest == f"sha256:{1:064x}"
    assert [a.digest for a in split(decision).keep] == [f"sha256:{2:064x}"]
    later = decide_job(replace(found, status=decision.status, now=make.at(900)))
    assert later.status.stable == decision.status.stable, "and it is not promoted over again"


def test_a_run_that_was_never_promoted_is_not_gone_back_to() -> None:
    decision = decide_job(back("triage-9-abcd"))
    assert decision.status.stable is not None
    assert decision.status.stable.run == promoted(2).meta.name
    assert condition(decision, "Reverted").reason == "UnknownRun"
    assert promoted(1).meta.name in condition(decision, "Reverted").message


def test_a_rollout_in_flight_is_rolled_back_before_anything_else() -> None:
    w = RolloutWorld({"steps": [{"weight": 10, "hold": "1h"}]})
    w.until("Canary")
    found = facts(
        spec(),
        w.serving(),
        status=status(stable=STABLE),
        runs=(w.facts(),),
        annotations={"retune.dev/rollback": make.RUN},
    )
    assert decide_job(found).status.rolled_back is None, "the run follows it first"
    w.rollback = make.RUN
    w.pass_time(30)
    assert w.phase == "RolledBack"
    after = decide_job(replace(found, runs=(w.facts(),), serving=w.serving()))
    assert after.status.rolled_back == make.RUN
    assert after.status.stable == STABLE
    assert split(after).keep == ()


def test_what_was_at_rest_stays_as_it_is() -> None:
    seen = served(facts())
    assert seen.arms is not None
    assert isinstance(seen.arms, Arms)
    assert seen.arms.generation == 1
    assert not decide_job(facts(seen=seen)).actions


# ---------------------------------------------------------------------------------------------- what the job says of it


def test_a_job_whose_canary_waits_for_a_person_says_so() -> None:
    w = RolloutWorld({"steps": [{"weight": 50, "hold": "20s"}], "bake": "20s", "manualApproval": True})
    w.pass_time(300, 300)
    decision = decide_job(facts(seen=w.serving(), status=status(stable=STABLE, latest_run=None), runs=(w.facts(),)))
    assert decision.status.phase == "Waiting"
    assert "retune.dev/promote" in condition(decision, "Progressing").message


def test_a_paused_canary_stands_where_it_is() -> None:
    w = RolloutWorld({"steps": [{"weight": 50, "hold": "1h"}]})
    w.until("Canary")
    found = facts(
        seen=w.serving(),
        status=status(stable=STABLE, latest_run=None),
        runs=(w.facts(),),
        annotations={"retune.dev/pause": ""},
    )
    decision = decide_job(found)
    assert not actions(decision, WriteArms)
    assert "stands where it is" in condition(decision, "Progressing").message


def test_a_job_says_why_its_candidate_was_taken_back() -> None:
    w = RolloutWorld({"steps": [{"weight": 50, "hold": "1h"}]})
    w.until("Canary")
    w.bad_canary = 0.5
    w.pass_time(60, 300)
    wanted = spec(rollout={"steps": [{"weight": 50, "hold": "1h"}]})
    decision = decide_job(facts(wanted, w.serving(), status=status(wanted, stable=STABLE), runs=(w.facts(),)))
    assert condition(decision, "Progressing").reason == "RunRolledBack"
    assert "errors" in condition(decision, "Progressing").message
    assert decision.status.candidate is None
