"""A candidate that slows everyone on its GPU is found, though both arms are slow alike."""

import numpy as np
import pytest
from tests.unit.decide.evidence.readings import START, plan, tap, watched

from retune.decide.evidence.judge import begin, judge

SLOW = watched("slow", "Slow")


def slower(rate_before, rate_after, *, seed=0, per_window=150, minutes=20, before=240):
    """When stable's slowness is laid to the candidate, in seconds; None: never."""
    random = np.random.default_rng(seed)
    told = plan(SLOW)
    memory = begin(told, START)
    windows = [
        (START + 15.0 * index, int(random.binomial(per_window, rate_before if index < 0 else rate_after)), per_window)
        for index in range(-before, 4 * minutes)
    ]
    for index in range(4 * minutes):
        at = START + 15.0 * index
        done = tuple(window for window in windows if window[0] + 15 <= at)
        memory, said = judge(
            memory, told, [tap(now=at, windows={"slow": done})], [], stratum="3:0", baking=False, w_next=1.0, at=at
        )
        if said.interference:
            assert not said.may_advance
            return at - START
    return None


def test_a_stable_that_becomes_slow_is_noticed_within_minutes() -> None:
    assert np.median([slower(0.02, 0.2, seed=seed) or 9999 for seed in range(5)]) <= 120


@pytest.mark.parametrize("per_window", [40, 150])
def test_a_stable_that_recovers_is_seen_to_within_five_minutes(per_window) -> None:
    random = np.random.default_rng(3)
    told = plan(SLOW)
    memory = begin(told, START)
    rates = [0.02] * 240 + [0.3] * 40 + [0.02] * 40
    windows = [
        (START + 15.0 * (index - 240), int(random.binomial(per_window, rate)), per_window)
        for index, rate in enumerate(rates)
    ]
    said = []
    for index in range(80):
        at = START + 15.0 * index
        done = tuple(window for window in windows if window[0] + 15 <= at)
        memory, judgement = judge(
            memory, told, [tap(now=at, windows={"slow": done})], [], stratum="3:0", baking=False, w_next=1.0, at=at
        )
        said.append(judgement.interference)
    assert said[39]
    assert not said[60]


def test_a_stable_that_is_as_slow_as_before_is_not() -> None:
    assert sum(slower(0.05, 0.05, seed=seed) is not None for seed in range(25)) == 0


def test_nothing_is_said_without_an_hour_before() -> None:
    assert slower(0.02, 0.5, before=0) is None


@pytest.mark.parametrize("builtin", ["Errors", "Long"])
def test_only_slowness_is_laid_to_interference(builtin) -> None:
    told = plan(watched("slow", builtin))
    memory = begin(told, START)
    for index in range(40):
        at = START + 15.0 * index
        windows = tuple((START + 15.0 * i, 0 if i < 0 else 100, 150) for i in range(-240, index))
        memory, said = judge(
            memory, told, [tap(now=at, windows={"slow": windows})], [], stratum="3:0", baking=False, w_next=1.0, at=at
        )
    assert not said.interference
