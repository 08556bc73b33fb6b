"""What to do next, from a run's end and its numbers. Pure.

Repeats what the gates advise, and adds what follows from the bounds.
"""

from __future__ import annotations

import math

from retune_trainer.config import RunConfig
from retune_trainer.reporting import wording
from retune_trainer.reporting.shapes import Comparison, Gate

UNDECIDED = frozenset({"UpliftTooSmall", "Regression", "NotBetterOnFreshGold"})
"""Reasons of a rejection for which a bound was on the wrong side of a limit."""

_FOREIGN = "Use the operator's own trainer (leave spec.training.image empty)"
_BY_REASON = {
    "BelowMinimum": "Look at the worst examples below and mend the training data they point to, or lower "
    "spec.evaluation.acceptance.minimum.",
    "SegmentRegression": "Add training examples of the segments that lost: the table of segments puts the worst first.",
    "GeneralAbilityLost": "Mix general examples into the training set, or lower spec.training.learningRate or epochs.",
    "GuardNotMeasured": f"{_FOREIGN}, or remove spec.evaluation.guard.",
    "NotMeasured": f"{_FOREIGN}, and look into the training pod's log.",
}
_MOST = 1_000_000


def next_steps(
    config: RunConfig, phase: str | None, reason: str, gates: list[Gate], comparisons: list[Comparison]
) -> list[str]:
    """Sentences for whoever must decide, the most pressing first."""
    failed = [f"Gate {gate.name} failed. {gate.advice}" for gate in gates if gate.verdict == "Failed"]
    warned = [f"Gate {gate.name} warned. {gate.advice}" for gate in gates if gate.verdict == "Warned"]
    job = config.run.job
    match phase:
        case "Declined":
            steps = [*failed, f"Then start again: kubectl retune retry {job}"]
        case "Rejected":
            steps = [_undecided(config, reason, comparisons) if reason in UNDECIDED else _BY_REASON.get(reason, "")]
        case "Promoted":
            steps = ["Nothing needs to be done."]
        case "Failed":
            steps = [*failed, f"Mend what the message names, then start again: kubectl retune retry {job}"]
        case "Cancelled":
            steps = [f"A new run: kubectl retune retry {job}"]
        case "Inconclusive":
            steps = [f"Nothing speaks against the candidate, but nothing proves it either: kubectl retune retry {job}"]
        case "RolledBack":
            steps = ["What was counted against it is below, at Rollout: look at such answers before the next run."]
        case _:
            steps = []
    return [step.strip() for step in dict.fromkeys([*steps, *warned]) if step]


def deciding(reason: str, comparisons: list[Comparison]) -> Comparison | None:
    """The comparison that decided: on fresh gold if it says so, else on gold, against stable if there is one."""
    order = [("Gold", "Stable"), ("Gold", "Base")]
    if reason == "NotBetterOnFreshGold":
        order.insert(0, ("Fresh", "Stable"))
    for key in order:
        for comparison in comparisons:
            if (comparison.set, comparison.against) == key:
                return comparison
    return None


def needed(config: RunConfig, comparison: Comparison, comparisons: list[Comparison]) -> float | None:
    """What the lower bound of a comparison must reach, as the operator's verdict has it; None if it does not decide."""
    evaluation = config.spec.evaluation
    serving = any((c.set, c.against) == ("Gold", "Stable") for c in comparisons)
    match comparison.set, comparison.against:
        case "Gold", "Stable":
            return -evaluation.acceptance.max_regression
        case "Gold", "Base" if not serving:
            return evaluation.acceptance.min_uplift
        case "Fresh", "Stable":
            return 0.0
        case "Guard", "Base" if evaluation.guard is not None:
            return -evaluation.guard.max_drop
        case _:
            return None


def _undecided(config: RunConfig, reason: str, comparisons: list[Comparison]) -> str:
    found = deciding(reason, comparisons)
    if found is None or found.uplift is None or found.lower is None or not found.n:
        return _BY_REASON["NotMeasured"]
    limit = needed(config, found, comparisons) or 0.0
    data = "Look at the worst examples below and mend the training data they point to, or try another base model."
    measured = wording.difference(found.uplift, found.metric)
    asked = wording.difference(limit, found.metric)
    if found.upper is not None and found.upper < limit:
        return f"Not even the upper bound reaches the {asked} asked for: more gold examples would not help. {data}"
    if found.uplift <= limit:
        return f"The measured {measured} does not reach the {asked} asked for. {data}"
    enough = examples_needed(found, limit)
    if enough is None:
        return f"The measured {measured} is above the {asked} asked for by too little to be told from chance. {data}"
    kind = "fresh gold" if found.set == "Fresh" else "gold"
    return (
        f"The measured {measured} is above the {asked} that the lower bound must reach, but {wording.count(found.n)} "
        f"{kind} examples are too few to be sure of it. If it is real, about {wording.count(enough)} would show it."
    )


def examples_needed(comparison: Comparison, limit: float) -> int | None:
    """Examples that would show, with 80 % power, that the measured uplift is above `limit`; None beyond a million.

    Bounds shrink with the square root of the examples, so it takes (smallest / (uplift - limit))^2 times as many.
    Rounded up to two digits: the uplift is itself an estimate.
    """
    uplift, lower, count = comparison.uplift, comparison.lower, comparison.n
    if uplift is None or lower is None or not count or uplift <= limit:
        return None
    width = max(comparison.smallest or 0.0, uplift - lower)
    enough: float = count * (width / (uplift - limit)) ** 2
    if enough > _MOST:
        return None
    digits = 10.0 ** max(0, math.floor(math.log10(max(enough, 1))) - 1)
    return int(math.ceil(enough / digits) * digits)
