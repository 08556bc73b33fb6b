"""A candidate that is as good as stable is left alone, whatever the traffic is like.

All at the threshold of the canary's half of alpha = 1 %, with a look every 5 s for an hour (independent requests) or at
three steps of 20 minutes (one by one).
"""

import math

import numpy as np
import pytest
from tests.unit.decide.evidence import traffic, twin

from retune.decide.evidence import combine, eprocess

ENOUGH = combine.threshold(0.99)
ALPHA = 0.01
POLLS = 720
SECONDS = (np.arange(POLLS) + 0.5) * twin.POLL
WEIGHTS, STEPS = traffic.weights(SECONDS)


def false(traces, **how):
    return (twin.e_values(traces, **how)[0] >= ENOUGH).any(-1)


def at_most(rolled_back, alpha=ALPHA):
    """Fewer than would come by chance in one of a thousand tests if the true share were alpha."""
    n, k = len(rolled_back), int(rolled_back.sum())
    more = 1 - sum(math.comb(n, i) * alpha**i * (1 - alpha) ** (n - i) for i in range(k))
    assert more > 1e-3, f"{k} of {n}"


@pytest.mark.parametrize("mean", [0.005, 0.05])
@pytest.mark.parametrize("per_minute", [6, 60, 600])
@pytest.mark.parametrize("weights", [WEIGHTS, WEIGHTS[::-1]], ids=["rising", "falling"])
def test_independent_requests(weights, per_minute, mean) -> None:
    random = np.random.default_rng(11)
    traces = twin.draw(random, 500, POLLS, per_minute=per_minute, weight=weights, stable=mean, canary=mean, buckets=1)
    traces.steps = STEPS
    at_most(false(traces, eta=1.0), ALPHA / 2)  # the full guarantee, without any tempering


def test_a_candidate_just_as_bad_as_is_allowed() -> None:
    random = np.random.default_rng(12)
    traces = twin.draw(random, 500, POLLS, per_minute=600, weight=0.25, stable=0.02, canary=0.025, buckets=1)
    at_most(false(traces, eta=1.0), ALPHA / 2)


@pytest.mark.parametrize("poll", [15.0, 60.0])
def test_looks_that_are_missed(poll) -> None:
    random = np.random.default_rng(13)
    traces = twin.draw(
        random, 800, round(3600 / poll), per_minute=60, weight=0.25, stable=0.02, canary=0.02, buckets=1, poll=poll
    )
    at_most(false(traces, poll=poll, eta=1.0), ALPHA / 2)


def outage(random, runs=300):
    """Both arms fail for a minute just after the weight went from 10 to 25 %; answers from before still come in."""
    shared = np.where((SECONDS > 1200) & (SECONDS < 1260), 0.5, 0.005)
    traces = twin.draw(random, runs, POLLS, per_minute=600, weight=WEIGHTS, stable=shared, canary=shared, buckets=1)
    traces.steps = STEPS
    return traces


def test_an_outage_of_both_arms_after_a_step_up() -> None:
    assert false(outage(np.random.default_rng(14)), eta=1.0).sum() == 0


def test_pooling_that_outage_over_the_change_of_weight_would_have_been_wrong() -> None:
    traces = outage(np.random.default_rng(14))
    pooled = [each[:, :252].sum(axis=(1, 3)) for each in (traces.bad, traces.total)]
    evidence = eprocess.comparative(pooled[0][:, 1], pooled[1][:, 1], pooled[0][:, 0], pooled[1][:, 0], 1.25)
    assert (np.exp(np.minimum(evidence, 300)).mean(-1) / 2 >= ENOUGH).mean() > 0.5


@pytest.mark.parametrize("length", [3, 12])
@pytest.mark.parametrize("rho", [0.01, 0.03])
@pytest.mark.parametrize("per_minute", [60, 600])
def test_bursts_of_bad_answers(per_minute, rho, length) -> None:
    random = np.random.default_rng(15)
    traces = traffic.bursts(
        random, runs=100, polls=POLLS, per_minute=per_minute, rho=rho, mean=0.02, length=length, weight=0.25
    )
    traces.bad, traces.total = (each.sum(-1, keepdims=True) for each in (traces.bad, traces.total))
    at_most(false(traces))  # without the help of the buckets


@pytest.mark.parametrize(("per_minute", "runs"), [(6, 60), (60, 60), (600, 10)])
def test_sessions_of_twenty_requests(per_minute, runs) -> None:
    random = np.random.default_rng(16)
    for rho in (0.05, 0.3):
        traces = traffic.sessions(random, runs=runs, polls=POLLS, per_minute=per_minute, length=20, rho=rho, mean=0.02)
        at_most(false(traces, one_out=True))


@pytest.mark.parametrize(("rho", "many"), [(0.03, 100), (0.1, 30)])
def test_users_who_stay_and_ask_much(rho, many) -> None:
    random = np.random.default_rng(17)
    traces = traffic.users(random, runs=80, polls=POLLS, per_minute=60, many=many, rho=rho, mean=0.05)
    at_most(false(traces, one_out=True))


def looping(one_out):
    random = np.random.default_rng(18)
    traces = twin.draw(random, 60, POLLS, per_minute=60, weight=WEIGHTS, stable=0.01, canary=0.01)
    traces.steps = STEPS
    return false(traffic.with_looping_client(random, traces, start=240), one_out=one_out)


def test_one_looping_client_in_the_candidates_arm_decides_nothing() -> None:
    at_most(looping(one_out=True))


def test_the_cap_alone_would_not_have_stopped_it() -> None:
    assert looping(one_out=False).mean() > 0.9


def test_feedback_that_comes_ten_minutes_late_under_its_own_step() -> None:
    random = np.random.default_rng(19)
    traces = twin.draw(random, 400, POLLS, per_minute=60, weight=WEIGHTS, stable=0.05, canary=0.05, buckets=1)
    for each in (traces.bad, traces.total):
        each[:, 120:] = each[:, :-120].copy()
        each[:, :120] = 0
    traces.steps = np.r_[np.zeros(120, int), STEPS[:-120]]
    at_most(false(traces, eta=1.0), ALPHA / 2)
