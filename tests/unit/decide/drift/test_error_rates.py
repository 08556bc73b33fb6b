"""Drift where there is none, and drift where there is some: stated rates, with binomial bounds and fixed seeds.

Longer simulations: benchmarks/drift; their figures: design/0016.
"""

import pytest
from scipy.stats import binom
from tests.unit.decide.drift.worlds import KINDS, World, stream

from retune.decide.drift import betting


def plausible(found, runs, rate):
    """So many in so many runs, or more, happen with a chance of at least 1 % at that rate."""
    return binom.sf(found - 1, runs, rate) >= 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_a_day_of_usual_prompts_earns_the_bettor_no_more_than_a_day(kind) -> None:
    seen = [stream(World(kind, s), s, 10, 14_400, look=300, after=s, reference_per_minute=5) for s in (0, 5)]
    assert sum(each.e_value for each in seen) / len(seen) < 1  # the mean that one false alarm a year allows
    assert all(each.alarm is None and each.beyond is None for each in seen)


@pytest.mark.parametrize(("prompts", "runs"), [(100, 15), (500, 12), (6000, 2)])
def test_usual_prompts_seldom_exceed_what_psi_allows_for_chance(prompts, runs) -> None:
    seen = [stream(World("iid", s), s, 60, prompts, reference_per_minute=2, threshold=0.0) for s in range(runs)]
    # At one look 0.1 %; of the windows in 6,000 prompts three have none in common.
    allowed = 0.001 * max(1, prompts // 2000)
    assert plausible(sum(each.beyond is not None for each in seen), runs, allowed)
    assert all(each.alarm is None for each in seen)


@pytest.mark.parametrize(("prompts", "runs"), [(100, 10), (500, 10), (6000, 2)])
def test_a_daily_cycle_does_not_exceed_a_threshold_of_a_tenth(prompts, runs) -> None:
    seen = [stream(World("smooth", s), s, 60, prompts, reference_per_minute=2) for s in range(runs)]
    assert all(each.beyond is None and each.alarm is None for each in seen)


@pytest.mark.parametrize("kind", ["iid", "smooth"])
def test_a_fifth_of_a_deviation_in_eight_features_is_found_within_1500_prompts(kind) -> None:
    how = {"shift": 0.2, "before": 300, "reference_per_minute": 5, "stop": True}
    found = [stream(World(kind, s), s, 60, 3000, **how).alarm for s in range(8)]
    late = sum(each is None or each - 300 > 1500 for each in found)
    assert plausible(late, len(found), 0.1)


def test_wealth_does_not_depend_on_how_often_one_looks() -> None:
    often = stream(World("iid", 3), 3, 60, 1200, look=5, shift=0.2, reference_per_minute=5)
    seldom = stream(World("iid", 3), 3, 60, 1200, look=60, shift=0.2, reference_per_minute=5)
    assert often.alarm is not None
    assert abs(often.alarm - seldom.alarm) <= 120


def test_less_wealth_than_the_limit_is_expected_of_a_year() -> None:
    bettor = betting.Bettor()
    for _ in range(364):
        bettor = betting.wait(bettor, 1.0)
    assert bettor.e_value == pytest.approx(364)
    assert bettor.e_value < betting.LIMIT
