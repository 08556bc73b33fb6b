"""What a rollout consists of: shadow, pilot, the canary's steps and the bake, in order, each with its label.

Pure; made from the run's snapshot.
"""

from dataclasses import dataclass

from retune.api import Rollout, RolloutStatus, RunPhase, seconds

BY_HAND, BACK_BY_HAND = "PromotedByHand", "RollbackAsked"  # reasons of ends that people decided on
ROLLOUT_PHASES = frozenset({RunPhase.LOADING, RunPhase.SHADOW, RunPhase.PILOT, RunPhase.CANARY, RunPhase.BAKING})


@dataclass(frozen=True)
class Stage:
    """One stage after the loading.

    Attributes:
        name: as the stratum ends: shadow, pilot, 0, 1, … or bake.
        weight: the candidate's share, percent; `hold`: seconds that it lasts at least.
        stratum: what the taps count under meanwhile: `<run's number>:<name>`.
    """

    name: str
    phase: RunPhase
    weight: int
    hold: int
    stratum: str
    step: int | None = None


def stages(rollout: Rollout, number: int) -> tuple[Stage, ...]:
    """The stages of run `number`; what the user did not ask for is left out."""
    found: list[Stage] = []
    if rollout.shadow is not None:
        found.append(Stage("shadow", RunPhase.SHADOW, 0, seconds(rollout.shadow.duration), f"{number}:shadow"))
    if rollout.pilot is not None:
        found.append(Stage("pilot", RunPhase.PILOT, 0, seconds(rollout.pilot.hold), f"{number}:pilot"))
    for k, step in enumerate(rollout.steps):
        found.append(Stage(str(k), RunPhase.CANARY, step.weight, seconds(step.hold), f"{number}:{k}", k))
    if seconds(rollout.bake) > 0:
        bake = Stage("bake", RunPhase.BAKING, rollout.bake_weight, seconds(rollout.bake), f"{number}:bake")
        found.append(bake)
    return tuple(found)


def current(all_: tuple[Stage, ...], status: RolloutStatus) -> Stage | None:
    """The stage that the status names; None: it loads."""
    step = status.step if status.stage is RunPhase.CANARY else None
    return next((s for s in all_ if (s.phase, s.step) == (status.stage, step)), None)


def after(all_: tuple[Stage, ...], stage: Stage) -> Stage | None:
    """The stage that comes next; None: promotion does."""
    place = all_.index(stage)
    return all_[place + 1] if place + 1 < len(all_) else None


def first_step(all_: tuple[Stage, ...]) -> Stage:
    """The canary's first step: the least that is given to the candidate of everybody's requests."""
    return next(s for s in all_ if s.phase is RunPhase.CANARY)
