"""Rollouts where clocks differ, taps answer now and then, models come twice, and documents are overtaken."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.decide.rollout_world import STABLE, RolloutWorld
from tests.unit.decide.test_serving import actions, condition, facts, pod, served, spec, split, status, tap

from retune.decide.actions import ApplyServing, PushArms, StopServing, WriteArms
from retune.decide.evidence import promotion
from retune.decide.evidence.judge import Plan, Watched, begin, judge
from retune.decide.facts import JobFacts
from retune.decide.job import decide_job
from retune.decide.readings import BUCKETS, ArmState, Series, TapReading

LONG = {"steps": [{"weight": 50, "hold": "1h"}], "bake": "1m"}


# ------------------------------------------------------------------------------------------------ documents and taps


def test_a_tap_that_knows_a_newer_document_than_the_operator_is_overruled() -> None:
    """The last leader's write, or a ConfigMap from a backup: what the tap follows is not what was decided."""
    w = RolloutWorld(LONG)
    w.until("Canary")
    newer = replace(w.split, weight=90)
    assert w.arms is not None
    w.taps["a"].take(replace(w.arms, generation=w.arms.generation + 5, models={"triage": newer}))
    decision = w.reconcile()
    assert [type(a) for a in decision.actions if isinstance(a, WriteArms | PushArms)] == [WriteArms]
    told = next(a for a in decision.actions if isinstance(a, WriteArms))
    assert told.arms.models["triage"].weight == 50


def test_a_rollback_is_not_over_while_a_tap_follows_a_document_of_its_own() -> None:
    w = RolloutWorld(LONG)
    w.until("Canary")
    w.bad_canary = 0.6
    while w.status.rollout is None or w.status.rollout.intent is None:
        w.pass_time(5)
    assert w.arms is not None
    assert not w.ended
    for each in w.taps.values():
        each.take(replace(w.arms, generation=w.arms.generation + 5))
    w.reconcile()
    assert not w.ended


def test_at_rest_too_a_tap_that_is_ahead_is_overruled() -> None:
    seen = replace(served(facts()), pods=(pod("a"),), taps={"uid-a": tap("a", 9)})
    assert actions(decide_job(facts(seen=seen)), WriteArms)


# --------------------------------------------------------------------------------------------------- what is written


@pytest.mark.parametrize("minutes", [5])
def test_a_tap_that_answers_every_other_time_writes_no_status_each_time(minutes: int) -> None:
    w = RolloutWorld(LONG)
    w.until("Canary")
    w.pass_time(60)
    writes = w.writes
    for k in range(minutes * 30):
        w.time += 2
        w.users(40)
        w.taps["b"].silent = k % 2 == 0
        w.reconcile()
    assert w.writes - writes <= minutes + 1


def test_a_quiet_canary_looked_at_each_two_seconds_writes_once_a_minute_and_six_notes() -> None:
    w = RolloutWorld(LONG)
    w.until("Canary")
    w.pass_time(60)
    writes, notes = w.writes, w.notes
    w.pass_time(600, 40, poll=2.0)
    assert w.writes - writes <= 10
    assert w.notes - notes <= 60


# ------------------------------------------------------------------------------------------------ the same model twice


def test_a_candidate_that_is_the_same_model_as_stable_is_promoted_like_any_other() -> None:
    """The same data and seed give the same weights, and so the same name at the server."""
    w = twin()
    w.pass_time(1200, 300)
    assert w.phase == "Promoted"
    assert w.split.stable.digest == make.ADAPTER
    assert w.split.keep == ()


def test_a_candidate_that_is_the_same_model_as_stable_is_taken_back_without_taking_stable_away() -> None:
    w = twin()
    w.until("Canary")
    assert w.split.keep == ()
    w.rollback = make.RUN
    w.pass_time(30)
    assert w.phase == "RolledBack"
    assert (w.split.stable.digest, w.split.candidate) == (make.ADAPTER, None)


def twin() -> RolloutWorld:
    w = RolloutWorld({"steps": [{"weight": 50, "hold": "20s"}], "bake": "20s"})
    w.job = w.job.model_copy(update={"stable": STABLE.model_copy(update={"digest": make.ADAPTER})})
    return w


# -------------------------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("ahead", [-3600.0, -61.0, 0.0, 61.0, 3600.0])
def test_what_is_known_of_bursts_does_not_depend_on_the_taps_clock(ahead: float) -> None:
    """Windows carry the tap's time. Bursts temper the evidence, so losing them would roll healthy candidates back."""
    assert phi_of_bursts(ahead) == pytest.approx(phi_of_bursts(0.0), rel=0.1)
    assert phi_of_bursts(0.0) > 2


def phi_of_bursts(ahead: float) -> float:
    """After ten minutes in which every other window of stable is all bad, by a tap whose clock is `ahead` seconds."""
    watched = Watched("errors", "Errors", 1.25, None, None)
    plan, began = Plan(1, (watched,), 0.99, 0.95), 1_800_000_000.0
    memory = begin(plan, began)
    for look in range(40):
        at = began + 15.0 * (look + 1)
        now = at + ahead
        last = now // 15 * 15
        rows = [(last - 15.0 * k, 20 * (int(last // 15 - k) % 2), 40) for k in range(1, 20)]
        reading = TapReading("a", "a", now - 7200, now, 1, windows={"errors": tuple(sorted(rows))})
        memory, _ = judge(memory, plan, (reading,), (), stratum="1:0", baking=False, w_next=1.0, at=at)
    return memory.metrics["errors"].dispersion.phi


# ------------------------------------------------------------------------------------------------------- the job's part


def test_serving_that_is_taken_out_of_the_spec_is_taken_away() -> None:
    seen = served(facts())
    decision = decide_job(facts(spec(serving=None), seen))
    assert actions(decision, StopServing)
    assert not actions(decision, ApplyServing)
    assert condition(decision, "Ready").reason == "NotServed"
    gone = decide_job(facts(spec(serving=None), replace(seen, deployed="")))
    assert not gone.actions


def test_serving_that_is_taken_away_in_mid_rollout_stays_until_the_rollout_is_over() -> None:
    w = RolloutWorld(LONG)
    w.until("Canary")
    job = status(stable=STABLE, latest_run=None)
    decision = decide_job(facts(spec(serving=None), w.serving(), status=job, runs=(w.facts(),)))
    assert not actions(decision, StopServing)
    assert make.RUN in condition(decision, "Ready").message


@pytest.mark.parametrize(
    "changed",
    [
        {"serving": {"mode": "Deployment", "httpRoute": {"parentRefs": [{"name": "g"}]}}},
        {"artifacts": None},
    ],
)
def test_a_run_that_is_gone_leaves_nothing_at_its_candidate_whatever_the_spec_has_become(changed: Any) -> None:
    w = RolloutWorld(LONG)
    w.until("Canary")
    found = facts(spec(**changed), w.serving(), status=status(stable=STABLE))
    found = replace(found, policy=replace(found.policy, artifacts_uri=""))
    left = split(decide_job(found))
    assert (left.candidate, left.weight) == (None, 0)


def looked(found: JobFacts) -> float:
    after = decide_job(found).requeue_after
    assert after is not None
    return after


def test_silent_taps_at_rest_do_not_keep_the_operator_busy() -> None:
    """Each look waits a second and a half for them: a fleet of them would leave no time for anybody else."""
    seen = replace(served(facts()), pods=(pod("a"),), silent={"uid-a": "no answer"})
    assert looked(facts(seen=seen)) >= 15


def test_a_stable_model_that_is_still_being_loaded_is_looked_at_again_soon() -> None:
    loading = TapReading("a", "uid-a", 0.0, 1.0, 1, arms={"stable": ArmState("base", "", "Loading")})
    seen = replace(served(facts()), pods=(pod("a"),), taps={"uid-a": loading})
    assert looked(facts(seen=seen)) <= 5


# ------------------------------------------------------------------------------------------------------------ its cost


def test_what_promotion_would_need_is_not_computed_until_somebody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = promotion.bounds
    monkeypatch.setattr(promotion, "bounds", lambda *told: asked.append(told) or real(*told))
    plan = Plan(1, (Watched("errors", "Errors", 1.25, None, None),), 0.99, 0.95)
    reading = TapReading("a", "a", 10.0, 20.0, 1, series=(series("stable"), series("canary")))
    _, judged = judge(begin(plan, 0.0), plan, (reading,), (), stratum="1:0", baking=False, w_next=1.0, at=20.0)
    assert not judged.breached
    assert not asked
    assert judged.metrics[0].upper is not None
    assert not judged.may_advance
    assert asked


def series(arm: str) -> Series:
    return Series("errors", arm, "1:0", (0,) * BUCKETS, (1,) * BUCKETS)


def test_stable_that_is_slow_by_itself_late_in_a_rollout_is_not_blamed_on_the_candidate() -> None:
    """By then the taps are only asked for their newest windows; what stable was like before is in the evidence."""
    w = RolloutWorld({**LONG, "stopLoss": [{"name": "slow", "builtin": "Slow", "slow": {"seconds": 1}}]})
    began = int(make.NOW.timestamp()) // 15 * 15
    for each in w.taps.values():
        each.windows = {"slow": [(float(began - 3600 + 15 * k), 0, 50) for k in range(240)]}
        each.serve = _slow(each)  # type: ignore[method-assign]
    w.until("Canary")
    w.pass_time(1200)
    w.bad_stable = 0.6
    w.pass_time(250)
    assert w.status.rollout is not None
    assert w.status.rollout.interfered_at is not None
    assert not w.ended, w.status.rollout


def _slow(tap: Any) -> Any:
    """As a tap serves; `bad_stable` of stable's answers are slow."""
    as_it_does = type(tap).serve

    def serve(requests: int, bad_stable: float, bad_canary: float, now: float) -> None:
        as_it_does(tap, requests, bad_stable, bad_canary, now)
        rows = tap.windows["slow"]
        start, _, total = rows[-1]
        rows[-1] = (start, round(total * bad_stable), total)

    return serve
