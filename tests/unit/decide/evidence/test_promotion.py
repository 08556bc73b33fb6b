"""Promotion needs evidence of no harm, and says how long that takes."""

import math

import numpy as np
import pytest
from tests.unit.decide.evidence.readings import START, plan, series, tap, watched

from retune.decide.evidence import promotion
from retune.decide.evidence.judge import begin, expected_hours, judge

ALPHA = 0.025  # (1 - 0.95) / 2


def promoted(rate, harm, *, per_look, looks, runs=600, weight=0.25, margin=None, seed=1):
    """Share of rollouts in which promotion is allowed at any of the looks."""
    random = np.random.default_rng(seed)
    n_c = np.cumsum(random.poisson(per_look * weight, (runs, looks)), axis=1)
    n_b = np.cumsum(random.poisson(per_look * (1 - weight), (runs, looks)), axis=1)
    c = np.cumsum(random.binomial(np.diff(n_c, axis=1, prepend=0), rate + harm), axis=1)
    b = np.cumsum(random.binomial(np.diff(n_b, axis=1, prepend=0), rate), axis=1)
    _, upper = promotion.bounds(c, n_c, ALPHA)
    lower, _ = promotion.bounds(b, n_b, ALPHA)
    asked = margin if margin is not None else np.maximum(0.02, 0.5 * b / np.maximum(n_b, 1))
    return ((upper - lower <= asked) & (n_c >= 50)).any(axis=1).mean()


@pytest.mark.parametrize(
    ("rate", "harm", "margin"), [(0.005, 0.02, 0.02), (0.02, 0.02, None), (0.1, 0.05, None), (0.3, 0.1, 0.1)]
)
def test_a_candidate_as_bad_as_the_margin_is_seldom_promoted(rate, harm, margin) -> None:
    assert promoted(rate, harm, per_look=600, looks=60, margin=margin) <= 0.05


def test_a_candidate_as_good_as_stable_is_promoted() -> None:
    assert promoted(0.02, 0.0, per_look=600, looks=60, runs=100) > 0.95


def test_bounds_hold_at_all_looks_together() -> None:
    random = np.random.default_rng(2)
    n = np.arange(20, 2001, 20)
    s = np.cumsum(random.binomial(20, 0.05, (1000, len(n))), axis=1)
    lower, upper = promotion.bounds(s, np.broadcast_to(n, s.shape), ALPHA)
    assert (lower > 0.05).any(axis=1).mean() <= ALPHA
    assert (upper < 0.05).any(axis=1).mean() <= ALPHA


def test_no_requests_say_nothing() -> None:
    lower, upper = promotion.bounds(0.0, 0.0, ALPHA)
    assert (float(lower), float(upper)) == (0.0, 1.0)


@pytest.mark.parametrize(("stable", "asked", "margin"), [(0.2, None, 0.1), (0.01, None, 0.02), (0.2, 0.05, 0.05)])
def test_margin(stable, asked, margin) -> None:
    assert promotion.margin(watched(margin=asked), stable * 1000, 1000) == pytest.approx(margin)


def test_less_margin_is_asked_of_a_small_next_step() -> None:
    told = plan()
    memory, _ = judge(begin(told, START), told, [tap()], [], stratum="3:0", baking=False, w_next=0.25, at=START)
    reading = tap(series("stable", "3:0", 20, 4000), series("canary", "3:0", 1, 300), now=START + 600)
    passes = [
        judge(memory, told, [reading], [], stratum="3:0", baking=False, w_next=w, at=START + 600)[1].may_advance
        for w in (0.25, 1.0)
    ]
    assert passes == [True, False]


def test_counts_of_an_earlier_step_do_not_promote() -> None:
    told = plan()
    memory, _ = judge(begin(told, START), told, [tap()], [], stratum="3:0", baking=False, w_next=1, at=START)
    before = [series("stable", "3:0", 100, 40_000), series("canary", "3:0", 25, 10_000)]
    memory, said = judge(
        memory, told, [tap(*before, now=START + 9)], [], stratum="3:0", baking=False, w_next=1.0, at=START + 9
    )
    assert (said.may_advance, said.canary_total, said.metrics[0].passes) == (True, 10_000, True)
    after = [*before, series("stable", "3:1", 0, 30), series("canary", "3:1", 0, 10)]
    _, said = judge(
        memory, told, [tap(*after, now=START + 15)], [], stratum="3:1", baking=False, w_next=1.0, at=START + 15
    )
    assert (said.may_advance, said.canary_total, said.stable_total) == (False, 10, 30)
    assert said.metrics[0].missed_harm > 0.1


def hours(per_minute, **how):
    return expected_hours(
        how.pop("plan", plan()),
        requests_per_minute=per_minute,
        rates={"errors": 0.02},
        steps=how.pop("steps", [(0.1, 600), (0.25, 600), (0.5, 600)]),
        min_requests=how.pop("min_requests", 50),
        bake=3600,
    )


def test_expected_hours_fall_with_traffic_to_the_holds_and_the_bake() -> None:
    assert hours(60_000) == pytest.approx(1.5)
    assert hours(60) < hours(6) < math.inf
    assert hours(0) == math.inf


def test_few_requests_prolong_a_step_until_there_are_enough() -> None:
    wide = plan(watched(margin=1.0))
    assert hours(60, plan=wide, steps=[(0.1, 60)], min_requests=3600) == pytest.approx(11, rel=0.01)
