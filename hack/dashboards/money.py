"""Dashboard of the money: what was spent, on what outcome, what is left, and what an answer costs."""

from grafana_foundation_sdk.builders import dashboard
from hack.dashboards.boards import OF_FLEET, board, of_namespaces
from hack.dashboards.fleet import OUTCOMES
from hack.dashboards.panels import MONEY, Column, Panel, Query, bars, lines, number, rows

_BY = "namespace, job, currency"


def money() -> dashboard.Dashboard:
    """The dashboard."""
    about = "What was spent, on what outcome, what is left, and what an answer costs. Currencies are never added up."
    made = of_namespaces(board("money", "Retune / Money", about, "30d", refresh="5m"))
    for panel in (*_sums(), *_jobs(), *_worth()):
        made.with_panel(panel)
    return made


def _budget(which: str) -> str:
    return f"max by ({_BY}) (retune_budget_{which}{{{OF_FLEET}}})"


def _sums() -> tuple[Panel, ...]:
    ended = "sum by (currency, phase) (increase(retune_runs_cost_total[$__range]))"
    wasted = 'sum(increase(retune_runs_cost_total{phase=~"Rejected|RolledBack|Failed"}[$__range]))'
    return (
        bars(
            "Spent",
            "What have these jobs cost in their lives?",
            Query(f"sum by (currency) ({_budget('spent')})", "{{currency}}"),
            MONEY,
            width=6,
            height=5,
        ),
        bars(
            "Set aside",
            "What may the runs in flight still cost at most?",
            Query(f"sum by (currency) ({_budget('committed')})", "{{currency}}"),
            MONEY,
            width=6,
            height=5,
        ),
        bars(
            "Spent by outcome, in the time shown",
            "Where did the money go: into models that serve, or into runs that came to nothing? All namespaces.",
            Query(f"{ended} > 0", "{{phase}} ({{currency}})"),
            MONEY,
            colors={f"{phase} (EUR)": color for phase, color in OUTCOMES.items()},
            width=8,
            height=5,
        ),
        number(
            "Lost",
            "Which share of the money of the time shown went into runs that trained for nothing? All namespaces.",
            f"{wasted} / (sum(increase(retune_runs_cost_total[$__range])) > 0)",
            "percentunit",
            steps=((None, "green"), (0.25, "orange"), (0.5, "red")),
            height=5,
        ),
    )


def _jobs() -> tuple[Panel, ...]:
    unspent = f"{_budget('released')} - {_budget('spent')}"
    left = f"{unspent} - {_budget('committed')} or {unspent}"  # a job at rest may be told without what it has set aside
    columns = (
        Column(_budget("released"), "Released", MONEY),
        Column(_budget("spent"), "Spent", MONEY),
        Column(_budget("committed"), "Set aside", MONEY),
        Column(left, "Left", MONEY, ((None, "red"), (0.01, "green"))),
        Column(f"max by ({_BY}) (retune_latest_run_cost{{{OF_FLEET}}})", "Newest run", MONEY),
    )
    labels = {"namespace": "Namespace", "job": "Job", "currency": "Currency"}
    return (
        rows(
            "Jobs",
            "What has each job, and what may it still spend?",
            columns,
            labels,
            jobs=True,
            sort="Spent",
            width=14,
        ),
        bars(
            "Budget used",
            "Which jobs come to the end of what has been released? The ten nearest to it.",
            Query(f"topk(10, {_budget('spent')} / ({_budget('released')} > 0))", "{{namespace}}/{{job}}"),
            "percentunit",
            steps=((None, "green"), (0.8, "orange"), (1.0, "red")),
            most=1,
            width=10,
        ),
        lines(
            "Spent so far",
            "Which jobs cost most, and since when?",
            (Query(f"topk(10, {_budget('spent')})", "{{namespace}}/{{job}} ({{currency}})"),),
            MONEY,
            steps=True,
        ),
        lines(
            "Spent in the day before",
            "What does a day cost, and is it about to change?",
            (
                Query(
                    f"sum by (currency) ({_budget('spent')} - min_over_time({_budget('spent')}[1d:5m]))", "{{currency}}"
                ),
            ),
            MONEY,
        ),
    )


def _worth() -> tuple[Panel, ...]:
    named = f"max by (namespace, model, job) (retune_job_info{{{OF_FLEET}}})"
    asked = f"sum by (namespace, model) (increase(retune_tap_requests_total{{{OF_FLEET}}}[$__range]))"
    answers = f"sum by (namespace, job) ({asked} * on (namespace, model) group_left (job) {named}) / 1000"
    most, least = (f"{which}_over_time(retune_budget_spent{{{OF_FLEET}}}[$__range])" for which in ("max", "min"))
    spent = f"max by (namespace, job) ({most}) - min by (namespace, job) ({least})"
    return (
        bars(
            "Training cost per 1,000 answers, in the time shown",
            "What does tuning add to the price of an answer? In the job's currency, without the price of serving.",
            Query(f"({spent}) / ({answers} > 0)", "{{namespace}}/{{job}}"),
            MONEY,
            width=12,
            height=6,
        ),
        bars(
            "Cost of the last recovery",
            "What did it cost to make good for drift, last time?",
            Query(f"max by ({_BY}) (retune_recovery_cost{{{OF_FLEET}}})", "{{namespace}}/{{job}} ({{currency}})"),
            MONEY,
            width=12,
            height=6,
        ),
    )
