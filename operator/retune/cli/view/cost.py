"""What a run and its job cost."""

from retune.cli.objects import Raw, part
from retune.cli.wording import clock, money


def of_run(run: Raw, *, limit: bool = True) -> str:
    """`0.42 EUR (GPU 1:02:03, CPU 1:04:00), of at most 5.00 EUR a run`; "" while nothing was paid."""
    cost = part(run, "status", "cost")
    if not cost:
        return ""
    times = [(k, cost.get(f"{k.lower()}Seconds")) for k in ("GPU", "CPU")]
    used = ", ".join(f"{kind} {clock(seconds)}" for kind, seconds in times if seconds)
    most = part(run, "spec", "budget", "perRun") if limit else None
    text = money(cost.get("amount", "0"), cost.get("currency", ""))
    text += f" ({used})" if used else ""
    return f"{text}, of at most {money(most, cost.get('currency', ''))} a run" if most else text


def of_job(job: Raw | None) -> str:
    """`12.40 EUR spent of 20.00 EUR released, 3.10 EUR committed`; "" if the job counts no money."""
    budget = part(job, "status", "budget")
    if not budget:
        return ""
    currency = budget.get("currency") or part(job, "spec", "budget", "currency") or ""
    text = f"{money(budget.get('spent', '0'), currency)} spent"
    if budget.get("released") is not None:
        text += f" of {money(budget['released'], currency)} released"
    committed = budget.get("committed")
    return f"{text}, {money(committed, currency)} committed" if committed and float(committed) else text
