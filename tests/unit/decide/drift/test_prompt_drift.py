"""The door, for prompts: what is unknown, what is beyond, what a new model changes."""

from datetime import timedelta

import pytest
from tests.unit.decide.drift.looks import NEXT, NOON, SHORT, Looks, rows, trigger

from retune.api.triggers import DriftReference
from retune.decide.drift.evidence import DriftEvidence
from retune.decide.drift.watch import cursors


def ready(*triggers, **how):
    """A job whose reference of ten minutes is there, and 900 usual prompts after it."""
    looks = Looks(*(triggers or (trigger(lasting="2m"),)), **how)
    looks.prompts(21)
    assert looks.prompts(30).state == "Ok"
    return looks


def test_until_there_is_a_reference_all_is_unknown_and_says_for_how_long() -> None:
    looks = Looks(trigger())
    status = looks.prompts(9)
    assert status.state == "Unknown"
    assert "another 6 minutes" in status.message
    assert status.value is None


def test_too_few_prompts_make_no_reference_and_the_message_names_the_field() -> None:
    status = Looks(trigger()).prompts(30, each=3)
    assert status.state == "Unknown"
    assert "spec.triggers.reference.minSamples" in status.message


def test_too_few_prompts_since_are_unknown() -> None:
    looks = Looks(trigger())
    looks.prompts(21)
    assert looks.prompts(5).state == "Unknown"
    assert looks.prompts(15).state == "Ok"


def test_a_small_shift_is_found_by_the_bettor_and_fires_after_its_time() -> None:
    looks = ready()
    taken = looks.until("Breached", shift=0.3)
    assert taken * 30 < 2500
    status = looks.prompts(3, shift=0.3)
    assert status.state == "Breached"
    assert looks.prompts(1, shift=0.3).state == "Firing"
    assert looks.statuses[0].e_value >= 365
    assert "e-value" in looks.statuses[0].message
    assert (looks.now - looks.statuses[0].breached_since) == timedelta(minutes=2)


def test_a_large_shift_of_one_feature_shows_in_psi_beyond_its_noise() -> None:
    looks = ready()
    looks.prompts(60, shift=2.0)
    assert looks.statuses[0].value > 0.5


def test_what_returns_to_the_usual_is_ok_again() -> None:
    looks = ready()
    looks.until("Firing", shift=0.5)
    assert looks.until("Ok") < 150


def test_min_samples_holds_the_bettor_back_too() -> None:
    looks = ready(trigger(lasting="0s"), trigger("later", lasting="0s", fewest=100_000))
    looks.until("Firing", shift=0.5)
    assert looks.statuses[1].state == "Unknown"
    assert "of 100000 prompts" in looks.statuses[1].message


def test_silence_of_a_minute_changes_nothing_and_does_not_fire() -> None:
    looks = ready()
    looks.until("Breached", shift=0.5)
    since = looks.statuses[0].breached_since
    for _ in range(6):
        status = looks.look()
    assert status.state == "Breached"
    assert status.breached_since == since
    assert looks.prompts(1, shift=0.5).state == "Firing"


def test_silence_of_more_than_five_minutes_is_unknown_and_the_clock_starts_anew() -> None:
    looks = ready()
    looks.until("Breached", shift=0.5)
    since = looks.statuses[0].breached_since
    for _ in range(11):
        status = looks.look()
    assert status.state == "Unknown"
    assert status.breached_since is None
    status = looks.prompts(1, shift=0.5)
    assert status.state == "Breached"
    assert status.breached_since > since + timedelta(minutes=5)


def test_an_operator_that_was_away_does_not_count_the_time() -> None:
    looks = ready()
    looks.until("Breached", shift=0.5)
    looks.now += timedelta(hours=1)
    assert looks.prompts(1, shift=0.5).state == "Breached"


def test_a_new_version_of_the_features_needs_a_new_reference() -> None:
    looks = ready()
    assert looks.prompts(1, version=2).state == "Unknown"
    assert looks.prompts(19, version=2).state == "Unknown"
    assert looks.prompts(30, version=2).state == "Ok"


def test_a_tap_of_an_older_image_beside_newer_ones_is_passed_over() -> None:
    looks = ready()
    looks.prompts(30, version=2)
    looks.prompts(20, version=2)
    before = looks.statuses[0].samples
    assert looks.prompts(1, version=1).state == "Ok"
    assert looks.prompts(1, version=2).samples == before + 30


def test_after_a_promotion_for_drift_the_new_kind_of_prompt_is_usual() -> None:
    looks = ready()
    looks.until("Firing", shift=0.5)
    looks.prompts(4, shift=0.5)
    looks.served = NEXT
    assert looks.prompts(1, shift=0.5).state == "Unknown"
    looks.until("Ok", shift=0.5)
    assert all(looks.prompts(1, shift=0.5).state == "Ok" for _ in range(40))
    assert looks.until("Firing", shift=-0.5) < 100


def test_after_a_promotion_without_drift_the_reference_is_there_at_once() -> None:
    looks = ready()
    looks.served = NEXT
    assert "of 500 prompts since" in looks.prompts(1).message
    assert looks.prompts(20).state == "Ok"


def test_another_window_needs_another_reference() -> None:
    looks = ready()
    looks.reference = DriftReference(window="20m", min_samples=500)
    assert looks.prompts(1).state == "Unknown"


def twice(evidence):
    return (*evidence, *evidence)


@pytest.mark.parametrize("muddle", [twice, lambda told: told[::-1], lambda told: told[:7] + told], ids=str)
def test_rows_told_twice_or_out_of_order_count_once(muddle) -> None:
    plain, muddled = Looks(trigger()), Looks(trigger())
    for look in range(60):
        told = rows(plain.random, 30, first=30 * look + 1, at=plain.now + timedelta(seconds=30))
        before = rows(muddled.random, 30, first=30 * look + 1, at=muddled.now + timedelta(seconds=30))
        one = plain.look(DriftEvidence(rows=told, version=1, served=plain.served))
        other = muddled.look(DriftEvidence(rows=muddle(before), version=1, served=muddled.served))
        assert one == other


def test_a_tap_that_restarts_begins_at_nothing() -> None:
    looks = ready()
    before = looks.statuses[0].samples
    looks.seq = 0
    assert looks.prompts(1, pod="b").samples == before + 30
    assert cursors(looks.memory) == {"a": 51 * 30, "b": 30}
    looks.seq = 0
    assert looks.prompts(1, pod="b").samples == before + 30


@pytest.mark.parametrize("jump", [-86_400.0, 86_400.0, 400 * 86_400.0, -3600.0])
def test_a_tap_whose_clock_jumps_is_still_compared_with_this_hour(jump) -> None:
    straight, jumping = ready(), ready()
    for look in range(40):
        told = rows(straight.random, 30, first=straight.seq + 30 * look + 1, at=straight.now + timedelta(seconds=30))
        moved = tuple(type(row)(row.pod, row.seq, row.at + jump, row.vector) for row in told)
        one = straight.look(DriftEvidence(rows=told, version=1, served=straight.served))
        other = jumping.look(DriftEvidence(rows=moved, version=1, served=jumping.served))
        assert other.samples == one.samples
        assert other.state == "Ok"
        assert abs(other.value - one.value) < 0.05


def test_rows_of_a_wrong_length_are_passed_over() -> None:
    looks = ready()
    before = looks.statuses[0].samples
    short = tuple(type(row)(row.pod, row.seq, row.at, row.vector[:60]) for row in rows(looks.random, 5, first=9999))
    assert looks.look(DriftEvidence(rows=short, version=1, served=looks.served)).samples == before


def test_without_a_model_that_serves_nothing_is_measured() -> None:
    looks = Looks(trigger(), served=None)
    status = looks.prompts(60)
    assert status.state == "Unknown"
    assert "no model serves" in status.message


def test_the_operators_clock_going_back_stands_still() -> None:
    looks = ready()
    assert looks.look(after=-3600.0).state in ("Ok", "Unknown")
    looks.now = NOON + timedelta(hours=1)
    assert looks.prompts(1).state == "Ok"
    assert looks.reference == SHORT
