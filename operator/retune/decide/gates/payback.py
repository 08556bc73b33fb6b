"""Does the model ever earn what it costs?"""

from decimal import Decimal

from retune.api import GateMode, GateResult, decimal
from retune.decide.facts import RunFacts
from retune.decide.gates.finding import Finding, Measured, conclude, skipped

NAME = "payback"


def judge(facts: RunFacts, measured: Measured) -> GateResult:
    """Months until saving and value have paid for the one-off cost and for all training so far.

    months = (one-off cost + spent on training) / (requests / 1000 * (baseline - tuned cost per 1k) + monthly value)
    """
    del measured
    gate = facts.spec.gates.payback
    if gate is None:
        return skipped(NAME, "spec.gates.payback is not set.")
    if gate.mode is GateMode.OFF:
        return skipped(NAME, "spec.gates.payback.mode is Off.")
    today = decimal(gate.baseline_cost_per_1k) * gate.monthly_requests / 1000
    tuned = decimal(gate.tuned_cost_per_1k) * gate.monthly_requests / 1000
    value = decimal(gate.monthly_value)
    gain = today - tuned + value
    trained = spent(facts)
    upfront = decimal(gate.one_off_cost) + trained
    currency = facts.spec.prices.currency
    sum_ = f"{_money(today)} - {_money(tuned)} + {_money(value)} = {_money(gain)} {currency} a month"
    cost = f"{_money(decimal(gate.one_off_cost))} once + {_money(trained)} for training = {_money(upfront)} {currency}"
    values = {
        "monthlyToday": float(today),
        "monthlyTuned": float(tuned),
        "monthlyValue": float(value),
        "monthlyGain": float(gain),
        "oneOffCost": float(decimal(gate.one_off_cost)),
        "spentOnTraining": float(trained),
        "upfront": float(upfront),
        "maxMonths": float(gate.max_months),
    }
    if gain <= 0:
        finding = Finding(
            f"It never pays back: {sum_}, against {cost}.",
            "Stay with what serves today, or lower what the tuned model costs to run.",
        )
        return conclude(NAME, gate, [finding], "", values)
    months = upfront / gain
    values["months"] = round(float(months), 3)
    said = f"{cost}; {sum_}; pays back in {months:.1f} months"
    findings = []
    if months > gate.max_months:
        findings.append(
            Finding(
                f"{said}; gates.payback.maxMonths allows {gate.max_months}.",
                "Wait for more traffic, or lower the one-off cost: prompting is cheaper until then.",
            )
        )
    return conclude(NAME, gate, findings, f"{said} (maxMonths {gate.max_months}).", values)


def spent(facts: RunFacts) -> Decimal:
    """What training has cost so far: all earlier runs by the ledger, and this one's preflight."""
    known = decimal(facts.job.budget.spent) if facts.job.budget is not None else Decimal(0)
    own = decimal(facts.status.cost.amount) if facts.status.cost is not None else Decimal(0)
    return max(known, own)


def _money(amount: Decimal) -> str:
    return f"{amount:,.2f}"
