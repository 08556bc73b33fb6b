"""All about a job or a run, in sections; what kubectl's own `describe` prints, in the order in which one asks."""

from collections.abc import Callable
from datetime import datetime

from rich.console import RenderableType
from rich.text import Text

from retune.cli.objects import Raw, ended, items, moment, name, part
from retune.cli.view import cost, gates, notes, rollout, scores, trigger
from retune.cli.view.ahead import ahead
from retune.cli.view.paper import QUIET, listing, painted, sheet, stacked, titled
from retune.cli.view.path import Line, steps
from retune.cli.view.report import verdict
from retune.cli.view.runs import runs as runs_table
from retune.cli.wording import age, clock, money

EVENTS = 15
Row = tuple[str, RenderableType | str | None]


def job(found: Raw, runs: list[Raw], events: list[Raw], now: datetime) -> RenderableType:
    """A FineTuneJob."""
    metadata, spec = found["metadata"], part(found, "spec")
    last = runs[-1] if runs else None
    head: list[Row] = [
        ("job", Text.assemble((f"{metadata.get('namespace')}/", QUIET), (name(found), "bold"))),
        ("created", f"{age(moment(metadata.get('creationTimestamp')), now)} ago"),
        ("phase", painted(str(part(found, "status", "phase") or "New"))),
        ("next", ahead(found, last, now)),
        ("asked", _asked(metadata.get("annotations") or {})),
    ]
    return stacked(
        (
            sheet(head),
            titled("What is trained", sheet(_spec(spec))),
            titled("What starts a run", sheet(_triggers(part(spec, "triggers"), part(found, "status", "examples")))),
            titled("Models", sheet(_models(part(found, "status"), now))),
            titled("Money", sheet([("budget", cost.of_job(found)), ("asked for", _budget(part(spec, "budget")))])),
            titled("Drift", _drift(found, now)),
            titled("Recovery", sheet(_recovery(part(found, "status", "recovery"), part(found, "status", "budget")))),
            titled("Runs", runs_table(runs, found, now) if runs else None),
            titled("Conditions", notes.conditions(found, now)),
            titled("Events", notes.events(events, now, most=EVENTS)),
        )
    )


def run(found: Raw, owner: Raw | None, pods: list[Raw], events: list[Raw], now: datetime) -> RenderableType:
    """A FineTuneRun."""
    metadata, spec = found["metadata"], part(found, "spec")
    head: list[Row] = [
        ("run", Text.assemble((f"{metadata.get('namespace')}/", QUIET), (name(found), "bold"))),
        ("job", str(part(spec, "jobRef", "name"))),
        ("started by", trigger.told(found)),
        ("verdict" if ended(found) else "phase", verdict(found) if ended(found) else None),
        ("way", Line(steps(found, now))),
        ("next", "" if ended(found) else ahead(owner, found, now)),
        ("cost", cost.of_run(found)),
        ("asked", _asked(metadata.get("annotations") or {})),
    ]
    return stacked(
        (
            sheet(head),
            titled("What is trained", sheet(_spec(spec))),
            titled("Gates", gates.full(found)),
            titled("Scores", scores.comparisons(found) or scores.headline(found)),
            titled("Rollout", rollout.rollout(found, now)),
            titled("Attempts", _attempts(found, now)),
            titled("Pods", _pods(pods, now)),
            titled("Conditions", notes.conditions(found, now)),
            titled("Events", notes.events(events, now, most=EVENTS)),
        )
    )


def _spec(spec: Raw) -> list[Row]:
    training, lora = part(spec, "training"), part(spec, "method", "lora")
    method = str(part(spec, "method", "type") or "")
    if lora and method != "Full":
        method += f", rank {lora.get('rank')}, alpha {lora.get('alpha')}"
    much = f"{training['maxSteps']} steps" if training.get("maxSteps") else f"{training.get('epochs')} epochs"
    gpus, nodes = training.get("gpusPerNode"), training.get("nodes") or 1
    where = "on CPU" if gpus == 0 else f"on {nodes * (gpus or 1)} GPU{'s' if nodes * (gpus or 1) > 1 else ''}"
    rate = training.get("learningRate")
    accept = part(spec, "evaluation", "acceptance")
    return [
        ("base", str(part(spec, "baseModel", "uri") or "")),
        ("train", str(part(spec, "dataset", "train", "uri") or "")),
        ("gold", str(part(spec, "dataset", "gold", "uri") or "")),
        ("method", method),
        ("training", ", ".join(filter(None, (much, f"learning rate {rate:g}" if rate else "", where)))),
        ("accepted", ", ".join(f"{key} {value}" for key, value in accept.items())),
        ("artifacts", str(part(spec, "artifacts", "uri") or "")),
        ("image", str(training.get("image") or spec.get("image") or "")),
    ]


def _triggers(triggers: Raw, examples: Raw) -> list[Row]:
    schedule, fresh = part(triggers, "schedule"), part(triggers, "newExamples")
    rows: list[Row] = [
        ("a change", "yes" if triggers.get("onChange", True) else "no (spec.triggers.onChange is false)"),
        ("schedule", f"{schedule.get('cron')} {schedule.get('timeZone') or 'UTC'}" if schedule else ""),
        ("new data", f"{fresh.get('count')} examples{_counted(examples)}" if fresh else ""),
        ("at most", _pace(triggers)),
    ]
    rows += [
        ("drift", f"{d.get('name')}: {d.get('builtin') or d.get('query')} beyond {d.get('threshold')}")
        for d in triggers.get("drift") or ()
    ]
    return rows


def _counted(examples: Raw) -> str:
    """How many there are so far."""
    if not examples:
        return ""
    there = (examples.get("counted") or 0) + (examples.get("corrections") or 0)
    fresh = there - (there if examples.get("trained") is None else examples["trained"])
    corrected = f", {examples['corrections']} of them corrections" if examples.get("corrections") else ""
    return f", {max(fresh, 0)} so far ({there} in all{corrected})"


def _pace(triggers: Raw) -> str:
    """How fast automatic runs may follow; "" if there are none."""
    if not any(triggers.get(key) for key in ("schedule", "newExamples", "drift")):
        return ""
    most = triggers.get("maxRunsPerMonth")
    words = [f"one in {triggers['cooldown']}" if triggers.get("cooldown") else "", f"{most} in 30 days" if most else ""]
    return ", ".join(filter(None, words))


def _models(status: Raw, now: datetime) -> list[Row]:
    rows: list[Row] = []
    for key in ("stable", "candidate", "previous"):
        model = status.get(key) or {}
        since = moment(model.get("since"))
        parts = [str(model.get("run", "")), str(model.get("uri") or ""), f"since {age(since, now)}" if since else ""]
        parts.append(f"{model['weight']} % of traffic" if model.get("weight") is not None else "")
        rows.append((key, "  ".join(filter(None, parts)) if model else ""))
    return rows


def _budget(budget: Raw) -> str:
    names = {"total": "total", "perRun": "a run", "gpuHourPrice": "a GPU hour", "endsAt": "until"}
    said = [f"{words} {budget[key]}" for key, words in names.items() if budget.get(key)]
    said += [
        f"{m.get('amount')} at {part(m, 'unlock', 'metric')} {part(m, 'unlock', 'minimum')}"
        for m in budget.get("milestones") or ()
        if m.get("unlock")
    ]
    return ", ".join(said)


def _drift(found: Raw, now: datetime) -> RenderableType | None:
    rows = [
        (
            str(d.get("name")),
            painted(str(d.get("state"))),
            "-" if d.get("value") is None else f"{d['value']:.4g}",
            "-" if d.get("threshold") is None else f"{d['threshold']:g}",
            str(d.get("samples") or "-"),
            age(moment(d.get("breachedSince")), now),
            str(d.get("message") or ""),
        )
        for d in items(found, "status", "drift")
    ]
    return listing(("TRIGGER", "STATE", "VALUE", "THRESHOLD", "SAMPLES", "BREACHED FOR", "WHY"), rows)


def _recovery(last: Raw, budget: Raw) -> list[Row]:
    """The last time that a run made good for drift."""
    if not last:
        return []
    currency = budget.get("currency") or ""
    noticed, promoted = moment(last.get("noticedAt")), moment(last.get("promotedAt"))
    return [
        ("noticed", f"{noticed:%Y-%m-%d %H:%M} UTC" if noticed else ""),
        ("made good", f"{promoted:%Y-%m-%d %H:%M} UTC by {last.get('run')}" if promoted else ""),
        ("took", clock(float(last.get("seconds") or 0))),
        ("cost", money(last.get("cost") or "0", currency)),
        ("interventions", str(last.get("interventions") or 0)),
        ("p95", _change(last, "p95Seconds", lambda value: f"{float(str(value)):.3g} s")),
        ("cost per 1,000 answers", _change(last, "costPer1k", lambda value: money(value, currency))),
    ]


def _change(last: Raw, figure: str, shown: Callable[[object], str]) -> str:
    """A figure before and after; "" if neither is known."""
    values = [(last.get(when) or {}).get(figure) for when in ("before", "after")]
    said = ["?" if value is None else shown(value) for value in values]
    return " -> ".join(said) if said != ["?", "?"] else ""


def _attempts(found: Raw, now: datetime) -> RenderableType | None:
    rows = []
    for one in items(found, "status", "attempts"):
        start, end = moment(one.get("startedAt")), moment(one.get("endedAt"))
        state = str(one.get("exit") or ("Running" if start else "Starting"))
        rows.append(
            (
                str(one.get("stage", "Train")),
                str(one.get("number")),
                painted(state),
                age(start, now),
                clock(((end or now) - start).total_seconds()) if start else "-",
                "counts" if one.get("counted") else "",
                _why(one),
            )
        )
    return listing(("STAGE", "N", "END", "AGE", "TOOK", "RETRY", "WHY"), rows, right=("N", "TOOK"))


def _why(attempt: Raw) -> str:
    """Why an attempt ended as it did, without saying its end again."""
    said = [str(attempt.get(key) or "") for key in ("reason", "message")]
    return ": ".join(text for text in said if text and text != attempt.get("exit"))


def _pods(pods: list[Raw], now: datetime) -> RenderableType | None:
    rows = [
        (
            name(pod),
            str(part(pod, "status", "phase")),
            str(part(pod, "spec", "nodeName") or "-"),
            age(moment(pod["metadata"].get("creationTimestamp")), now),
        )
        for pod in sorted(pods, key=lambda p: str(p["metadata"].get("creationTimestamp")))
    ]
    return listing(("POD", "PHASE", "NODE", "AGE"), rows)


def _asked(annotations: dict[str, str]) -> str:
    """What people have asked of it by annotation."""
    ours = {k: v for k, v in annotations.items() if "retune.dev/" in k}
    return ", ".join(f"{key}={value}" for key, value in sorted(ours.items()))
