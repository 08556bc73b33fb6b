"""The words of a message: what happened, with its numbers, and where to read on.

Names and messages in it are of people who may write jobs, and of pods: they reach a chat room as plain text of bounded
length, and can call nobody.
"""

import unicodedata
from collections.abc import Iterator

from retune.api import DriftStatus, NotificationEvent, RunPhase, TriggerKind
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.facts import RunFacts

TITLE, QUOTE, TEXT, LINK = 160, 400, 1200, 700  # characters at most
_EVIDENCE = 4  # stop-losses in a message
# Characters with which chat programs mention people or everybody, and hide links behind words.
_TAMED = str.maketrans({"@": "@\u200b", "<": "\u2039", ">": "\u203a", "[": "(", "]": ")", "`": "'"})


def plain(text: str, limit: int = QUOTE) -> str:
    """`text` as one line of at most `limit` characters, in which nothing is a mention or a link behind other words."""
    flat = "".join(" " if unicodedata.category(c) in ("Cc", "Zl", "Zp") else c for c in text)
    seen = "".join(c for c in flat if unicodedata.category(c) not in ("Cf", "Cs", "Co", "Cn"))
    line = " ".join(seen.split()).translate(_TAMED)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def title(draft: JobDraft, said: str) -> str:
    """One line: which job, and what of it."""
    meta = draft.facts.meta
    return plain(f"{meta.namespace}/{meta.name}: {said}", TITLE)


def ending(draft: JobDraft, run: RunFacts) -> str:
    """How a run ended, and with which numbers."""
    return _joined(_ending(draft, run))


def drift(one: DriftStatus, since: str) -> str:
    """What a drift trigger has seen."""
    value = f" is {one.value:.4g}" if one.value is not None else " fires"
    limit = f", its threshold {one.threshold:g}" if one.threshold is not None else ""
    samples = f", over {one.samples} samples" if one.samples is not None else ""
    parts = [f"{plain(one.name)}{value}{limit}{samples}, since {since}."]
    if one.message:
        parts.append(plain(one.message))
    return _joined(parts)


def sentence(*parts: str) -> str:
    """Conditions' messages, made fit for a message."""
    return _joined(plain(part) for part in parts if part)


def of_job(draft: JobDraft) -> str:
    """Where to read on about a job."""
    meta = draft.facts.meta
    return plain(f"kubectl retune status {meta.name} -n {meta.namespace}", LINK)


def of_run(run: RunFacts) -> str:
    """Where to read on about a run: its report, and the command that shows everything."""
    command = plain(f"kubectl retune describe {run.meta.name} -n {run.meta.namespace}", 600)
    return f"{plain(run.status.report_uri, LINK)} · {command}" if run.status.report_uri else command


def event_of(phase: RunPhase) -> NotificationEvent:
    """What the end of a run is called."""
    return NotificationEvent(phase.value)


def _joined(parts: "Iterator[str] | list[str]") -> str:
    text = "\n".join(part for part in parts if part)
    return text if len(text) <= TEXT else f"{text[: TEXT - 1]}…"


def _ending(draft: JobDraft, run: RunFacts) -> Iterator[str]:
    status, trigger = run.status, run.spec.trigger
    assert status.phase is not None  # noqa: S101 - it has ended
    named = trigger.kind is TriggerKind.DRIFT and trigger.name
    started = f"{trigger.kind.value} {trigger.name}" if named else trigger.kind.value
    yield plain(f"Run {run.spec.number}, started by {started}, ended as {status.phase.value}.")
    yield plain(_why(run))
    scores = status.scores
    if scores is not None and scores.uplift is not None:
        between = f" ({scores.interval[0]:+.3g} to {scores.interval[1]:+.3g})" if scores.interval else ""
        behind = f", {scores.n} gold examples" if scores.n is not None else ""
        yield f"Uplift {scores.uplift:+.3g}{between} in {scores.metric or 'its metric'}{behind}."
    counted = [
        f"{one.name} {one.bad} of {one.total} (stable {one.stable_bad} of {one.stable_total})"
        for one in (status.rollout.evidence if status.rollout is not None else ())
        if one.total is not None
    ]
    if counted:
        more = f" and {len(counted) - _EVIDENCE} more" if len(counted) > _EVIDENCE else ""
        yield plain(f"Bad answers: {', '.join(counted[:_EVIDENCE])}{more}.")
    if status.cost is not None:
        yield f"Cost {status.cost.amount} {status.cost.currency or run.spec.prices.currency}."
    recovery = draft.status.recovery
    if recovery is not None and recovery.run == run.meta.name:
        hours, minutes = divmod(recovery.seconds // 60, 60)
        yield f"Recovered {hours} h {minutes} min after drift was noticed, for {recovery.cost}."


def _why(run: RunFacts) -> str:
    """The last word on it: of the rollout, or of the condition that is False."""
    rollout = run.status.rollout
    if rollout is not None and rollout.message:
        return f"{rollout.held_because}: {rollout.message}"
    failed = next((c for c in reversed(run.status.conditions) if c.status == "False"), None)
    return f"{failed.reason}: {failed.message}" if failed is not None else ""


def waits_for_approval(run: RunFacts) -> str:
    """Whose yes is missing; "" if none is."""
    phase, rollout = run.status.phase, run.status.rollout
    if phase is RunPhase.AWAITING_APPROVAL:
        asked = find(run.status.conditions, "GatesPassed")
        return asked.message if asked is not None else "Gates wait for approval."
    if rollout is not None and rollout.held_because == "AwaitingApproval":
        return rollout.message or "The rollout waits for approval."
    return ""
