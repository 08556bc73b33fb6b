"""Is there personal data in what is trained on? Kinds and counts, never values."""

from collections.abc import Mapping

from retune.api import GateResult
from retune.decide.facts import RunFacts
from retune.decide.gates.finding import Finding, Measured, conclude, count, numbers_of

NAME = "privacy"


def judge(facts: RunFacts, measured: Measured) -> GateResult:
    """Without `redact` personal data fails the gate; with it the scrubbed set is what is trained on."""
    gate = facts.spec.gates.privacy
    numbers = numbers_of(NAME, gate, measured)
    if isinstance(numbers, GateResult):
        return numbers
    found = {kind: numbers[kind] for kind in kinds(numbers)}
    listed = ", ".join(f"{count(n)} {kind}" for kind, n in sorted(found.items(), key=lambda item: -item[1]))
    rows = f"in {count(numbers.get('rows', 0))} rows"
    if not found:
        return conclude(NAME, gate, [], "No personal data was found in the training set.", numbers)
    if gate.redact and numbers.get("redacted"):
        said = f"Scrubbed before training: {listed} {rows}."
        return conclude(NAME, gate, [], said, numbers)
    finding = Finding(
        f"Personal data {rows} of the training set: {listed}.",
        "Set spec.gates.privacy.redact to true to train on a scrubbed copy, or scrub the set yourself.",
    )
    return conclude(NAME, gate, [finding], "", numbers)


def kinds(numbers: Mapping[str, float]) -> list[str]:
    """The kinds of personal data among a privacy gate's numbers, in order."""
    return sorted(name for name, n in numbers.items() if name.isupper() and n > 0)
