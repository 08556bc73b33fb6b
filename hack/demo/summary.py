"""What came of the runs: models, scores, prices, times, how they met their users, and what to type next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hack.demo import evidence, story
from hack.demo.run import Run
from hack.demo.settings import JOB, NAMESPACE
from hack.demo.taps import TapLook
from hack.demo.timeline import Timeline, clock
from hack.load import answers, report
from hack.load.answers import Answer, Summary
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from retune.api import FineTuneRunStatus, RunPhase

CLIENT = (
    "export KUBECONFIG=$(python3 hack/cluster kubeconfig)",
    "export PATH=$(dirname $(python3 hack/cluster bin kubectl)):$PATH",
)
"""What makes a shell speak to the demo's cluster, with a kubectl of its version."""


@dataclass(frozen=True)
class Told:
    """A run that has ended, and what taps and users saw of its rollout."""

    run: Run
    timeline: Timeline
    looks: Sequence[TapLook]
    answers: Sequence[Answer]


def promoted(console: Console, run: Run, timeline: Timeline) -> None:
    """Tell of a run that made a model."""
    status = run.status
    _say(console, _headline(run))
    _say(console, "")
    artifact, report = status.artifact, status.report_uri
    if artifact is not None:
        _fact(console, "adapter", artifact.uri)
        _fact(console, "manifest", f"{_folder(status)}/manifest.json")
    if report is not None:
        _fact(console, "report", report)
    _fact(console, "gates", _gates(status))
    _fact(console, "cost", _cost(status))
    _fact(console, "time", _times(run, timeline))
    console.print(Padding(_scores(status), (0, 2)))


def rollouts(console: Console, good: Told | None, bad: Told, overridden: int) -> None:
    """Tell of both runs, in about ten lines; `good` is None if it was not watched."""
    seen: dict[str, Summary] = {}
    if good is not None:
        _say(console, f"[bold]{good.run.name}[/], trained on the examples: [bold green]{good.run.phase}[/]")
        _fact(console, "time", _times(good.run, good.timeline))
        _fact(console, "weight", _weights(good))
        seen |= {f"first rollout, {arm}": found for arm, found in answers.by_arm(good.answers).items()}
    taken = bad.run.phase is RunPhase.ROLLED_BACK
    style = "bold green" if taken else "bold red"
    _say(console, f"[bold]{bad.run.name}[/], trained on shuffled answers: [{style}]{bad.run.phase}[/]")
    _fact(console, "time", _times(bad.run, bad.timeline))
    _fact(console, "weight", _weights(bad))
    rollout = bad.run.status.rollout
    if rollout is not None and rollout.message:
        _fact(console, "why", escape(rollout.message))
    elif rollout is not None and rollout.evidence:
        _fact(console, "evidence", "; ".join(evidence.line(one) for one in rollout.evidence))
    if taken:
        _fact(console, "taken back", _taken_back(bad))
    elif (reason := bad.run.verdict) is not None:
        _fact(console, "verdict", escape(f"{reason.reason}: {reason.message}"))
    _fact(console, "users", f"{overridden} overrides counted by the taps")
    seen |= {f"second rollout, {arm}": found for arm, found in answers.by_arm(bad.answers).items()}
    console.print(Padding(report.table(seen, "what users saw"), (0, 2)))


def _weights(told: Told) -> str:
    """The candidate's share over time, from when it first met users."""
    found = story.weights(told.run.number, told.looks)
    if not found:
        return "it met no users"
    begin = found[0][0]
    parts = [f"{weight} % [dim]at[/] {clock(at - begin)}" for at, weight in found]
    if told.run.phase is RunPhase.PROMOTED and found[-1][1] == 0:  # no candidate any more: it is stable itself
        parts[-1] = f"all [dim]at[/] {clock(found[-1][0] - begin)}"
    return "  ".join(parts)


def _taken_back(told: Told) -> str:
    end = story.taken_back(told.run.number, told.looks, told.answers)
    after = [f"{end.after_wrong:.1f} s after its first wrong answer"] if end.after_wrong is not None else []
    after += [f"{end.after_counted:.1f} s after the taps first counted one"] if end.after_counted is not None else []
    return f"{', '.join(after) or 'at a time nobody saw'}; users had {end.answers} answers from it, {end.wrong} wrong"


def failed(console: Console, run: Run, timeline: Timeline) -> None:
    """Tell why a run made none."""
    reason = run.verdict
    why = reason.reason if reason is not None and reason.reason != str(run.phase) else ""
    _say(console, f"[bold red]{run.phase}[/]{why and f': [bold]{why}[/]'}")
    if reason is not None:
        console.print(Padding(Text(reason.message), (0, 2)))
    _say(console, "")
    if run.status.report_uri is not None:
        _fact(console, "report", run.status.report_uri)
    if run.status.gates:
        _fact(console, "gates", _gates(run.status))
    _fact(console, "cost", _cost(run.status))
    _fact(console, "time", _times(run, timeline))
    if run.status.scores is not None:
        console.print(Padding(_scores(run.status), (0, 2)))
    next_commands(console, run)


def _headline(run: Run) -> str:
    scores = run.status.scores
    passed = clock(((run.status.ended_at or datetime.now(UTC)) - run.began).total_seconds())
    if scores is None or scores.base is None or scores.candidate is None:
        return f"[bold green]{run.phase}[/] in {passed}"
    better = f"[bold]{scores.base:.2f} → {scores.candidate:.2f}[/]"
    return f"[bold green]{run.phase}[/] in {passed}: {scores.metric} {better} on {scores.n} gold examples"


def _folder(status: FineTuneRunStatus) -> str:
    """The run's own folder in the store, which also holds the manifest."""
    return str(status.artifact.uri).rpartition("/adapter/")[0] if status.artifact else ""


def _gates(status: FineTuneRunStatus) -> str:
    """Every gate by its verdict: those that were not asked last."""
    by: dict[str, list[str]] = {}
    for gate in status.gates:
        by.setdefault(gate.verdict.value, []).append(gate.name)
    shown = (verdict for verdict in ("Failed", "Warned", "Waiting", "Passed", "Skipped") if verdict in by)
    return "  ".join(f"[dim]{verdict}[/] {', '.join(by[verdict])}" for verdict in shown)


def _cost(status: FineTuneRunStatus) -> str:
    cost = status.cost
    if cost is None:
        return "not known"
    used = [f"{cost.cpu_seconds:.0f} CPU-seconds"] if cost.cpu_seconds else []
    used += [f"{cost.gpu_seconds:.0f} GPU-seconds"] if cost.gpu_seconds else []
    return f"{cost.amount} {cost.currency or ''} [dim]({', '.join(used) or 'nothing ran'})[/]"


def _times(run: Run, timeline: Timeline) -> str:
    now = datetime.now(UTC)
    spans = {span.phase: span.seconds(now) for span in timeline.spans(run) if span.begin and span.end}
    names = {phase: str(phase) for phase in spans}
    if RunPhase.TRAINING in spans and RunPhase.EVALUATING not in spans and run.phase is RunPhase.PROMOTED:
        names[RunPhase.TRAINING] = "Training and Evaluating"
    return "  ".join(f"[dim]{names[phase]}[/] {clock(seconds or 0)}" for phase, seconds in spans.items())


def _scores(status: FineTuneRunStatus) -> Table:
    scores = status.scores
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", padding=(0, 2))
    table.add_column(str(scores.metric) if scores and scores.metric else "score")
    for name in ("examples", "base", "candidate", "uplift", "at least"):
        table.add_column(name, justify="right")
    if scores is not None:
        bound = f"{scores.interval[0]:+.3f}" if scores.interval else "-"
        table.add_row(*_row("all", scores.n, scores.base, scores.candidate), bound)
    for segment in status.segments:
        table.add_row(*_row(segment.name, segment.n, segment.base, segment.candidate), "")
    return table


def _row(name: str, n: int | None, base: float | None, candidate: float | None) -> tuple[str, ...]:
    uplift = candidate - base if base is not None and candidate is not None else None
    number = ["-" if value is None else f"{value:.3f}" for value in (base, candidate)]
    return name, str(n or "-"), number[0], number[1], "-" if uplift is None else f"[green]{uplift:+.3f}[/]"


def next_commands(console: Console, run: Run) -> None:
    """Tell what to type next."""
    commands = [
        (f"kubectl get ftj,ftr -n {NAMESPACE}", "the job and its runs"),
        (f"hack/uv run --frozen kubectl-retune report {run.name} -n {NAMESPACE}", "every decision, with its numbers"),
    ]
    if run.phase is RunPhase.PROMOTED:
        commands.append(("hack/uv run --frozen python hack/demo fetch", f"adapter and report.html into ./{run.name}"))
    commands += [
        ("make demo", "all of it again"),
        (f"kubectl delete ftj {JOB} -n {NAMESPACE}", "the job and its runs; what is in the store stays"),
        ("make down", "stops the cluster"),
    ]
    if run.status.scores is None:
        _say(console, "")
    _say(console, "[bold]What to type next[/]")
    for line in CLIENT:
        _say(console, f"  {line}")
    width = max(len(command) for command, _ in commands)
    for command, what in commands:
        _say(console, f"  {command:<{width}}   [dim]# {what}[/]")


def _fact(console: Console, name: str, value: str) -> None:
    _say(console, f"[dim]{name:<12}[/]{value}")


def _say(console: Console, text: str) -> None:
    console.print(f"  {text}".rstrip(), highlight=False, soft_wrap=True)
