"""The same user gets the same arm at every weight, and weights are what they say."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise

import pytest
from scipy import stats

from retune_tap.heaviest import Heaviest
from retune_tap.pacing import Pacing
from retune_tap.splitting import Splitter, to_candidate

IDS = [f"user-{number}" for number in range(100_000)]
WEIGHTS = (1, 5, 10, 25, 50, 90)


@pytest.fixture(scope="module")
def places():
    splitter = Splitter("run-uid", random.Random(1))
    return [splitter.place(name) for name in IDS]


def test_weights_are_met_over_a_hundred_thousand_ids(places):
    for weight in WEIGHTS:
        given = sum(to_candidate(place.position, weight) for place in places)
        expected = len(IDS) * weight / 100
        assert stats.chisquare([given, len(IDS) - given], [expected, len(IDS) - expected]).pvalue > 1e-4


def test_raising_the_weight_moves_nobody_back(places):
    for low, high in pairwise(WEIGHTS):
        assert not any(to_candidate(p.position, low) and not to_candidate(p.position, high) for p in places)


def test_nobody_is_given_at_weight_0_and_everybody_at_100(places):
    assert not any(to_candidate(place.position, 0) for place in places)
    assert all(to_candidate(place.position, 100) for place in places)


def test_buckets_are_even_and_independent_of_the_arm(places):
    table = Counter((place.bucket, to_candidate(place.position, 25)) for place in places)
    rows = [[table[bucket, arm] for bucket in range(32)] for arm in (False, True)]
    assert stats.chisquare([a + b for a, b in zip(*rows, strict=True)]).pvalue > 1e-4
    assert stats.chi2_contingency(rows).pvalue > 1e-4


def test_another_rollout_shuffles_everybody_anew(places):
    other = Splitter("another-uid", random.Random(1))
    both = Counter(
        (to_candidate(p.position, 50), to_candidate(other.place(i).position, 50))
        for p, i in zip(places, IDS, strict=True)
    )
    assert stats.chi2_contingency([[both[a, b] for b in (0, 1)] for a in (0, 1)]).pvalue > 1e-4


def test_the_same_id_has_the_same_place_after_a_restart(places):
    assert Splitter("run-uid", random.Random(99)).place(IDS[17]) == places[17]


def test_requests_without_an_id_are_split_each_on_its_own():
    splitter = Splitter("run-uid", random.Random(3))
    given = sum(to_candidate(splitter.place(None).position, 10) for _ in range(20_000))
    assert stats.binomtest(given, 20_000, 0.1).pvalue > 1e-4


def test_five_requests_of_an_id_a_minute_enter_the_evidence():
    pacing = Pacing()
    assert [pacing.admit(7, 60.0 + second) for second in range(7)] == [True] * 5 + [False] * 2
    assert pacing.admit(8, 66.0)
    assert pacing.admit(7, 120.0)
    assert all(pacing.admit(None, 66.0) for _ in range(100))


def test_the_heaviest_id_is_found_among_many_and_forgotten_after_ten_minutes():
    heaviest, chance = Heaviest(), random.Random(5)
    for number in range(20_000):
        heaviest.saw(42 if chance.random() < 0.15 else 1000 + number, now=number * 0.025)
    assert abs(heaviest.share(500.0) - 0.15) < 0.02
    assert heaviest.share(5000.0) == 0.0


def test_many_light_ids_make_no_heavy_one():
    heaviest = Heaviest()
    for number in range(20_000):
        heaviest.saw(number, now=number * 0.025)
    assert heaviest.share(500.0) < 0.01


async def test_a_user_stays_with_an_arm_through_the_tap(running):
    await running.serve(weight=50)
    first = {f"u{n}": (await running.ask(f"u{n}")).headers["x-retune-arm"] for n in range(20)}
    assert set(first.values()) == {"stable", "canary"}
    await running.serve(2, weight=90, stratum="3:2")
    for user, arm in first.items():
        again = (await running.ask(user)).headers["x-retune-arm"]
        assert arm == "stable" or again == "canary"


async def test_who_opts_out_gets_stable_and_counts_for_nobody(running):
    await running.serve(weight=100)
    reply = await running.ask("ann", headers={"x-retune-stable": "1"})
    assert reply.headers["x-retune-arm"] == "stable"
    assert await running.counts() == {}
    assert (await running.state())["routed"] == {"3:1": {"stable": 0, "canary": 0}}


async def test_the_pilots_cohort_gets_the_candidate_and_is_not_split(running):
    pilot = {"header": "x-user-group", "values": ["staff"]}
    await running.serve(stage="Pilot", stratum="3:pilot", weight=0, pilot=pilot)
    assert (await running.ask("ann", headers={"x-user-group": "staff"})).headers["x-retune-arm"] == "canary"
    assert (await running.ask("ann", headers={"x-user-group": "guests"})).headers["x-retune-arm"] == "stable"
    assert (await running.state())["routed"] == {"3:pilot": {"stable": 1, "canary": 0}}
    assert await running.counts() == {"canary": (0, 1), "stable": (0, 1)}


async def test_a_pilot_without_a_candidate_gives_its_cohort_stable(running):
    pilot = {"header": "x-user-group", "values": ["staff"]}
    await running.serve(stage="Pilot", stratum="3:pilot", weight=0, pilot=pilot, candidate=None)
    assert (await running.ask("ann", headers={"x-user-group": "staff"})).headers["x-retune-arm"] == "stable"
    assert (await running.state())["quota"]["requests"] == 0
