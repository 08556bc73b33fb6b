"""Dashboard of one canary's evidence: how near a rollback, how near the next step, and what holds it."""

from grafana_foundation_sdk.builders import dashboard
from hack.dashboards.boards import OF_JOB, OF_MODEL, board, of_one_job
from hack.dashboards.job import ON_ITS_WAY, served
from hack.dashboards.panels import GREY, Column, Panel, Query, bars, lines, number, rows, states, word

EVIDENCE = {
    "Ok": "green",
    "Breached": "red",
    "NoTraffic": GREY,
    "SeriesAbsent": "yellow",
    "SourceDown": "orange",
    "Invalid": "orange",
    "TargetDown": "red",
    "BaselineUnhealthy": "purple",
}


def canary() -> dashboard.Dashboard:
    """The dashboard."""
    about = "One canary: how near a rollback, how near the next step, what holds it, what its users get."
    made = of_one_job(board("canary", "Retune / Canary", about, "3h", refresh="10s"))
    for panel in (*_now(), *_evidence(), *_taps()):
        made.with_panel(panel)
    made.with_row(dashboard.Row("What users get"))
    for panel in served():
        made.with_panel(panel)
    return made


def _now() -> tuple[Panel, ...]:
    def since(metric: str) -> str:
        return f"time() - max(retune_rollout_{metric}_timestamp_seconds{{{OF_JOB}}})"

    used = f"({since('started')}) / max(retune_rollout_timeout_seconds{{{OF_JOB}}})"
    near = f"retune_stop_loss_e_value{{{OF_JOB}}} / retune_stop_loss_threshold{{{OF_JOB}}}"
    return (
        word(
            "Stage",
            "How far is the rollout, if there is one?",
            Query(f"max by (stage) (retune_rollout_stage{{{OF_JOB}}})", "{{stage}}"),
            colors=ON_ITS_WAY,
        ),
        number(
            "Candidate's share",
            "How much of the traffic does the candidate answer?",
            f"max(retune_rollout_weight{{{OF_JOB}}})",
            "percent",
        ),
        word(
            "Held by",
            "What keeps it from going on? The run's status.rollout.message has the numbers.",
            Query(f"max by (reason) (retune_rollout_held{{{OF_JOB}}})", "{{reason}}"),
            colors={"Blind": "red", "AwaitingApproval": "yellow"},
            nothing="nothing",
        ),
        number("At this step for", "How long has it been at this weight?", since("since"), "s"),
        number(
            "Time used",
            "How much of spec.rollout.timeout is used up? At 100 % the run ends as Inconclusive.",
            used,
            "percentunit",
            steps=((None, "green"), (0.75, "orange"), (1.0, "red")),
        ),
        number(
            "Nearest to a rollback",
            "How much of the evidence that takes it back is there, by the worst stop-loss?",
            f"max({near})",
            "percentunit",
            steps=((None, "green"), (0.1, "orange"), (1.0, "red")),
        ),
    )


def _evidence() -> tuple[Panel, ...]:
    def by(metric: str) -> str:
        return f"max by (metric) ({metric}{{{OF_JOB}}})"

    def counted(which: str, arm: str) -> str:
        return f'max by (metric) (retune_stop_loss_{which}{{{OF_JOB}, arm="{arm}"}})'

    near = f"{by('retune_stop_loss_e_value')} / {by('retune_stop_loss_threshold')}"
    bad, total = (f"max by (metric, arm) (retune_stop_loss_{which}{{{OF_JOB}}})" for which in ("bad", "total"))
    harm, margin = by("retune_stop_loss_harm"), by("retune_stop_loss_margin")
    columns = (
        Column(by("retune_stop_loss_e_value"), "E-value"),
        Column(by("retune_stop_loss_threshold"), "Taken back from"),
        Column(counted("bad", "canary"), "Canary bad"),
        Column(counted("total", "canary"), "Canary all"),
        Column(counted("bad", "stable"), "Stable bad"),
        Column(counted("total", "stable"), "Stable all"),
    )
    return (
        lines(
            "Candidate's share of traffic",
            "Which way did the rollout take?",
            (Query(f"max(retune_rollout_weight{{{OF_JOB}}})", "weight"),),
            "percent",
            colors={"weight": "orange"},
            steps=True,
            most=100,
        ),
        lines(
            "Evidence of harm",
            "How near is a rollback? Each stop-loss's e-value as a share of the one that takes the candidate back.",
            (Query(near, "{{metric}}"),),
            "percentunit",
            logarithmic=True,
            limit=1,
        ),
        lines(
            "Bad answers",
            "Is the candidate worse than stable? By what each stop-loss has counted at this stage.",
            (Query(f"{bad} / ({total} > 0)", "{{metric}} · {{arm}}"),),
            "percentunit",
        ),
        bars(
            "Harm that is still possible",
            "How near is the next step? It is taken when every bar is below 100 % of its margin.",
            Query(f"{harm} / ({margin} > 0)", "{{metric}}"),
            "percentunit",
            steps=((None, "green"), (1.0, "orange")),
            width=12,
        ),
        states(
            "State of each stop-loss",
            "Could everything be measured? SourceDown and Invalid hold the rollout, and end it if they last.",
            (Query(f"max by (metric, state) (retune_stop_loss_state{{{OF_JOB}}}) == 1", "{{metric}}: {{state}}"),),
            colors={f": {state}": color for state, color in EVIDENCE.items()},
            width=12,
        ),
        rows("What was counted", "On what does the verdict stand?", columns, {"metric": "Stop-loss"}),
    )


def _taps() -> tuple[Panel, ...]:
    fallbacks = f"sum(rate(retune_tap_fallbacks_total{{{OF_MODEL}}}[$__rate_interval]))"
    none = f"0 * sum(rate(retune_tap_requests_total{{{OF_MODEL}}}[$__rate_interval]))"
    return (
        lines(
            "Taps out of step",
            "Do all pods do what they were told? Those that are silent, or have another arms document.",
            (Query(f"max(retune_taps_out_of_step{{{OF_JOB}}})", "out of step"),),
            colors={"out of step": "red"},
            steps=True,
        ),
        lines(
            "Stable stepped in",
            "How often did stable answer since the candidate failed before its first byte?",
            (Query(f"{fallbacks} or {none}", "fallbacks"),),
            "reqps",
            colors={"fallbacks": "red"},
        ),
    )
