"""Is the prompted model that serves today already good enough?"""

from retune.api import GateMode, GateResult, GateVerdict
from retune.decide.facts import RunFacts
from retune.decide.gates.finding import Finding, Measured, conclude, count, numbers_of, skipped

NAME = "baseline"


def judge(facts: RunFacts, measured: Measured) -> GateResult:
    """A prompt that does the job is cheaper than any training."""
    gate = facts.spec.gates.baseline
    if gate.mode is not GateMode.OFF and gate.endpoint is None:
        return skipped(NAME, "spec.gates.baseline.endpoint is not set.")
    numbers = numbers_of(NAME, gate, measured)
    if isinstance(numbers, GateResult):
        return numbers
    note = measured.notes.get(NAME, "")
    score, metric = numbers.get("score"), facts.spec.evaluation.acceptance.metric
    if score is None:  # in mode Enforce the pod would have failed instead
        verdict = GateVerdict.WARNED if note else GateVerdict.SKIPPED
        return GateResult(name=NAME, verdict=verdict, reason=note or "It was not asked.", values=numbers or None)
    said = f"Prompting reaches {metric} {score:.3f} on {count(numbers.get('n', 0))} gold examples"
    findings = []
    if score >= gate.good_enough:
        what = f"{said}; gates.baseline.goodEnough is {gate.good_enough:g}."
        findings.append(Finding(what, "Keep the prompted model, or raise spec.gates.baseline.goodEnough."))
    ends = f"{said}, below goodEnough {gate.good_enough:g}." + (f" {note}" if note else "")
    return conclude(NAME, gate, findings, ends, numbers)
