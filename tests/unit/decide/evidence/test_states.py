"""Where a stop-loss stands, and what missing evidence does: nothing."""

import pytest
from tests.unit.decide.evidence.readings import START, plan, series, spread, tap, watched

from retune.api.run import EvidenceState
from retune.decide.evidence.judge import begin, judge, restart_for_bake
from retune.decide.readings import QueryReading, Series

MINE = watched("mine", None)


class Rollout:
    """Looks every 5 s; counters that rise."""

    def __init__(self, *metrics, **how):
        self.plan = plan(*metrics, **how)
        self.memory = begin(self.plan, START)
        self.now = START
        self.counts = {}
        self.look()

    def look(self, *, taps=True, queries=(), step="3:0", heaviest=0.0, metrics=("errors",), **counts):
        """`counts`: what is new, as stable=(bad, total), canary=(bad, total)."""
        self.now += 5
        for arm, (bad, total) in counts.items():
            for metric in metrics:
                old = self.counts.get((metric, arm, step), (0, 0))
                self.counts[metric, arm, step] = old[0] + bad, old[1] + total
        given = [series(arm, label, *each, metric=name) for (name, arm, label), each in self.counts.items()]
        readings = [tap(*given, now=self.now, heaviest=heaviest)] if taps else []
        self.memory, self.said = judge(
            self.memory, self.plan, readings, queries, stratum=step, baking=False, w_next=1.0, at=self.now
        )
        return self.said

    def state(self, name="errors"):
        return next(one.state for one in self.said.metrics if one.name == name)


def queries(at, stable, canary, error=""):
    return [QueryReading("mine", "stable", *stable, at, error), QueryReading("mine", "canary", *canary, at, error)]


def test_a_candidate_that_fails_is_taken_back_and_the_stop_loss_is_named() -> None:
    rollout = Rollout(watched(), watched("slow", "Slow"))
    for _ in range(6):
        rollout.look(stable=(0, 90), canary=(0, 10), metrics=("slow",))
        rollout.look(stable=(0, 90), canary=(8, 10))
    assert rollout.said.breached == ("errors",)
    assert rollout.said.combined >= rollout.said.threshold
    assert (rollout.state(), rollout.state("slow")) == (EvidenceState.BREACHED, EvidenceState.OK)
    assert not rollout.said.may_advance
    assert rollout.said.metrics[0].e_value >= rollout.said.metrics[0].threshold


def test_without_traffic_nothing_happens() -> None:
    rollout = Rollout()
    said = rollout.look(stable=(3, 100))
    assert (rollout.state(), said.may_advance, said.breached) == (EvidenceState.NO_TRAFFIC, False, ())


def test_no_tap_is_blindness_and_freezes_the_evidence() -> None:
    rollout = Rollout()
    before = rollout.look(stable=(0, 90), canary=(2, 10))
    said = rollout.look(taps=False)
    assert (rollout.state(), said.blind, said.may_advance) == (EvidenceState.SOURCE_DOWN, ("errors",), False)
    assert said.combined == before.combined
    assert (rollout.look(stable=(0, 9), canary=(0, 1)).blind, rollout.state()) == ((), EvidenceState.OK)


@pytest.mark.parametrize(
    ("error", "state"), [("SourceDown: 503", EvidenceState.SOURCE_DOWN), ("Invalid: NaN", EvidenceState.INVALID)]
)
def test_prometheus_down_is_blindness_of_that_stop_loss_alone(error, state) -> None:
    rollout = Rollout(watched(), MINE)
    said = rollout.look(stable=(0, 90), canary=(0, 10), queries=queries(1, (None, None), (None, None), error))
    assert (rollout.state(), rollout.state("mine"), said.blind) == (EvidenceState.OK, state, ("mine",))
    assert said.metrics[1].detail == error


@pytest.mark.parametrize("stable", [(None, 5), (5, None)])
def test_a_query_that_finds_nothing_for_stable_is_named(stable) -> None:
    rollout = Rollout(MINE)
    said = rollout.look(queries=queries(1, stable, (1, 5)))
    assert rollout.state("mine") is EvidenceState.SERIES_ABSENT
    assert "mine" in said.metrics[0].detail
    assert not said.may_advance


def test_a_candidate_whose_counters_do_not_exist_yet_has_no_traffic() -> None:
    rollout = Rollout(MINE)
    rollout.look(queries=queries(1, (1, 5), (None, None)))
    assert rollout.state("mine") is EvidenceState.NO_TRAFFIC


def test_users_counters_are_frozen_around_a_change_of_weight() -> None:
    rollout = Rollout(MINE)
    rollout.look(queries=queries(1, (0, 100), (0, 10)))
    rollout.plan = plan(MINE, blocked_user=True)
    rollout.look(queries=queries(16, (0, 200), (90, 110)))
    rollout.plan = plan(MINE)
    rollout.look(queries=queries(31, (0, 300), (190, 210)))
    said = rollout.look(queries=queries(46, (0, 400), (191, 215)))
    assert (said.metrics[0].bad, said.metrics[0].total, said.metrics[0].stable_total) == (1, 5, 100)
    assert not said.breached


def test_users_counters_are_tempered_by_what_the_taps_know_of_their_users() -> None:
    rollout = Rollout(watched(), MINE)
    heavy = Series("errors", "stable", "3:0", spread(200, bucket=5), spread(4000))
    reading = tap(heavy, series("canary", "3:0", 0, 400), now=START + 10)
    found = []
    for index in range(3):
        rollout.memory, said = judge(
            rollout.memory,
            rollout.plan,
            [reading],
            queries(15 * index, (0, 10 * index), (0, index)),
            stratum="3:0",
            baking=False,
            w_next=1.0,
            at=START + 10 + 5 * index,
        )
        found.append(said.metrics[1].phi)
    assert found[0] < 4 < found[-1] == said.metrics[0].phi


def test_users_counters_take_a_bad_candidate_back() -> None:
    rollout = Rollout(MINE)
    for index in range(12):
        said = rollout.look(queries=queries(15 * index, (0, 90 * index), (8 * index, 10 * index)))
    assert said.breached == ("mine",)


def test_an_unhealthy_stable_freezes_the_absolute_test_and_holds() -> None:
    rollout = Rollout(watched(max_rate=0.02))
    for _ in range(20):
        said = rollout.look(stable=(45, 90), canary=(5, 10))
    assert (rollout.state(), said.breached, said.may_advance) == (EvidenceState.BASELINE_UNHEALTHY, (), False)
    frozen = rollout.memory.metrics["errors"].absolute.logs[0]
    rollout.look(stable=(45, 90), canary=(10, 10))
    assert (rollout.memory.metrics["errors"].absolute.logs[0] <= frozen + 0.1).all()


def test_stable_recovers_from_being_unhealthy() -> None:
    rollout = Rollout(watched(max_rate=0.02))
    for _ in range(100):
        rollout.look(stable=(45, 90), canary=(5, 10))
    for _ in range(60):
        rollout.look(stable=(0, 90), canary=(0, 10))
    assert rollout.state() is EvidenceState.OK


def test_a_rate_above_the_limit_is_a_breach_though_stable_is_no_better_known() -> None:
    rollout = Rollout(watched(max_rate=0.02, max_ratio=100))
    for _ in range(12):
        said = rollout.look(stable=(0, 90), canary=(3, 10))
    assert said.breached == ("errors",)


def test_the_tests_start_afresh_for_the_bake() -> None:
    rollout = Rollout()
    rollout.look(stable=(0, 90), canary=(3, 10))
    before = rollout.look(stable=(0, 90), canary=(6, 10)).combined
    rollout.memory = restart_for_bake(rollout.memory, rollout.plan, rollout.now)
    after = rollout.look(step="3:bake", stable=(0, 10), canary=(0, 90)).combined
    assert before > 1.1
    assert after <= 1 + 1e-6


def test_one_heavy_id_is_a_warning() -> None:
    assert "12%" in Rollout().look(heaviest=0.12).warnings[0]
    assert Rollout().look(heaviest=0.08).warnings == ()


def test_a_tighter_limit_keeps_what_was_found_and_a_looser_one_begins_anew() -> None:
    rollout = Rollout(watched(max_ratio=2.0))
    before = rollout.look(stable=(0, 90), canary=(3, 10)).combined
    rollout.plan = plan(watched(max_ratio=1.5))
    assert rollout.look().combined == pytest.approx(before, rel=0.1)
    rollout.plan = plan(watched(max_ratio=3.0))
    assert rollout.look().combined == pytest.approx(1.0)
