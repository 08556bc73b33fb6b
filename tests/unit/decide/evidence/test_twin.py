"""What the other tests simulate is what the judge does."""

import numpy as np
import pytest
from tests.unit.decide.evidence import traffic, twin
from tests.unit.decide.evidence.readings import START, plan, replayed

from retune.decide.evidence.judge import begin, judge

TRACES = {
    "independent": lambda random: twin.draw(random, 2, 120, per_minute=60, weight=0.2, stable=0.05, canary=0.2),
    "sparse": lambda random: twin.draw(random, 2, 120, per_minute=6, weight=0.3, stable=0.2, canary=0.2),
    "users": lambda random: traffic.users(
        random, runs=2, polls=120, per_minute=120, many=30, rho=0.1, mean=0.05, holds=((0.1, 200.0), (0.4, 3600.0))
    ),
    "bursts": lambda random: traffic.bursts(random, runs=2, polls=120, per_minute=300, rho=0.05, mean=0.05),
}


def judged(traces, run):
    told = plan()
    memory = begin(told, START)
    found = []
    for index, reading in enumerate(replayed(traces, run)):
        step = int(traces.steps[max(0, index - 1)])
        at = START + index * twin.POLL
        memory, said = judge(memory, told, [reading], [], stratum=f"3:{step}", baking=False, w_next=1.0, at=at)
        found.append((said.combined, said.metrics[0].phi))
    return np.array(found)[1:], memory


@pytest.mark.parametrize("name", TRACES)
def test_the_twin_says_what_the_judge_says(name) -> None:
    traces = TRACES[name](np.random.default_rng(5))
    values, _ = twin.e_values(traces, one_out=True)
    for run in range(2):
        found, _ = judged(traces, run)
        assert found[-1, 1] != 1.0 or name != "bursts"
        np.testing.assert_allclose(values[run], found[:, 0], rtol=1e-9)
