"""A restart of the operator in mid-canary changes nothing, and lost evidence is noticed."""

import json

import numpy as np
import pytest
from tests.unit.decide.evidence import traffic, twin
from tests.unit.decide.evidence.readings import START, plan, replayed, watched

from retune.decide.evidence.judge import begin, dump, judge, load
from retune.decide.readings import QueryReading, Series, TapReading

EVERYTHING = plan(watched(max_rate=0.1), watched("slow", "Slow"), watched("mine", None, max_rate=0.1), run_number=3)


def said(restart_every):
    random = np.random.default_rng(7)
    traces = traffic.users(
        random, runs=1, polls=150, per_minute=200, many=20, rho=0.1, mean=0.05, holds=((0.1, 300.0), (0.25, 3600.0))
    )
    memory, out = begin(EVERYTHING, START), []
    for index, given in enumerate(replayed(traces, 0)):
        slow = [Series("slow", one.arm, one.stratum, one.bad, one.total) for one in given.series]
        windows = {**given.windows, "slow": given.windows["errors"]}
        reading = TapReading(**{**vars(given), "series": (*given.series, *slow), "windows": windows})
        queries = [
            QueryReading("mine", arm, index * bad, index * 10.0 * bad, START + index * 5)
            for arm, bad in (("stable", 2.0), ("canary", 1.0))
        ]
        step = int(traces.steps[max(0, index - 1)])
        memory, judgement = judge(
            memory, EVERYTHING, [reading], queries, stratum=f"3:{step}", baking=False, w_next=1.0, at=START + index * 5
        )
        if restart_every and index % restart_every == 0:
            memory = load(dump(memory))
        out.append(judgement)
    return out, dump(memory)


def test_restarts_in_mid_canary_change_nothing_at_all() -> None:
    assert said(0) == said(7)


def full():
    """8 metrics, 10 pods, 10 strata, after a long rollout."""
    random = np.random.default_rng(1)
    told = plan(*(watched(f"metric-{index}", "Slow", max_rate=0.02) for index in range(8)))
    memory = begin(told, START)
    counts = random.poisson(4000, (10, 8, 2, 10, 32))
    bads = random.binomial(counts, 0.02)
    for look in range(3):
        taps = []
        for pod in range(10):
            series = tuple(
                Series(
                    f"metric-{metric}",
                    arm,
                    f"3:{step}",
                    tuple((bads[pod, metric, place, step] * look).tolist()),
                    tuple((counts[pod, metric, place, step] * look).tolist()),
                )
                for metric in range(8)
                for place, arm in enumerate(("stable", "canary"))
                for step in range(10)
            )
            windows = {
                f"metric-{metric}": tuple((START - 15.0 * back, 1, 40) for back in range(240, 0, -1))
                for metric in range(8)
            }
            uid = f"0f8fad5b-d9cb-469f-a165-70867728950{pod}"
            taps.append(TapReading(f"p{pod}", uid, START - 99, START + look, 1, series=series, windows=windows))
        memory, _ = judge(memory, told, taps, [], stratum="3:9", baking=False, w_next=1.0, at=START + 5 * look)
    return memory


def test_it_fits_into_a_config_map_with_room_to_spare() -> None:
    text = dump(full())
    assert 50_000 < len(text) < 400_000
    assert dump(load(text)) == text


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{}", '{"version":1}', "nonsense", '{"version":99,"crc":0,"body":""}']
)
def test_what_cannot_be_read_is_lost_and_known_to_be(text) -> None:
    assert load(text) is None


def test_a_single_changed_digit_is_noticed() -> None:
    text = dump(begin(plan(), START))
    found = json.loads(text)
    found["body"] = found["body"].replace('"run":3', '"run":4')
    assert load(text) is not None
    assert load(json.dumps(found)) is None


def test_a_lost_memory_counts_nothing_twice() -> None:
    traces = twin.draw(np.random.default_rng(2), 1, 40, per_minute=60, weight=0.25, stable=0.0, canary=1.0)
    readings = list(replayed(traces, 0))
    told = plan()
    memory = begin(told, START + 200)
    memory, judgement = judge(memory, told, readings[-1:], [], stratum="3:0", baking=False, w_next=1.0, at=START + 200)
    assert (judgement.canary_total, judgement.breached) == (0, ())
