"""A candidate that fails is found soon. Medians over 200 rollouts that begin with the fault; a look every 5 s.

Rates are of both arms; the design's 600/min and 60/min are the candidate's: at 10 % of 6,000 and 600.
"""

import numpy as np
import pytest
from tests.unit.decide.evidence import twin

from retune.decide.evidence import combine

ENOUGH = combine.threshold(0.99)


@pytest.mark.parametrize(
    ("per_minute", "fault", "weight", "seconds"),
    [
        (600, 0.05, 0.5, 110),
        (600, 0.05, 0.1, 240),
        (60, 0.5, 0.5, 90),
        (60, 0.5, 0.1, 150),
        (6000, 0.05, 0.1, 60),
        (600, 0.5, 0.1, 30),
    ],
)
def test_faults_are_found(per_minute, fault, weight, seconds) -> None:
    traces = twin.draw(
        np.random.default_rng(3), 200, 60, per_minute=per_minute, weight=weight, stable=0.005, canary=0.005 + fault
    )
    found = twin.first(twin.e_values(traces, one_out=True)[0] >= ENOUGH)
    assert np.median(found + 1) * twin.POLL <= seconds


def test_a_fault_that_begins_late_is_found_nearly_as_soon() -> None:
    canary = np.where(np.arange(480) >= 360, 0.5, 0.005)
    traces = twin.draw(np.random.default_rng(4), 60, 480, per_minute=60, weight=0.25, stable=0.005, canary=canary)
    found = twin.first(twin.e_values(traces, one_out=True)[0] >= ENOUGH) - 360
    assert np.median(found + 1) * twin.POLL <= 150
