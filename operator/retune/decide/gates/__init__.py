"""Gates: what must be true before a GPU starts. Pure; each gate is one small file, and one line here.

A gate takes the run's facts and what preflight measured, and says Passed, Failed, Warned, Waiting or Skipped with its
numbers, why, and what to do instead.
"""

from collections.abc import Callable, Mapping
from typing import Any

from retune.api import GateResult
from retune.decide.facts import RunFacts
from retune.decide.gates import approvals, baseline, budget, data, leakage, payback, privacy
from retune.decide.gates.finding import Measured

Judge = Callable[[RunFacts, Measured], GateResult]

GATES: tuple[Judge, ...] = (
    data.judge,
    leakage.judge,
    privacy.judge,
    baseline.judge,
    payback.judge,
    budget.judge,
)
"""What can be decided as soon as preflight has ended, in the order in which a person would mend it."""


def judge(facts: RunFacts, result: Mapping[str, Any]) -> tuple[GateResult, ...]:
    """Every gate's verdict on what the preflight pod reported.

    Raises:
        ValueError, TypeError, AttributeError: the result is not of the contract's shape (design/0009).
    """
    measured = Measured.read(result)
    return tuple(gate(facts, measured) for gate in GATES)


__all__ = ["GATES", "approvals", "judge"]
