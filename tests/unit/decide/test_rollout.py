"""A candidate meets its users step by step, and is taken back when anything speaks against it."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit import make
from tests.unit.decide.rollout_world import OLD, RolloutWorld, Tap
from tests.unit.decide.world import stored

from retune.api import RunPhase
from retune.decide.arms import ArmKind
from retune.decide.readings import QueryReading, ShadowCount
from retune.decide.run import decide_run

SHORT: dict[str, Any] = {"steps": [{"weight": 10, "hold": "1m"}, {"weight": 50, "hold": "1m"}], "bake": "1m"}
USERS = {"name": "refunds", "bad": 'r{m="$arm"}', "total": 'o{m="$arm"}'}


def world(**rollout: Any) -> RolloutWorld:
    return RolloutWorld({**SHORT, **rollout})


def rolled_back(w: RolloutWorld) -> bool:
    """The run says so, and every tap that can hear gives the candidate nothing."""
    told = [t.split for t in w.taps.values() if t.ready and not t.silent]
    return w.phase == "RolledBack" and all(s.weight == 0 and s.candidate is None for s in told)


# ----------------------------------------------------------------------------------------------------------- the way up


def test_a_good_candidate_goes_through_every_stage_and_becomes_stable() -> None:
    w = world(shadow={"percent": 10, "duration": "1m"}, pilot={"header": "x-g", "values": ["staff"], "hold": "1m"})
    seen = []
    for _ in range(200):
        w.pass_time(5, 200)
        if not seen or seen[-1] != w.phase:
            seen.append(w.phase)
        if w.ended:
            break
    assert seen == ["Loading", "Shadow", "Pilot", "Canary", "Baking", "Promoted"]
    assert w.weights == [0, 0, 0, 10, 50, 90, 0]
    assert w.split.stable.digest == make.ADAPTER
    assert [a.digest for a in w.split.keep] == [OLD], "what served before stays loaded to go back to"
    assert w.condition("Safe").status == "True"


def test_nobody_meets_a_candidate_before_every_ready_pod_has_it() -> None:
    w = world()
    w.taps["b"].loads = "Loading"
    w.pass_time(300)
    assert w.phase == "Loading"
    assert set(w.weights) == {0}
    assert "1 of 2" in w.condition("Loaded").message
    w.taps["b"].loads = "Ready"
    w.pass_time(10)
    assert w.phase == "Canary"


def test_a_candidate_that_does_not_load_where_stable_does_is_taken_back_unseen() -> None:
    w = world()
    w.taps["b"].loads = "Failed"
    w.pass_time(30)
    assert rolled_back(w)
    assert "keys are wrong" in w.condition("Safe").message
    assert set(w.weights) == {0}


def test_a_candidate_that_never_finishes_loading_is_inconclusive() -> None:
    w = world()
    w.taps["a"].loads = "Loading"
    w.pass_time(900)
    assert w.phase == "Inconclusive"
    assert w.status.rollout.held_because == "NotLoaded"


def test_without_a_ready_pod_the_rollout_waits() -> None:
    w = world()
    for tap in w.taps.values():
        tap.ready = False
    w.pass_time(3600, poll=60)
    assert w.phase == "Loading"
    assert w.condition("Loaded").reason == "ServingNotReady"


def test_a_step_needs_its_hold_its_requests_and_evidence() -> None:
    w = world(steps=[{"weight": 10, "hold": "5m"}])
    w.until("Canary")
    w.pass_time(200, 500)
    assert w.status.rollout.weight == 10, "the hold is not over"
    few = world(minRequests=5000)
    few.until("Canary")
    few.pass_time(300, 20)
    assert few.status.rollout.held_because == "TooFewRequests"
    unsure = world(stopLoss=[{"name": "errors", "builtin": "Errors", "margin": 0.0001}])
    unsure.until("Canary")
    unsure.pass_time(300, 100)
    assert unsure.status.rollout.held_because == "MoreEvidence"
    assert max(unsure.weights) == 10


def test_no_harm_promotes_on_small_traffic_and_says_what_could_have_gone_unseen() -> None:
    w = world(promotion="NoHarm", minRequests=5, stopLoss=[{"name": "errors", "builtin": "Errors", "margin": 0.0001}])
    w.pass_time(1200, 20)
    assert w.phase == "Promoted"
    assert "could have gone unseen" in w.condition("Safe").message


def test_the_weight_that_is_given_is_checked_by_the_counters() -> None:
    w = world()
    for tap in w.taps.values():
        tap.obeys = False
    w.until("Canary")
    w.pass_time(300, 500)
    assert w.status.rollout.held_because == "ShareMismatch"
    assert w.condition("Safe").status == "Unknown"
    assert "0 of" in w.status.rollout.message
    assert max(w.weights) == 10


def test_a_person_must_agree_when_the_job_asks_for_it() -> None:
    w = world(manualApproval=True, timeout="10m")
    w.pass_time(1500, 300)
    assert w.phase == "Baking"
    assert w.status.rollout.held_because == "AwaitingApproval"
    assert "retune.dev/promote" in w.status.rollout.message
    w.annotations["retune.dev/promote"] = "ada"
    w.pass_time(15)
    assert w.phase == "Promoted"


def test_a_person_can_skip_the_waits_but_never_the_stop_loss() -> None:
    w = world(steps=[{"weight": 10, "hold": "1d"}])
    w.until("Canary")
    w.annotations["retune.dev/promote"] = ""
    w.pass_time(15)
    assert w.phase == "Promoted"
    bad = world(steps=[{"weight": 50, "hold": "1d"}])
    bad.until("Canary")
    bad.users(1000)
    bad.bad_canary = 0.5
    bad.time += 5
    bad.users(1000)
    bad.annotations["retune.dev/promote"] = ""
    bad.reconcile()
    bad.pass_time(15)
    assert rolled_back(bad)


def test_the_expected_hours_stand_there_before_anybody_meets_the_candidate() -> None:
    w = world(timeout="1h", steps=[{"weight": 10, "hold": "10m"}])
    for tap in w.taps.values():
        end = int(make.NOW.timestamp())
        tap.windows = {"errors": [(float(t), 0, 1) for t in range(end - 3600, end - 15, 15)]}
    w.until("Canary")
    assert w.status.rollout.expected_hours is not None
    assert w.status.rollout.expected_hours > 1
    assert "NoHarm" in w.condition("Loaded").message


def test_a_query_without_a_series_for_stable_keeps_the_canary_from_starting() -> None:
    w = world(stopLoss=[USERS])
    w.queries = (QueryReading("refunds", "stable", None, None, make.NOW.timestamp()),)
    w.pass_time(600)
    assert w.phase == "Loading"
    assert USERS["total"] in w.condition("MetricsAvailable").message
    w.pass_time(1800)
    assert w.phase == "Inconclusive"
    assert set(w.weights) == {0}


def test_a_default_stop_loss_for_slow_answers_lies_above_twice_what_stable_takes_and_is_frozen() -> None:
    w = world()
    for tap in w.taps.values():
        tap.p95 = {"firstToken": 0.3}
    w.until("Canary")
    slow = next(e for e in w.split.edges if e.builtin == "Slow")
    assert slow.seconds == 1.0
    for tap in w.taps.values():
        tap.p95 = {"firstToken": 3.0}
    w.until("Canary", step=1, requests=300)
    assert next(e for e in w.split.edges if e.builtin == "Slow").seconds == 1.0
    assert {e.name for e in w.status.rollout.evidence} == {"errors", "overrides", "slow"}


# ----------------------------------------------------------------------------------------------------------- taken back


@pytest.mark.parametrize("phase", ["Pilot", "Canary", "Baking"])
def test_harm_takes_the_candidate_back_in_every_stage(phase: str) -> None:
    w = world(pilot={"header": "x-g", "values": ["staff"], "hold": "2m"})
    w.until(phase, requests=300)
    w.bad_canary = 0.5
    w.pass_time(110, 300)
    assert rolled_back(w)
    assert "errors" in w.condition("Safe").message
    assert [a.digest for a in w.split.keep] == [make.ADAPTER], "requests under way at the candidate can still end"


def test_the_intent_is_on_record_before_the_traffic_moves() -> None:
    w = world()
    w.until("Canary")
    w.bad_canary = 1.0
    w.time += 5
    w.users(2000)
    w.reconcile(crash_after=1)
    assert w.status.rollout.intent == "RollBack"
    assert w.split.weight == 10, "the operator died before it could say so"
    w.reconcile()
    assert w.split.weight == 0
    w.reconcile()
    assert rolled_back(w)


def test_a_silent_tap_is_fenced_and_does_not_hold_a_rollback_up() -> None:
    w = world()
    w.until("Canary")
    w.taps["b"].silent = True
    w.bad_canary = 1.0
    w.pass_time(15, 2000)
    assert w.status.rollout.intent == "RollBack"
    assert w.phase == "Canary"
    w.pass_time(40)
    assert w.phase == "RolledBack"
    assert "b (timed out)" in w.condition("Safe").message
    assert w.taps["a"].split.weight == 0


def test_a_tap_that_comes_back_is_pushed_to_before_the_rollback_is_over() -> None:
    w = world()
    w.until("Canary")
    w.taps["b"].silent = True
    w.bad_canary = 1.0
    w.pass_time(15, 2000)
    w.taps["b"].silent = False
    w.pass_time(10)
    assert rolled_back(w)
    assert w.taps["b"].split.weight == 0


def test_stop_loss_works_while_prometheus_is_down() -> None:
    w = world(stopLoss=[{"name": "errors", "builtin": "Errors"}, USERS])
    now = make.NOW.timestamp()
    w.queries = tuple(QueryReading("refunds", arm, 1.0, 100.0, now) for arm in ("stable", "canary"))
    w.until("Canary")
    w.queries = tuple(
        QueryReading("refunds", arm, None, None, 0.0, "SourceDown: refused") for arm in ("stable", "canary")
    )
    w.bad_canary = 0.8
    w.pass_time(30, 1000)
    assert rolled_back(w)


def test_a_tap_that_falls_silent_in_mid_canary_is_named() -> None:
    w = world(steps=[{"weight": 10, "hold": "1h"}])
    w.until("Canary")
    w.taps["b"].silent = True
    w.pass_time(130, 300)
    assert w.status.rollout.taps == "1/2"
    assert "b (timed out)" in w.condition("Safe").message


def test_a_candidate_that_vanishes_from_every_pod_for_a_minute_is_taken_back() -> None:
    w = world(steps=[{"weight": 10, "hold": "1h"}])
    w.until("Canary")
    for tap in w.taps.values():
        tap.loads = "Loading"
    w.pass_time(50)
    assert w.phase == "Canary"
    w.pass_time(30)
    assert rolled_back(w)
    assert w.status.rollout.held_because == "TargetDown"


def test_one_pod_that_starts_again_is_no_reason_to_roll_back() -> None:
    w = world(steps=[{"weight": 10, "hold": "1h"}])
    w.until("Canary")
    w.pass_time(20)
    w.taps["b"] = Tap("b", w.now.timestamp(), loads="Loading")
    w.taps["b"].take(w.arms)
    w.pass_time(300)
    assert w.phase == "Canary"
    assert w.status.rollout.intent is None


def test_shadow_copies_that_fail_take_the_candidate_back_before_users_meet_it() -> None:
    w = world(shadow={"percent": 10, "duration": "10m"})
    for tap in w.taps.values():
        tap.shadow = ShadowCount(sent=1000, failed=900)  # of an earlier rollout
    w.until("Shadow")
    w.pass_time(30)
    assert w.phase == "Shadow"
    for tap in w.taps.values():
        tap.shadow = ShadowCount(sent=1020, failed=915)
    w.pass_time(15)
    assert rolled_back(w)
    assert "30 of 40" in w.condition("Safe").message


def test_a_person_rolls_a_canary_back() -> None:
    w = world()
    w.until("Canary")
    w.rollback = make.RUN
    w.pass_time(15)
    assert rolled_back(w)
    again = world()
    again.rollback = "triage-3-abcd"
    again.job = again.job.model_copy(update={"rolled_back": "triage-3-abcd"})
    again.until("Canary")
    again.pass_time(30)
    assert again.phase == "Canary", "an annotation that was followed before is not followed again"


def test_cancelling_in_mid_canary_ends_at_weight_zero() -> None:
    w = world()
    w.until("Canary")
    w.cancel = "enough"
    w.reconcile()
    assert w.phase == "Canary"
    assert w.status.rollout.intent == "Cancel"
    w.pass_time(10)
    assert w.phase == "Cancelled"
    assert w.split.candidate is None


def test_harm_found_while_a_promotion_is_carried_out_takes_it_back() -> None:
    w = world()
    w.until("Baking", requests=300)
    w.annotations["retune.dev/promote"] = ""
    w.reconcile(crash_after=1)
    assert w.status.rollout.intent == "Promote"
    w.bad_canary = 0.9
    w.time += 5
    w.users(1000)
    w.reconcile()
    w.pass_time(10)
    assert rolled_back(w)
    assert w.split.stable.digest == OLD


# ------------------------------------------------------------------------------------------------------- standing still


def test_pausing_freezes_the_weight_and_the_clocks_but_not_the_stop_loss() -> None:
    w = world(timeout="20m")
    w.until("Canary")
    w.pass_time(30, 300)
    w.paused = True
    w.pass_time(3600, 300)
    assert (w.phase, w.status.rollout.weight) == ("Canary", 10)
    w.paused = False
    w.pass_time(15, 300)
    assert w.status.rollout.step == 0, "half of the hold was left"
    w.pass_time(40, 300)
    assert w.status.rollout.step == 1
    w.paused, w.bad_canary = True, 0.5
    w.pass_time(60, 300)
    assert rolled_back(w)


def test_suspending_takes_the_weight_to_zero_and_the_rollout_begins_again() -> None:
    w = world()
    w.until("Canary", step=1, requests=300)
    w.suspended = True
    w.pass_time(60)
    assert (w.phase, w.split.weight) == ("Loading", 0)
    w.suspended = False
    w.until("Canary")
    assert w.status.rollout.step == 0
    w.pass_time(1200, 300)
    assert w.phase == "Promoted"


def test_a_rollout_that_cannot_be_judged_in_time_is_inconclusive() -> None:
    w = world(timeout="20m")
    w.until("Canary")
    w.pass_time(1300, 0)
    assert w.phase == "Inconclusive"
    assert "spec.rollout.timeout" in w.status.rollout.message
    assert w.split.candidate is None


def test_blindness_freezes_then_lowers_then_ends_the_canary() -> None:
    w = world()
    w.until("Canary", step=1, requests=300)
    for tap in w.taps.values():
        tap.silent = True
    w.pass_time(100)
    assert (w.status.rollout.weight, w.status.rollout.held_because) == (50, "Blind")
    assert w.condition("MetricsAvailable").status == "False"
    w.pass_time(60)
    assert w.status.rollout.weight == 10
    w.pass_time(1900)
    assert w.phase == "Inconclusive"
    assert w.split.candidate is None


def test_sight_that_comes_back_in_time_lets_it_go_on() -> None:
    w = world()
    w.until("Canary", step=1, requests=300)
    for tap in w.taps.values():
        tap.silent = True
    w.pass_time(100)
    for tap in w.taps.values():
        tap.silent = False
    w.pass_time(900, 300)
    assert w.phase == "Promoted"


def test_the_candidate_never_gets_more_requests_than_the_cap() -> None:
    w = world(exposure={"maxRequests": 120})
    w.pass_time(900, 300)
    assert w.phase == "Inconclusive"
    assert "spec.rollout.exposure.maxRequests" in w.status.rollout.message
    assert sum(t.spent for t in w.taps.values()) <= 120


def test_the_cap_holds_when_pods_are_added_in_mid_canary() -> None:
    w = world(exposure={"maxRequests": 400})
    w.until("Canary")
    w.pass_time(20, 300)
    for name in ("c", "d", "e"):
        w.taps[name] = Tap(name, w.now.timestamp())
        w.taps[name].take(w.arms)
    w.reconcile()
    w.pass_time(900, 300)
    assert sum(t.spent for t in w.taps.values()) <= 400


def test_the_cap_holds_when_taps_crash_again_and_again() -> None:
    w = world(exposure={"maxRequests": 400}, timeout="3h")
    w.until("Canary")
    for _ in range(60):
        for tap in w.taps.values():
            tap.crash(w.now.timestamp())
        w.reconcile()  # within seconds of the start
        w.pass_time(20, 60)
    w.pass_time(900, 300)
    assert w.phase == "Inconclusive"
    assert "spec.rollout.exposure.maxRequests" in w.status.rollout.message
    assert 300 < sum(t.before + t.spent for t in w.taps.values()) <= 400


# ----------------------------------------------------------------------------------------------------- stable beside it


class _Slow:
    """Stable's answers are slow from the moment `slow` is set, whoever is the cause."""

    def __init__(self, w: RolloutWorld) -> None:
        self.w, self.slow = w, False

    def users(self, requests: int) -> None:
        at = self.w.now.timestamp()
        for tap in (t for t in self.w.taps.values() if t.document is not None):
            tap.serve(requests, 0.0, 0.0, at)
            rows = tap.windows.setdefault("slow", [])
            start, _, total = rows[-1]
            if self.slow:
                rows[-1] = (start, total // 2, total)


def _beside(w: RolloutWorld) -> _Slow:
    busy = _Slow(w)
    end = int(make.NOW.timestamp())
    for tap in w.taps.values():
        tap.windows = {"slow": [(float(t), 0, 50) for t in range(end - 3600, end - 15, 15)]}
    w.users = busy.users  # type: ignore[method-assign]
    return busy


SLOW = [{"name": "slow", "builtin": "Slow", "slow": {"seconds": 1}}]


def test_a_candidate_that_slows_stable_is_taken_back_once_stable_is_well_without_it() -> None:
    w = world(stopLoss=SLOW, steps=[{"weight": 10, "hold": "1h"}])
    busy = _beside(w)
    w.until("Canary")
    w.pass_time(60)
    busy.slow = True
    for _ in range(60):
        w.pass_time(5)
        busy.slow = w.split.weight > 0
        if w.status.rollout.interfered_at is not None:
            break
    assert w.split.weight == 0
    assert w.status.rollout.held_because == "Interference"
    busy.slow = False
    w.pass_time(280)
    assert rolled_back(w)
    assert w.status.rollout.held_because == "Interference"


def test_stable_that_is_slow_by_itself_is_not_blamed_on_the_candidate() -> None:
    w = world(stopLoss=SLOW, steps=[{"weight": 10, "hold": "1h"}], timeout="30m")
    busy = _beside(w)
    w.until("Canary")
    w.pass_time(60)
    busy.slow = True
    w.pass_time(500)
    assert w.status.rollout.held_because == "BaselineUnhealthy"
    assert w.split.weight == 0
    w.pass_time(1800)
    assert w.phase == "Inconclusive"


# ------------------------------------------------------------------------------------------------------- writing little


def test_a_quiet_canary_writes_its_status_at_most_once_a_minute() -> None:
    w = world(steps=[{"weight": 10, "hold": "1h"}])
    w.until("Canary")
    w.pass_time(60, 300)
    writes, notes, arms = w.writes, w.notes, len(w.weights)
    w.pass_time(600, 300)
    assert w.writes - writes <= 11
    assert w.notes - notes <= 61
    assert len(w.weights) == arms


def test_a_restart_loses_no_evidence() -> None:
    """All that a step knows is in the objects: deciding twice on the same facts is the same decision."""
    w = world()
    w.until("Canary", step=1, requests=300)
    facts = w.facts()
    first = decide_run(facts)
    again = decide_run(replace(facts, status=stored(first.status)))
    assert stored(again.status) == stored(first.status)
    assert "begun afresh" not in w.condition("Safe").message


def test_evidence_that_was_lost_is_said() -> None:
    w = world()
    w.until("Baking", requests=300)
    w.memory = "{garbled"
    w.status = w.status.model_copy(
        update={"rollout": w.status.rollout.model_copy(update={"evidence_at": None})}  # type: ignore[union-attr]
    )
    w.pass_time(5)
    assert "afresh" in w.condition("Safe").message
    assert w.phase == "Baking"


def test_the_largest_rollout_fits_into_the_status() -> None:
    steps = [{"weight": k + 1, "hold": "15s"} for k in range(16)]
    losses = [{"name": f"a-stop-loss-with-a-long-name-{k:02}", "builtin": "Errors", "maxRate": 0.9} for k in range(16)]
    w = RolloutWorld({"steps": steps, "stopLoss": losses, "bake": "1m"})
    w.until("Canary", step=3, requests=5000)
    w.bad_stable = w.bad_canary = 0.123456
    w.pass_time(120, 5000)
    size = len(w.status.model_dump_json(by_alias=True, exclude_none=True))
    assert len(w.status.rollout.evidence) == 16
    assert size < 10_000


# ---------------------------------------------------------------------------------------------------- the first rollout


def test_the_first_candidate_is_compared_with_the_bare_base() -> None:
    w = world()
    w.job = w.job.model_copy(update={"stable": None})
    w.until("Canary")
    assert w.split.stable.kind is ArmKind.BASE


def test_the_first_candidate_is_compared_with_the_prompted_model_that_serves_today() -> None:
    w = RolloutWorld(SHORT, {"initial": "Endpoint"})
    endpoint = {"url": "http://gateway:8000/v1", "model": "big", "promptTemplate": "Sort: {{ prompt }}"}
    gates = w.spec.gates.model_copy(update={"baseline": type(w.spec.gates.baseline)(endpoint=endpoint)})
    w.spec = w.spec.model_copy(update={"gates": gates})
    w.job = w.job.model_copy(update={"stable": None})
    w.until("Canary")
    assert (w.split.stable.kind, w.split.stable.model) == (ArmKind.ENDPOINT, "big")
    assert w.split.stable.template == "Sort: {{ prompt }}"


def test_a_run_of_a_job_that_serves_nothing_ends_with_its_evaluation() -> None:
    w = world()
    w.spec = w.spec.model_copy(update={"serving": None, "rollout": None})
    w.reconcile()
    assert w.status.phase is RunPhase.PROMOTED
