"""Is the most that this run can cost set aside? The job starts no run before it is: decide/ledger."""

from retune.api import GateResult, GateVerdict, decimal
from retune.decide.facts import RunFacts
from retune.decide.gates.finding import Measured, skipped

NAME = "budget"


def judge(facts: RunFacts, measured: Measured) -> GateResult:
    """Says what is reserved, of what."""
    del measured
    budget, spec = facts.job.budget, facts.spec.budget
    if spec is None:
        return skipped(NAME, "spec.budget is not set.")
    if budget is None:
        return skipped(NAME, "The job has not said yet what is released.")
    spent, committed, currency = decimal(budget.spent), decimal(budget.committed), facts.spec.prices.currency
    values = {"spent": float(spent), "committed": float(committed)}
    said = f"{spent:,.2f} {currency} spent, {committed:,.2f} set aside for this run"
    if budget.released is not None:
        values["released"] = float(decimal(budget.released))
        said += f", {decimal(budget.released):,.2f} released"
    return GateResult(name=NAME, verdict=GateVerdict.PASSED, reason=f"{said}.", values=values)
