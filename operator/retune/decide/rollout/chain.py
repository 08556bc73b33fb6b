"""One step of a rollout: an ordered chain of small rules over a `Course`, then the arms, the words and the note.

The stop-loss comes first, with no precondition on anything else. Pure.
"""

from collections.abc import Callable

from retune.api import RolloutStatus, RunPhase
from retune.decide.draft import RunDraft
from retune.decide.rollout.course import Course, course
from retune.decide.rollout.exposure import count
from retune.decide.rollout.harm import asked_back, cancelled, gone, harmed, shadow_failed
from retune.decide.rollout.neighbour import aside, interfered
from retune.decide.rollout.progress import loading, onwards, promoted_by_hand, verified
from retune.decide.rollout.stages import ROLLOUT_PHASES
from retune.decide.rollout.telling import keep, tell
from retune.decide.rollout.traffic import carry, ended
from retune.decide.rollout.waits import blinded, exposed, paused, suspended, timed_out, unhealthy


def begin_rollout(draft: RunDraft) -> None:
    """The run is accepted and is to serve. What its taps say is only read from the next look on."""
    at = draft.facts.now
    draft.set(phase=RunPhase.LOADING, rollout=RolloutStatus(stage=RunPhase.LOADING, since=at, started_at=at))
    draft.condition("Loaded", "Unknown", "Loading", "The candidate is being loaded beside the model that serves.")
    draft.condition("Safe", "Unknown", "NotExposed", "No user has met the candidate yet.")
    draft.again_in(0.05)


def rolled_out(draft: RunDraft) -> bool:
    """A run in a rollout phase: everything about it is decided here, a person's wishes included."""
    if draft.status.phase not in ROLLOUT_PHASES:
        return False
    on = course(draft)
    if on is None:  # no snapshot of ours leads here
        draft.condition("Loaded", "False", "NothingToServe", "The run's snapshot has no serving, or no model.")
        draft.end(RunPhase.INCONCLUSIVE)
        return True
    on.look()
    if on.stage is not None:
        count(on)
    for rule in RULES:
        if rule(on):
            break
    if on.status.intent is not None:
        ended(on)
    if draft.status.phase in ROLLOUT_PHASES:
        carry(on)
    tell(on)
    if draft.status.phase in ROLLOUT_PHASES:
        keep(on)
    return True


def decided(on: Course) -> bool:
    """How it ends is decided: nothing else matters any more."""
    return on.status.intent is not None


RULES: tuple[Callable[[Course], bool], ...] = (
    harmed,
    asked_back,
    cancelled,
    decided,
    suspended,
    gone,
    shadow_failed,
    interfered,
    exposed,
    blinded,
    paused,
    timed_out,
    loading,
    aside,
    promoted_by_hand,
    verified,
    unhealthy,
    onwards,
)
