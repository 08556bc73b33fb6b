"""Dashboard of one job's life: where it stands, what its runs came to, what its users get."""

from grafana_foundation_sdk.builders import dashboard
from hack.dashboards.boards import OF_JOB, OF_MODEL, board, of_one_job
from hack.dashboards.fleet import OUTCOMES, PHASES
from hack.dashboards.panels import ARMS, GREY, MONEY, Panel, Query, bars, lines, number, states, word

ASKED = f"sum by (arm) (rate(retune_tap_requests_total{{{OF_MODEL}}}[$__rate_interval]))"
ON_ITS_WAY = {
    "Pending": GREY,
    "Preflight": "purple",
    "AwaitingApproval": "yellow",
    "Queued": GREY,
    "Training": "blue",
    "Evaluating": "dark-blue",
    "Loading": GREY,
    "Shadow": "super-light-orange",
    "Pilot": "light-orange",
    "Canary": "orange",
    "Baking": "dark-orange",
}


def job() -> dashboard.Dashboard:
    """The dashboard."""
    made = of_one_job(board("job", "Retune / Job", "One job's life: its runs, its models, what its users get.", "24h"))
    for panel in (*_now(), *_runs()):
        made.with_panel(panel)
    made.with_row(dashboard.Row("Training"))
    for panel in _training():
        made.with_panel(panel)
    made.with_row(dashboard.Row("What users get"))
    for panel in served():
        made.with_panel(panel)
    return made


def _now() -> tuple[Panel, ...]:
    info = f"max by (stable, candidate) (retune_job_info{{{OF_JOB}}})"
    newest = f"max by (run, trigger) (retune_latest_run_info{{{OF_JOB}}})"
    return (
        word(
            "Phase",
            "Where does the job stand?",
            Query(f"max by (phase) (retune_job_phase{{{OF_JOB}}})", "{{phase}}"),
            colors=PHASES,
        ),
        word("Why", "What has it come to?", Query(f"max by (reason) (retune_job_phase{{{OF_JOB}}})", "{{reason}}")),
        word("Serves", "Which run made the model that serves?", Query(info, "{{stable}}"), colors=ARMS),
        word("Fired by", "What started the newest run?", Query(newest, "{{trigger}}"), width=3),
        number(
            "Runs so far",
            "How many runs were started in the job's life?",
            f"max(retune_latest_run_number{{{OF_JOB}}})",
            width=3,
        ),
        number(
            "Fruitless in a row",
            "How near is the programme's stop-loss? At 100 % it halts until a person resumes it.",
            f"max(retune_fruitless_runs{{{OF_JOB}}}) / max(retune_fruitless_runs_limit{{{OF_JOB}}})",
            "percentunit",
            steps=((None, "green"), (0.5, "orange"), (1.0, "red")),
            width=3,
        ),
        number(
            "Budget used",
            "How much of the money that has been released is spent? Only with a budget.",
            f"max(retune_budget_spent{{{OF_JOB}}}) / (max(retune_budget_released{{{OF_JOB}}}) > 0)",
            "percentunit",
            steps=((None, "green"), (0.8, "orange"), (1.0, "red")),
            width=3,
        ),
    )


def _runs() -> tuple[Panel, ...]:
    way = [f'phase="{phase}"' for phase in ON_ITS_WAY] + [f'phase=~"{"|".join(OUTCOMES)}"']
    return (
        states(
            "The newest run's way",
            "Which phases did the runs go through, and where did the time go?",
            [Query(f"max by (phase) (retune_latest_run_info{{{OF_JOB}, {phase}}})", "{{phase}}") for phase in way],
            colors={**ON_ITS_WAY, **OUTCOMES},
        ),
        lines(
            "Scores on the gold set",
            "Is each new model better than its base and than the one that serves?",
            (Query(f"max by (of) (retune_latest_run_score{{{OF_JOB}}})", "{{of}}"),),
            "percentunit",
            colors={"base": GREY, "stable": "blue", "candidate": "orange"},
            steps=True,
        ),
        bars(
            "Runs by outcome",
            "What became of the runs that are kept (spec.history), and is one in flight?",
            Query(f"max by (phase) (retune_job_runs{{{OF_JOB}}})", "{{phase}}"),
            colors={**ON_ITS_WAY, **OUTCOMES},
            width=6,
        ),
        number(
            "Cost of the newest run",
            "What has the newest run cost so far, in the job's currency?",
            f"max(retune_latest_run_cost{{{OF_JOB}}})",
            MONEY,
            width=6,
            height=8,
        ),
    )


def _training() -> tuple[Panel, ...]:
    return (
        lines(
            "Loss",
            "Does it learn? A loss that rises or is not a number ends the run.",
            (Query(f"max(retune_training_loss{{{OF_JOB}}})", "loss"),),
            least=None,
            width=8,
        ),
        lines(
            "Steps done",
            "How far is training?",
            (Query(f"max(retune_training_step{{{OF_JOB}}}) / max(retune_training_steps{{{OF_JOB}}})", "done"),),
            "percentunit",
            most=1,
            width=8,
        ),
        lines(
            "Tokens per second",
            "How fast does it train?",
            (Query(f"max(retune_training_tokens_per_second{{{OF_JOB}}})", "tokens/s"),),
            width=8,
        ),
    )


def share(metric: str) -> Query:
    """Which share of answers a tap's counter has counted, by arm.

    At most all: an override comes after its answer, and where answers end there would be more of it.
    """
    return Query(f"clamp_max({_each(metric)}, 1)", "{{arm}}")


def _each(metric: str) -> str:
    return f"sum by (arm) (rate(retune_tap_{metric}_total{{{OF_MODEL}}}[$__rate_interval])) / ({ASKED} > 0)"


def served() -> tuple[Panel, ...]:
    """What users get from each arm, by the taps' own counting."""

    def p95(metric: str) -> Query:
        buckets = f"rate(retune_tap_{metric}_seconds_bucket{{{OF_MODEL}}}[$__rate_interval])"
        return Query(f"histogram_quantile(0.95, sum by (le, arm) ({buckets}))", "{{arm}}")

    return (
        lines(
            "Requests", "How much do users ask of each arm?", (Query(ASKED, "{{arm}}"),), "reqps", colors=ARMS, width=8
        ),
        lines(
            "Answer complete, p95",
            "How long do users wait for the whole answer?",
            (p95("latency"),),
            "s",
            colors=ARMS,
            width=8,
        ),
        lines(
            "First of an answer, p95",
            "How long do users wait until something comes?",
            (p95("first_token"),),
            "s",
            colors=ARMS,
            width=8,
        ),
        lines("Failed", "Which share of requests fails?", (share("errors"),), "percentunit", colors=ARMS, width=8),
        lines(
            "Overridden",
            "Which share of answers do users replace by their own?",
            (share("overrides"),),
            "percentunit",
            colors=ARMS,
            width=8,
        ),
        lines(
            "Tokens of an answer",
            "Do the arms answer at the same length? A wordy candidate is slow and costs more.",
            (Query(_each("tokens"), "{{arm}}"),),
            colors=ARMS,
            width=8,
        ),
    )
