"""Is there enough data, and is it clean?"""

from retune.api import GateResult, GateVerdict
from retune.decide.facts import RunFacts
from retune.decide.gates.finding import Finding, Measured, conclude, count, numbers_of, share

NAME = "data"


def judge(facts: RunFacts, measured: Measured) -> GateResult:
    """Enough examples; few copies and contradictions; people agree; the mix is that of production; no empty rows."""
    gate = facts.spec.gates.data
    numbers = numbers_of(NAME, gate, measured)
    if isinstance(numbers, GateResult):
        return numbers
    examples = numbers.get("examples", 0)
    findings = []
    if examples < gate.min_examples:
        missing = gate.min_examples - examples
        findings.append(
            Finding(
                f"{count(examples)} examples to train on; gates.data.minExamples asks for {count(gate.min_examples)}.",
                f"Collect {count(missing)} more examples; until then a prompt with a few of them will do as well.",
            )
        )
    if (empty := numbers.get("empty", 0)) > 0:
        findings.append(Finding(f"{count(empty)} rows are empty.", "Remove them: the report names their lines."))
    fraction = numbers.get("duplicateFraction", 0)
    if fraction > gate.max_duplicate_fraction:
        findings.append(
            Finding(
                f"{share(fraction)} of the rows are copies or near copies of others; gates.data.maxDuplicateFraction "
                f"allows {share(gate.max_duplicate_fraction)}.",
                "Keep one of each: the report lists the pairs.",
            )
        )
    fraction = numbers.get("conflictFraction", 0)
    if fraction > gate.max_conflict_fraction:
        findings.append(
            Finding(
                f"{share(fraction)} of the rows ({count(numbers.get('conflicts', 0))}) have an input that also has "
                f"another answer; gates.data.maxConflictFraction allows {share(gate.max_conflict_fraction)}.",
                "Decide which answer is right: the report lists the contradictions.",
            )
        )
    findings += _agreement(facts, numbers.get("agreement"))
    findings += _balance(facts, numbers.get("divergence"))
    copies = share(numbers.get("duplicateFraction", 0))
    said = f"{count(examples)} examples, of which {copies} are copies and {share(fraction)} contradict others."
    result = conclude(NAME, gate, findings, said, numbers)
    if not findings and (cut := numbers.get("tooLong", 0)) > 0:
        return result.model_copy(
            update={
                "verdict": GateVerdict.WARNED,
                "reason": f"{result.reason} {count(cut)} are longer than training.maxLength "
                f"({facts.spec.training.max_length} tokens) and will be cut.",
                "advice": "Raise spec.training.maxLength if what is cut matters.",
            }
        )
    return result


def _agreement(facts: RunFacts, alpha: float | None) -> list[Finding]:
    wanted = facts.spec.gates.data.min_label_agreement
    if wanted is None:
        return []
    if alpha is None:
        what = "gates.data.minLabelAgreement is set, but no example has labels of several annotators."
        return [Finding(what, "Name their column in spec.dataset.annotatorsField, or remove minLabelAgreement.")]
    if alpha >= wanted:
        return []
    return [
        Finding(
            f"The annotators agree with Krippendorff's alpha {alpha:.2f}; gates.data.minLabelAgreement asks for "
            f"{wanted:g}.",
            "Sharpen the instructions and label again: a model cannot learn what people do not agree on.",
        )
    ]


def _balance(facts: RunFacts, divergence: float | None) -> list[Finding]:
    balance = facts.spec.gates.data.production_balance
    if balance is None or (divergence is not None and divergence <= balance.max_divergence):
        return []
    if divergence is None:
        what = f"The classes in column {balance.classified_by!r} could not be counted."
        return [Finding(what, "Correct spec.gates.data.productionBalance.classifiedBy.")]
    return [
        Finding(
            f"The mix of {balance.classified_by!r} is {divergence:.2f} away from production's (total variation); "
            f"productionBalance.maxDivergence allows {balance.max_divergence:g}.",
            "Add examples of the classes that are missing: the report compares the shares.",
        )
    ]
