"""The verdict on a trained run: which bounds are enough, and what a rejected run is told."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit import make

from retune.api import Evaluation, FineTuneRunStatus, SegmentScores
from retune.decide.verdict import SMALL, Verdict, judge, lost


def verdict(
    *comparisons: dict[str, Any], segments: Any = (), tested: int = 0, alpha: float = 0.025, **evaluation: Any
) -> Verdict:
    acceptance = {"metric": "ExactMatch", **evaluation.pop("acceptance", {})}
    status = FineTuneRunStatus.model_validate(
        {
            "comparisons": comparisons,
            "segments": segments,
            "segmentsTested": tested,
            "look": {"number": 1, "alpha": alpha},
        }
    )
    return judge(status, Evaluation.model_validate({"acceptance": acceptance, **evaluation}))


def stable(candidate: float = 0.8, reference: float = 0.79, **changes: Any) -> dict[str, Any]:
    return make.comparison(candidate, reference, against="Stable", **changes)


def test_an_uplift_beyond_doubt_is_accepted_and_the_bound_is_told() -> None:
    found = verdict(make.comparison(0.8, 0.1), acceptance={"minUplift": 0.02, "minimum": 0.7})
    assert (found.accepted, found.reason) == (True, "Accepted")
    assert "uplift +0.700 (at least +0.650, 97.5% sure)" in found.message


@pytest.mark.parametrize(("alpha", "sure"), [(0.025, "97.5%"), (0.00833, "99.17%"), (0.00012, "99.988%")])
def test_nobody_is_told_to_be_certain(alpha: float, sure: str) -> None:
    assert f", {sure} sure" in verdict(make.comparison(), alpha=alpha).message


def test_a_lucky_uplift_whose_bound_is_too_low_is_rejected_and_told_what_would_have_shown() -> None:
    found = verdict(make.comparison(0.2, 0.12), acceptance={"minUplift": 0.05})
    assert (found.accepted, found.reason) == (False, "UpliftTooSmall")
    assert "+0.080 (at least +0.030" in found.message
    assert "would have shown +0.060" in found.message


@pytest.mark.parametrize(("candidate", "reason"), [(0.69, "BelowMinimum"), (0.7, "Accepted")])
def test_the_minimum_is_met_by_the_score_itself(candidate: float, reason: str) -> None:
    assert verdict(make.comparison(candidate, 0.1), acceptance={"minimum": 0.7}).reason == reason


@pytest.mark.parametrize(("perplexity", "reason"), [(9.0, "Accepted"), (11.0, "BelowMinimum")])
def test_a_perplexity_must_be_low(perplexity: float, reason: str) -> None:
    found = make.comparison(perplexity, 20.0, metric="Perplexity", uplift=20 - perplexity, lower=5.0)
    assert verdict(found, acceptance={"metric": "Perplexity", "minimum": 10}).reason == reason


def test_a_later_run_is_held_against_what_serves_not_against_the_base() -> None:
    worse = stable(0.75, 0.79, lower=-0.09)
    found = verdict(make.comparison(0.75, 0.1), worse)
    assert (found.accepted, found.reason) == (False, "Regression")
    assert "maxRegression (0.02)" in found.message
    as_good = stable(0.80, 0.79, lower=-0.01)
    assert verdict(make.comparison(0.8, 0.1), as_good).accepted


def test_a_later_run_must_be_better_on_fresh_gold() -> None:
    good = stable(0.80, 0.79, lower=-0.01)
    fresh = stable(0.7, 0.65, set="Fresh", n=200, lower=-0.005)
    found = verdict(make.comparison(), good, fresh)
    assert (found.accepted, found.reason) == (False, "NotBetterOnFreshGold")
    assert verdict(make.comparison(), good, {**fresh, "lower": 0.004}).accepted


def test_a_handful_of_fresh_examples_is_unknown_and_does_not_decide() -> None:
    found = verdict(make.comparison(), stable(lower=-0.01), stable(0.1, 0.9, set="Fresh", n=SMALL - 1, lower=-0.9))
    assert found.accepted
    assert f"{SMALL - 1} fresh gold examples are too few" in found.message


def test_lost_general_ability_rejects() -> None:
    guard = {"uri": "s3://data/guard.jsonl", "metric": "TokenF1", "maxDrop": 0.03}
    dropped = make.comparison(0.5, 0.6, set="Guard", metric="TokenF1", lower=-0.13)
    assert verdict(make.comparison(), dropped, guard=guard).reason == "GeneralAbilityLost"
    assert verdict(make.comparison(), {**dropped, "lower": -0.02}, guard=guard).accepted
    assert verdict(make.comparison(), guard=guard).reason == "GuardNotMeasured"


@pytest.mark.parametrize("bound", [None, float("nan")])
def test_a_bound_that_is_not_known_is_no_good_news(bound: Any) -> None:
    assert verdict(make.comparison(lower=bound)).reason == "NotMeasured"
    assert verdict().reason == "NotMeasured"


def segment(name: str, p: float | None, n: int = 80) -> dict[str, Any]:
    return {"name": name, "n": n, "base": 0.8, "candidate": 0.5, "p": p}


def test_a_segment_that_lost_too_much_rejects_the_whole() -> None:
    segments = [segment("en", 0.001), segment("de", 0.6)]
    found = verdict(make.comparison(), segments=segments, tested=2, maxSegmentRegression=0.05)
    assert (found.accepted, found.reason) == (False, "SegmentRegression")
    assert "en (-0.300 of 80, p 0.001)" in found.message
    assert "de" not in found.message.split("these lost more")[1]
    assert verdict(make.comparison(), segments=segments, tested=2).accepted, "absent: segments do not decide"


def test_segments_that_were_cut_from_the_message_count_in_the_correction() -> None:
    segments = [segment("en", 0.001)]
    assert not verdict(make.comparison(), segments=segments, tested=1, maxSegmentRegression=0.05).accepted
    assert verdict(make.comparison(), segments=segments, tested=50, maxSegmentRegression=0.05).accepted


def test_small_segments_are_unknown_and_named() -> None:
    found = verdict(make.comparison(), segments=[segment("fr", None, 12)], maxSegmentRegression=0.05)
    assert found.accepted
    assert "Unknown: fr" in found.message


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.001, 0.2))
def test_holm_accuses_what_bonferroni_does_and_never_more_than_no_correction(ps: list[float], alpha: float) -> None:
    found = {s.name for s in lost([SegmentScores(name=str(i), n=99, p=p) for i, p in enumerate(ps)], alpha)}
    assert {str(i) for i, p in enumerate(ps) if p <= alpha / len(ps)} <= found
    assert found <= {str(i) for i, p in enumerate(ps) if p <= alpha}
