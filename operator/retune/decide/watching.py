"""When a watch pod is sent: to count examples, to ask the serving model gold questions. One at a time.

What is remembered of the last one is its Job: the newest of each purpose stays until the next has ended, the others are
deleted. So a restart of the operator forgets nothing, and a result is not lost before what it changed is kept.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from retune.api import DriftBuiltin, MetricName, seconds
from retune.decide.actions import CreateWatch, DeleteChild
from retune.decide.conditions import find
from retune.decide.draft import JobDraft
from retune.decide.facts import Sent, Stage
from retune.decide.halting import stop
from retune.decide.naming import fit
from retune.decide.rollout.scene import in_rollout, serves
from retune.decide.snapshot import resolved
from retune.decide.waiting import waiting
from retune.decide.watch import COUNT, PROBE, Problem, result

CONDITION = "Watched"
BACKOFF, LONGEST_BACKOFF = 60.0, 3600.0  # s from one failed pod to the next; doubles
LOOK = 3600.0  # s: the longest wait for a time of the wall clock, which may be set while we wait
SLOW = 60.0  # s: a pod that has not started for longer than this is worth a word
MOST_ATTEMPTS = 1000
# These need more of a model than one answer.
NOT_PROBED = frozenset({MetricName.TOP3, MetricName.PERPLEXITY})


def look(draft: JobDraft) -> bool:
    """Send a watch pod if one is due, delete those that are done with, and say how it goes."""
    now, sent = draft.facts.now, draft.facts.watch.sent
    wanted = _wanted(draft)
    _delete(draft, sent, wanted)
    if not wanted:
        if find(draft.status.conditions, CONDITION) is not None:
            draft.set(conditions=tuple(c for c in draft.status.conditions if c.type != CONDITION))
        return False
    _say(draft, sent, wanted)
    if stop(draft) is not None or any(not each.child.over for each in sent):
        return False
    # A time in the future is of a clock that was wrong.
    times = {kind: _due(_last(sent, kind), kind, every, draft) for kind, every in wanted.items()}
    due = [kind for kind, wait in times.items() if wait <= 0 and (kind == COUNT or _can_be_asked(draft))]
    later = [wait for wait in times.values() if wait > 0]
    name = fit(f"{draft.facts.meta.name}-watch-{int(now.timestamp()) // 60}")
    if due and any(each.child.name == name for each in sent):  # at most one a minute
        draft.again_in(60.0)
    elif due:
        failed = [last.child.attempt for kind in due if (last := _last(sent, kind)) and _problem(last, kind)]
        attempt = min(max(failed, default=0) + 1, MOST_ATTEMPTS)
        draft.actions.append(CreateWatch(name, attempt, COUNT in due, PROBE in due, int(now.timestamp()) // 60))
    if later:
        draft.again_in(min(*later, LOOK))
    return False


def unprobed(draft: JobDraft) -> bool:
    """QualityDrop is asked for, and the metric is one that no server gives."""
    return _has_quality_drop(draft) and resolved(draft.spec).evaluation.acceptance.metric in NOT_PROBED


def _wanted(draft: JobDraft) -> dict[str, float]:
    """What is watched, and every how many seconds."""
    triggers = draft.spec.triggers
    wanted: dict[str, float] = {}
    if draft.spec.artifacts is None and not draft.facts.policy.artifacts_uri:
        return wanted  # no run can start, and the condition Valid says so
    if triggers.new_examples is not None:
        wanted[COUNT] = seconds(triggers.new_examples.check_every)
    if serves(draft.spec) and draft.status.stable is not None and _has_quality_drop(draft) and not unprobed(draft):
        wanted[PROBE] = seconds(triggers.probe.every)
    return wanted


def _has_quality_drop(draft: JobDraft) -> bool:
    return any(trigger.builtin is DriftBuiltin.QUALITY_DROP for trigger in draft.spec.triggers.drift)


def _can_be_asked(draft: JobDraft) -> bool:
    """Stable answers everywhere, and no question would be given to a candidate, nor count in a rollout's evidence.

    Without an opt-out header, as in a rollout of mode Deployment, it would count as a user's: it waits for its end.
    """
    ready = find(draft.status.conditions, "Ready")
    if ready is None or ready.status != "True":
        return False
    arms = draft.facts.serving.arms
    told = arms is not None and all(split.opt_out_header is not None for split in arms.models.values())
    return in_rollout(draft.facts.runs) is None or told


def _asked(each: Sent, kind: str) -> bool:
    return each.count if kind == COUNT else each.probe


def _last(sent: Iterable[Sent], kind: str) -> Sent | None:
    """The newest pod with that purpose that has ended."""
    over = [each for each in sent if each.child.over and _asked(each, kind)]
    return max(
        over, key=lambda s: (s.child.created.timestamp() if s.child.created else 0.0, s.child.name), default=None
    )


def _problem(last: Sent, kind: str) -> Problem | None:
    """Why its last pod has not done what it was sent for."""
    said = result(last)
    if said is None or (said.examples if kind == COUNT else said.probe) is not None:
        return None
    return said.error


def _backoff(attempt: int) -> float:
    return float(min(BACKOFF * 2 ** min(max(attempt, 1) - 1, 10), LONGEST_BACKOFF))


def _due(last: Sent | None, kind: str, every: float, draft: JobDraft) -> float:
    """Seconds until the next one; 0 or less: now."""
    if last is None or last.child.created is None:
        return 0.0
    wait = _backoff(last.child.attempt) if _problem(last, kind) is not None else every
    age = (draft.facts.now - last.child.created).total_seconds()
    return wait - age if age > -LOOK else 0.0


def _delete(draft: JobDraft, sent: Iterable[Sent], wanted: Iterable[str]) -> None:
    """Those that have ended and of which nothing has to be remembered."""
    keep = {last.child.uid for kind in wanted if (last := _last(sent, kind)) is not None}
    done = [each.child for each in sent if each.child.over and not each.child.deleting and each.child.uid not in keep]
    draft.actions += [DeleteChild(child.name, child.uid) for child in sorted(done, key=lambda c: c.name)]


@dataclass(frozen=True)
class _Words:
    doing: str
    done: str


_WORDS = {
    COUNT: _Words("Examples cannot be counted", "examples are counted"),
    PROBE: _Words("The serving model cannot be asked", "the serving model is asked gold questions"),
}


def _say(draft: JobDraft, sent: tuple[Sent, ...], wanted: dict[str, float]) -> None:
    """The condition `Watched`; it says nothing that changes from pod to pod while all is well."""
    last = {kind: _last(sent, kind) for kind in wanted}
    problems = [(kind, each, said) for kind, each in last.items() if each and (said := _problem(each, kind))]
    held = _held_up(draft, sent)
    if problems:
        reason = problems[0][2].reason
        text = " ".join(_told(kind, each, said) for kind, each, said in problems)
        draft.condition(CONDITION, "False", reason, text)
    elif held is not None:
        draft.condition(CONDITION, "False", held.reason, held.message)
    elif all(each is None for each in last.values()):
        draft.condition(CONDITION, "Unknown", "NotMeasured", "No watch pod has ended yet.")
    else:
        done = " and ".join(_WORDS[kind].done for kind in wanted)
        draft.condition(CONDITION, "True", "Watched", f"{done[0].upper()}{done[1:]}.")


def _told(kind: str, last: Sent, said: Problem) -> str:
    wait = timedelta(seconds=_backoff(last.child.attempt))
    tries = f" {last.child.attempt} tries in a row have failed." if last.child.attempt > 1 else ""
    return f"{_WORDS[kind].doing}: {said.message.rstrip('.')}.{tries} The next is made {wait} after the last."


def _held_up(draft: JobDraft, sent: tuple[Sent, ...]) -> Problem | None:
    """Why the pod that was sent has not started yet."""
    for each in sent:
        created = each.child.created
        if each.child.over or created is None or (draft.facts.now - created).total_seconds() < SLOW:
            continue
        wait = waiting(Stage.WATCH, each.pods, None, draft.facts.now)
        if wait is not None:
            return Problem(wait.reason, f"The watch pod has not started: {wait.message}")
    return None
