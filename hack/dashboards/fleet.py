"""Dashboard of all jobs: which of them need a person, what is in flight, and is the operator itself well."""

from grafana_foundation_sdk.builders import dashboard
from hack.dashboards.boards import OF_FLEET, board, of_namespaces
from hack.dashboards.panels import GREY, Column, Panel, Query, bars, lines, number, rows

PHASES = {
    "Idle": GREY,
    "Running": "blue",
    "Waiting": "orange",
    "Suspended": "purple",
    "Halted": "red",
    "Invalid": "yellow",
}
OUTCOMES = {
    "Promoted": "green",
    "Declined": "blue",
    "Rejected": "yellow",
    "RolledBack": "red",
    "Inconclusive": "purple",
    "Failed": "orange",
    "Cancelled": GREY,
}
_JOBS = "max by (namespace, job, phase, reason) (retune_job_phase{%s})"
_GOOD_FROM_ZERO = ((None, "green"), (1.0, "orange"))
_BAD_FROM_ONE = ((None, "green"), (1.0, "red"))


def fleet() -> dashboard.Dashboard:
    """The dashboard."""
    made = of_namespaces(
        board(
            "fleet", "Retune / Fleet", "All jobs: what needs a person, what is in flight, is the operator well.", "6h"
        )
    )
    for panel in (*_needed(), *_jobs()):
        made.with_panel(panel)
    made.with_row(dashboard.Row("The operator (all namespaces)"))
    for panel in _operator():
        made.with_panel(panel)
    return made


def _needed() -> tuple[Panel, ...]:
    def jobs(selector: str) -> str:
        return f"count({_JOBS % f'{OF_FLEET}, {selector}'}) or vector(0)"

    firing = f'count(max by (namespace, job) (retune_drift_state{{{OF_FLEET}, state="Firing"}} == 1)) or vector(0)'
    rolling = f"count(max by (namespace, job) (retune_rollout_stage{{{OF_FLEET}}})) or vector(0)"
    return (
        number("Jobs", "How many jobs are there?", f"count(max by (namespace, job) (retune_job_phase{{{OF_FLEET}}}))"),
        number(
            "Wait for a person",
            "How many jobs stand still until somebody signs?",
            jobs('reason="AwaitingApproval"'),
            steps=_GOOD_FROM_ZERO,
        ),
        number(
            "Halted",
            "How many programmes start nothing until a person decides?",
            jobs('phase="Halted"'),
            steps=_BAD_FROM_ONE,
        ),
        number("Rollouts in flight", "How many candidates meet their users now?", rolling),
        number("Drift firing", "How many jobs see drift that asks for a new run?", firing, steps=_GOOD_FROM_ZERO),
        number(
            "Leaders",
            "Does exactly one operator act? With none, nothing is decided.",
            "sum(retune_leader)",
            steps=((None, "red"), (1.0, "green"), (2.0, "red")),
        ),
    )


def _jobs() -> tuple[Panel, ...]:
    info = f"max by (namespace, job, stable, candidate) (retune_job_info{{{OF_FLEET}}})"
    share = f"max by (namespace, job) (retune_budget_spent{{{OF_FLEET}}})"
    released = f"(max by (namespace, job) (retune_budget_released{{{OF_FLEET}}}) > 0)"
    known = {"namespace": "Namespace", "job": "Job"}
    return (
        rows(
            "Jobs",
            "Where does each job stand, and why?",
            (Column(_JOBS % OF_FLEET, ""),),
            {**known, "phase": "Phase", "reason": "Reason"},
            jobs=True,
        ),
        rows(
            "Models",
            "Which run made the model that serves, and which one is on its way to its users?",
            (Column(info, ""),),
            {**known, "stable": "Stable", "candidate": "Candidate"},
            jobs=True,
        ),
        lines(
            "Jobs by phase",
            "Do jobs get through, or do they pile up waiting?",
            (Query(f"count by (phase) ({_JOBS % OF_FLEET})", "{{phase}}"),),
            colors=PHASES,
            stacked=True,
            width=8,
        ),
        lines(
            "Runs that ended, in the hour before",
            "What becomes of the runs, in all namespaces?",
            (Query("sum by (phase) (increase(retune_runs_ended_total[1h]))", "{{phase}}"),),
            colors=OUTCOMES,
            stacked=True,
            width=8,
        ),
        bars(
            "Budget used",
            "Which jobs come to the end of the money that has been released? The ten nearest to it.",
            Query(f"topk(10, {share} / {released})", "{{namespace}}/{{job}}"),
            "percentunit",
            steps=((None, "green"), (0.8, "orange"), (1.0, "red")),
            most=1,
        ),
    )


def _operator() -> tuple[Panel, ...]:
    took = "sum by (le) (rate(retune_reconcile_duration_seconds_bucket[$__rate_interval]))"
    zero = "sum by (le) (increase(retune_breach_to_zero_seconds_bucket[$__range]))"
    return (
        lines(
            "Time of a reconcile",
            "Is the operator quick? From taking a key to the last write.",
            tuple(Query(f"histogram_quantile({q}, {took})", f"p{q[2:]}") for q in ("0.50", "0.99")),
            "s",
            width=8,
        ),
        lines(
            "Reconciles",
            "How much does it do, and how much of it fails? retry: asked again at once; error: something is wrong.",
            (Query("sum by (result) (rate(retune_reconciles_total[$__rate_interval]))", "{{result}}"),),
            "ops",
            colors={"ok": "green", "retry": "orange", "error": "red"},
            width=8,
        ),
        lines(
            "Keys that wait",
            "Does it keep up? A queue that grows means too few workers or a slow API server.",
            (Query("max(retune_queue_depth)", "waiting"),),
            width=8,
        ),
        lines(
            "Writes to the API server",
            "What does it cost the API server?",
            (Query("sum by (verb) (rate(retune_api_writes_total[$__rate_interval]))", "{{verb}}"),),
            "ops",
            width=8,
        ),
        lines(
            "Taps asked",
            "Does it see its taps? A canary that is not seen is held, then taken back.",
            (Query("sum by (result) (rate(retune_tap_polls_total[$__rate_interval]))", "{{result}}"),),
            "ops",
            colors={"ok": "green", "failed": "red"},
            width=8,
        ),
        number(
            "Breach to weight 0, p99",
            "How long did users have a bad model after it was known to be bad? In the time shown, if any was.",
            f"histogram_quantile(0.99, {zero})",
            "s",
            steps=((None, "green"), (3.0, "orange"), (30.0, "red")),
            width=8,
            height=8,
        ),
    )
