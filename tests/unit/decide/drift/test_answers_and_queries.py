"""The door, for answers people rated or overrode, probes, and queries of the user's own."""

import math
from datetime import timedelta

import numpy as np
import pytest
from tests.unit.decide.drift.looks import NEXT, Looks, trigger

from retune.decide.drift import rates
from retune.decide.drift.evidence import Counted, DriftEvidence, ProbeResult, QueryReading


def asked(looks, value, *, error="", age=0.0, after=30.0):
    at = looks.now.timestamp() + after - age
    told = DriftEvidence(served=looks.served, queries={"own": QueryReading(value, at, error)})
    return looks.look(told, after=after)


def own(**how):
    return Looks(trigger("own", query="up", threshold=3, **how))


def test_a_query_fires_when_it_stays_beyond_its_threshold() -> None:
    looks = own(lasting="1m")
    assert [asked(looks, value).state for value in (2, 3, 4, 5, 6, 3)] == [
        "Ok",
        "Ok",
        "Breached",
        "Breached",
        "Firing",
        "Ok",
    ]


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (None, "SourceDown: Prometheus did not answer", "did not answer"),
        (None, "Invalid: the query has 2 samples", "2 samples"),
        (None, "", "no sample"),
        (math.nan, "", "nan"),
        (math.inf, "", "inf"),
    ],
)
def test_no_data_is_not_no_drift_and_is_shown_as_unknown(value, error, said) -> None:
    looks = own()
    status = asked(looks, value, error=error)
    assert status.state == "Unknown"
    assert said in status.message
    assert status.value is None


def test_a_long_error_is_cut() -> None:
    assert len(asked(own(), None, error="Invalid: " + "x" * 5000).message) == 1024


def test_a_query_that_nobody_asked_yet_is_unknown() -> None:
    assert own().look().state == "Unknown"


def test_an_old_sample_is_unknown() -> None:
    assert "old" in asked(own(), 9, age=900).message


def test_data_missing_for_a_minute_neither_fires_nor_forgives() -> None:
    looks = own(lasting="2m")
    since = asked(looks, 9).breached_since
    for _ in range(8):
        status = asked(looks, None, error="SourceDown: gone")
        assert (status.state, status.breached_since, status.value) == ("Breached", since, 9)
        assert status.message == "SourceDown: gone"
    assert asked(looks, 9).state == "Firing"


def test_data_missing_for_longer_starts_the_clock_anew() -> None:
    looks = own(lasting="2m")
    asked(looks, 9)
    states = [asked(looks, None, error="SourceDown: gone").state for _ in range(11)]
    assert states[-1] == "Unknown"
    assert [asked(looks, 9).state for _ in range(5)] == ["Breached"] * 4 + ["Firing"]


def test_missing_data_never_starts_a_clock() -> None:
    looks = own(lasting="0s")
    asked(looks, 1)
    assert {asked(looks, math.nan).state for _ in range(30)} == {"Ok", "Unknown"}


def overridden(looks, rate, minutes, *, per_minute=60, pods=("a",), seed=3):
    """Windows of a quarter of a minute, told again for ten minutes; the states."""
    random, told, states = np.random.default_rng(seed), [], []
    for _ in range(2 * minutes):
        end = looks.now.timestamp() + 30
        for pod in pods:
            for start in (end - 30, end - 15):
                n = per_minute // 4 // len(pods)
                told.append(Counted(pod, start, int(random.binomial(n, rate)), n))
        told = told[-40 * len(pods) :]
        status = looks.look(DriftEvidence(served=looks.served, overrides=tuple(told)))
        states.append(status.state.value)
    return states


def overrides(**how):
    return Looks(trigger("o", builtin="OverrideRate", threshold=0.05, lasting="0s", **how))


def test_overrides_beyond_the_threshold_are_found_and_counted_once() -> None:
    looks = overrides()
    assert set(overridden(looks, 0.02, 30)) <= {"Unknown", "Ok"}
    assert looks.statuses[0].samples == 30 * 60
    assert "Firing" in overridden(looks, 0.25, 20)


def test_two_taps_count_as_one_tap_with_their_traffic() -> None:
    looks = overrides()
    overridden(looks, 0.02, 20, pods=("a", "b"))
    assert looks.statuses[0].samples == 20 * 56  # 7 in a quarter of a minute at each


def test_only_the_last_hour_counts() -> None:
    looks = overrides()
    overridden(looks, 0.2, 70)
    assert looks.statuses[0].samples <= 61 * 60
    assert set(overridden(looks, 0.0, 130)[-10:]) == {"Ok"}


def test_a_rate_at_its_threshold_does_not_breach() -> None:
    assert "Firing" not in overridden(overrides(), 0.05, 600)


def test_too_few_answers_are_unknown() -> None:
    assert set(overridden(overrides(fewest=500), 0.5, 5)) == {"Unknown"}


def test_another_model_starts_with_nothing_overridden() -> None:
    looks = overrides()
    overridden(looks, 0.3, 20)
    looks.served = NEXT
    assert overridden(looks, 0.02, 1)[0] == "Unknown"


@pytest.mark.parametrize("jump", [-7200.0, 7200.0])
def test_a_tap_whose_clock_jumps_loses_and_repeats_nothing(jump) -> None:
    looks = overrides()
    overridden(looks, 0.02, 10)
    told = tuple(Counted("a", looks.now.timestamp() + jump + 15 * i, 1, 15) for i in range(2))
    status = looks.look(DriftEvidence(served=looks.served, overrides=told))
    assert status.samples == 10 * 60 + 30
    assert looks.look(DriftEvidence(served=looks.served, overrides=told)).samples == 10 * 60 + 30


def probed(looks, right, *, hours=1, accepted=0.9, seed=1, every=3600.0):
    random = np.random.default_rng(seed)
    for hour in range(hours):
        at = looks.now + timedelta(seconds=every)
        probe = ProbeResult(f"{at}", at.timestamp(), 50, 50, float(random.binomial(50, right)))
        how = {"served": looks.served, "accuracy_at_promotion": accepted, "probe": probe, "probe_every": every}
        status = looks.look(DriftEvidence(**how), after=every)
        again = looks.look(DriftEvidence(**how))
        assert again.samples == status.samples
        if status.state == "Firing":
            return hour + 1
    return None


def drop(**how):
    return Looks(trigger("q", builtin="QualityDrop", threshold=0.05, lasting="0s", **how))


def test_a_drop_of_a_third_is_found_within_four_probes_and_one_of_a_tenth_within_a_day() -> None:
    assert max(probed(drop(), 0.6, hours=24, seed=s) or 99 for s in range(5)) <= 4
    assert max(probed(drop(), 0.75, hours=24, seed=s) or 99 for s in range(5)) <= 24


def test_a_model_as_good_as_accepted_stays_ok() -> None:
    looks = drop()
    assert probed(looks, 0.9, hours=300) is None
    assert looks.statuses[0].state == "Ok"


def test_without_an_accepted_accuracy_probes_say_nothing() -> None:
    looks = drop()
    probed(looks, 0.1, accepted=None)
    assert looks.statuses[0].state == "Unknown"
    assert "not known" in looks.statuses[0].message


def test_probes_that_have_stopped_are_unknown() -> None:
    looks = drop()
    probed(looks, 0.9, hours=3)
    for _ in range(13 * 12):
        status = looks.look(DriftEvidence(served=looks.served, accuracy_at_promotion=0.9), after=300)
    assert status.state == "Unknown"


def test_more_rated_answers_than_probed_ones_decide() -> None:
    looks, random = drop(fewest=300), np.random.default_rng(4)
    for look in range(240):
        at = looks.now.timestamp()
        bad = int(random.binomial(20, 0.1 if look < 120 else 0.5))
        told = DriftEvidence(served=looks.served, rated=(Counted("a", at, bad, 20),))
        status = looks.look(told)
        if look == 5:
            assert "of 300 rated answers since" in status.message
        if look == 100:
            assert status.state == "Ok"
    assert status.state == "Firing"
    assert status.value > 0.05


def test_a_bound_is_wrong_no_more_often_than_it_says() -> None:
    random = np.random.default_rng(2)
    found = random.binomial(400, 0.05, 4000)
    assert np.mean([rates.lower(bad, 400, 0.01) > 0.05 for bad in found]) <= 0.013
    assert np.mean([rates.upper(bad, 400, 0.01) < 0.05 for bad in found]) <= 0.013


def test_bursts_are_worth_less_than_their_number() -> None:
    random = np.random.default_rng(2)

    def pieces(rates_):
        return [(int(bad), 50) for bad in random.binomial(50, rates_)]

    assert rates.dispersion(pieces(np.full(288, 0.1))) < 1.3
    assert rates.dispersion(pieces(np.linspace(0.02, 0.5, 288))) < 1.3
    assert rates.dispersion(pieces(np.where(random.random(288) < 0.1, 0.9, 0.0))) > 5
