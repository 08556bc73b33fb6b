"""What happens next, and what a person could do about it, in a sentence."""

from datetime import datetime

from retune.api.phases import JobPhase, RunPhase
from retune.cli.objects import Raw, approvals_missing, ended, moment, name, part, phase
from retune.cli.view import rollout
from retune.cli.view.paper import command
from retune.cli.wording import age, clock, listed

_ASKED = {"minUplift": "an uplift of at least", "minimum": "a score of at least", "maxRegression": "a loss of at most"}


def ahead(job: Raw | None, run: Raw | None, now: datetime) -> str:
    """The sentence; "" if nothing can be said."""
    called = name(job) if job else ""
    stopped = _stopped(job, run, called)
    if stopped:
        return stopped
    if run is None:
        return "the operator has not looked at this job yet" if not part(job, "status", "phase") else ""
    return _after(job, called, now) if ended(run) else _on_the_way(run, called or name(run), now)


def _stopped(job: Raw | None, run: Raw | None, called: str) -> str:
    here = part(job, "status", "phase")
    if rollout.in_rollout(run) and part(run, "status", "rollout", "pausedSince"):
        return f"the weight is held, with the stop-loss armed, until {command(f'resume {called}')}"
    if here == JobPhase.HALTED:
        return f"nothing starts until somebody resumes: {command(f'resume {called}')}"
    if here == JobPhase.SUSPENDED:
        if part(job, "spec", "suspend"):
            return "nothing goes on until spec.suspend is false"
        return f"nothing goes on until {command(f'resume {called}')}"
    if here == JobPhase.INVALID:
        return "nothing starts until the spec is mended"
    return ""


def _on_the_way(run: Raw, called: str, now: datetime) -> str:
    match RunPhase(phase(run)):
        case RunPhase.PENDING | RunPhase.PREFLIGHT:
            then = approvals_missing(run)
            wanted = f"; then {_people(then)}" if then else ", then training"
            return f"preflight reads base and data, and the gates judge them{wanted}"
        case RunPhase.AWAITING_APPROVAL:
            missing = approvals_missing(run)
            return f"waits for {_people(missing)}: {command(f'approve {called} ' + ' '.join(missing))}"
        case RunPhase.QUEUED:
            return "training begins as soon as its pod runs"
        case RunPhase.TRAINING:
            left = _left(run, now)
            return f"evaluation on {_gold(run)}{f', in about {clock(left)}' if left else ''}"
        case RunPhase.EVALUATING:
            return _asked(run)
    return _rolling_out(run, called, now)


def _rolling_out(run: Raw, called: str, now: datetime) -> str:
    """What the rollout waits for before it goes on."""
    asked, stands, coming = part(run, "spec", "rollout"), part(run, "status", "rollout"), rollout.then(run)
    if stands.get("heldBecause") == "AwaitingApproval":
        return f"waits for a person to promote it: {command(f'promote {called}')}"
    if phase(run) == RunPhase.LOADING:
        return f"{coming}, once the candidate is loaded and read back"
    left = rollout.left(run, now)
    held = f"after {clock(left)} more" if left else ""
    if phase(run) not in (RunPhase.CANARY, RunPhase.BAKING):
        return f"{coming} {held or 'soon'}"
    least = asked.get("minRequests") or 0
    conditions = [f"{least} requests of this step are counted"] if rollout.fewest(run) < least else []
    no_harm = "no stop-loss is breached" if asked.get("promotion") == "NoHarm" else "harm is ruled out by the evidence"
    return f"{coming} {f'{held}, ' if held else ''}once {listed([*conditions, no_harm])}"


def _after(job: Raw | None, called: str, now: datetime) -> str:
    if job is None:
        return "nothing: the job of this run is gone"
    coming = part(job, "status", "nextRun")
    if coming.get("at") or coming.get("reason"):
        at = moment(coming.get("at"))
        reason = coming.get("reason") or ""
        if at is None:  # it says what it waits for
            return f"the next run by itself {reason}"
        when = f"in {age(now, at)}" if at > now else "now"
        return " ".join(filter(None, ("the next run", when, f"({reason})" if reason else "")))
    change = "" if part(job, "spec", "triggers", "onChange") is False else "the spec changes or "
    return f"no run until {change}somebody asks for one: {command(f'retry {called}')}"


def _people(names: list[str]) -> str:
    return f"the approval{'s' if len(names) > 1 else ''} {listed(names)}" if names else "approvals"


def _gold(run: Raw) -> str:
    count = part(run, "status", "resolved", "gold", "examples")
    return f"{count} gold examples" if count else "the gold set"


def _left(run: Raw, now: datetime) -> float | None:
    eta = moment(part(run, "status", "progress", "eta"))
    return (eta - now).total_seconds() if eta and eta > now else None


def _asked(run: Raw) -> str:
    """What the candidate must reach."""
    wanted = part(run, "spec", "evaluation", "acceptance")
    asked = [f"{words} {wanted[key]:g}" for key, words in _ASKED.items() if wanted.get(key) is not None]
    goal = f"promoted with {listed(asked)} by {wanted.get('metric') or 'the deciding metric'}" if asked else "promoted"
    return f"the verdict: {goal}, or rejected"
