"""Is the gold set in the training set?"""

from retune.api import GateResult
from retune.decide.facts import RunFacts
from retune.decide.gates.finding import Finding, Measured, conclude, count, numbers_of, share

NAME = "leakage"


def judge(facts: RunFacts, measured: Measured) -> GateResult:
    """A gold example that was trained on proves nothing: few copies, and few near copies."""
    gate = facts.spec.gates.leakage
    numbers = numbers_of(NAME, gate, measured)
    if isinstance(numbers, GateResult):
        return numbers
    exact, near, gold = numbers.get("exact", 0), numbers.get("nearFraction", 0), numbers.get("gold", 0)
    cure = "Take them out of the training set: the report lists the pairs."
    findings = []
    if exact > gate.max_exact:
        what = f"{count(exact)} of {count(gold)} gold examples are in the training set, too; gates.leakage.maxExact"
        findings.append(Finding(f"{what} allows {count(gate.max_exact)}.", cure))
    if near > gate.max_near_fraction:
        findings.append(
            Finding(
                f"{share(near)} of the gold examples have a near copy in the training set; "
                f"gates.leakage.maxNearFraction allows {share(gate.max_near_fraction)}.",
                cure,
            )
        )
    said = f"Of {count(gold)} gold examples {count(exact)} are in the training set, {share(near)} nearly so."
    return conclude(NAME, gate, findings, said, numbers)
