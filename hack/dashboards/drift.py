"""Dashboard of one job's drift: what each trigger sees, what follows from it, and whether the new model is better."""

from grafana_foundation_sdk.builders import dashboard
from hack.dashboards.boards import OF_JOB, OF_MODEL, board, of_one_job
from hack.dashboards.job import share
from hack.dashboards.panels import ARMS, GREY, MONEY, Column, Panel, Query, bars, lines, number, rows, states, word

STATES = {"Ok": "green", "Breached": "orange", "Firing": "red", "Unknown": GREY}


def drift() -> dashboard.Dashboard:
    """The dashboard."""
    about = "One job's drift: what each trigger sees, what follows from it, and whether the new model is better."
    made = of_one_job(board("drift", "Retune / Drift", about, "24h"))
    for panel in (*_now(), *_triggers(), *_recovered(), *_after()):
        made.with_panel(panel)
    return made


def _now() -> tuple[Panel, ...]:
    def worst(state: str) -> str:
        return f'count(max by (trigger) (retune_drift_state{{{OF_JOB}, state="{state}"}}) == 1) or vector(0)'

    return (
        number(
            "Firing",
            "How many triggers ask for a new run?",
            worst("Firing"),
            steps=((None, "green"), (1.0, "red")),
            width=3,
        ),
        number(
            "Unknown",
            "How many triggers cannot tell? No data is not no drift.",
            worst("Unknown"),
            steps=((None, "green"), (1.0, "orange")),
            width=3,
        ),
        word(
            "The job",
            "What does the job do about it?",
            Query(f"max by (reason) (retune_job_phase{{{OF_JOB}}})", "{{reason}}"),
        ),
        number(
            "New examples",
            "How much of what starts a run by itself has come in since the newest one? Only if it is asked for.",
            f"max(retune_new_examples{{{OF_JOB}}}) / max(retune_new_examples_limit{{{OF_JOB}}})",
            "percentunit",
        ),
        number(
            "Next run in",
            "When does the next automatic run start? 0 s: none is planned, or it is due.",
            f"(max(retune_next_run_timestamp_seconds{{{OF_JOB}}}) - time() > 0) or vector(0)",
            "s",
        ),
        number(
            "Last recovery",
            "How long did it take from drift noticed to the promotion that answered it?",
            f"max(retune_recovery_seconds{{{OF_JOB}}})",
            "s",
            width=3,
        ),
        number(
            "Its cost",
            "What did that recovery cost, in the job's currency?",
            f"max(retune_recovery_cost{{{OF_JOB}}})",
            MONEY,
            width=3,
        ),
    )


def _triggers() -> tuple[Panel, ...]:
    def by(metric: str) -> str:
        return f"max by (trigger) (retune_drift_{metric}{{{OF_JOB}}})"

    columns = (
        Column(by("value"), "Value"),
        Column(by("threshold"), "Fires above"),
        Column(by("samples"), "Samples"),
    )
    return (
        states(
            "State of each trigger",
            "What did each trigger say, and when?",
            (Query(f"max by (trigger, state) (retune_drift_state{{{OF_JOB}}}) == 1", "{{trigger}}: {{state}}"),),
            colors={f": {state}": color for state, color in STATES.items()},
        ),
        lines(
            "Value as a share of its threshold",
            "How near is each trigger to firing? Above 100 % the clock of `for` runs. Only thresholds above 0.",
            (Query(f"{by('value')} / ({by('threshold')} > 0)", "{{trigger}}"),),
            "percentunit",
            limit=1,
            least=None,
        ),
        rows("Triggers", "What does each trigger see now, over how many samples?", columns, {"trigger": "Trigger"}),
    )


def _recovered() -> tuple[Panel, ...]:
    def figure(name: str, by: str) -> str:
        return f"max by ({by}) (retune_recovery_{name}{{{OF_JOB}}})"

    return (
        number(
            "Interventions, last recovery",
            "How often did people step in, in the last recovery? 0: the loop has closed by itself.",
            f"max(retune_recovery_interventions{{{OF_JOB}}})",
            steps=((None, "green"), (1.0, "orange")),
            width=4,
        ),
        bars(
            "Answer complete, p95, before and after the last recovery",
            "Do users wait longer for the model that answered the drift? Of the slowest pod.",
            Query(figure("p95_seconds", "when"), "{{when}}"),
            "s",
            width=10,
            height=4,
        ),
        bars(
            "Serving cost per 1,000 answers, before and after the last recovery",
            "What does serving cost, by the price of the pods? In the job's currency.",
            Query(figure("cost_per_1k", "when, currency"), "{{when}} ({{currency}})"),
            MONEY,
            width=10,
            height=4,
        ),
    )


def _after() -> tuple[Panel, ...]:
    stable = f'{OF_MODEL}, arm="stable"'
    slow = f"sum by (le) (rate(retune_tap_latency_seconds_bucket{{{stable}}}[$__rate_interval]))"
    return (
        lines(
            "Overridden answers",
            "Do people correct the model more often, and less after the new one?",
            (share("overrides"),),
            "percentunit",
            colors=ARMS,
            width=8,
        ),
        lines(
            "Answer complete, p95, of what serves",
            "Did the answer to drift make users wait?",
            (Query(f"histogram_quantile(0.95, {slow})", "stable"),),
            "s",
            colors=ARMS,
            width=8,
        ),
        lines(
            "Questions to Prometheus",
            "Can triggers with a query of their own be asked? absent, Invalid, SourceDown: they are Unknown. All jobs.",
            (Query("sum by (result) (rate(retune_prometheus_queries_total[$__rate_interval]))", "{{result}}"),),
            "ops",
            colors={"ok": "green", "absent": "orange", "Invalid": "red", "SourceDown": "red"},
            width=8,
        ),
    )
