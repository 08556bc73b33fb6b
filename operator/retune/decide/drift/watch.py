"""The one door to drift: what has come since the last look, and what each trigger says of it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from retune.api import seconds
from retune.api.job import DriftState, DriftStatus
from retune.api.triggers import DriftBuiltin, DriftReference, DriftTrigger
from retune.decide.drift import clocks, prompts, psi, quality
from retune.decide.drift.clocks import Clock, Reading
from retune.decide.drift.evidence import DriftEvidence, QueryReading
from retune.decide.drift.memory import Memory, dump, load

__all__ = ["Memory", "Watched", "cursors", "dump", "load", "watch"]

LONGEST = 1024  # characters of a message
STALE = 300.0  # s after which a sample of Prometheus says nothing
DRIFTED = (DriftState.BREACHED, DriftState.FIRING)


@dataclass(frozen=True, eq=False)
class Watched:
    """Where each trigger stands, in their order, and what to keep."""

    statuses: tuple[DriftStatus, ...]
    memory: Memory


def cursors(memory: Memory | None) -> dict[str, int]:
    """By pod uid, the last row known: what a tap is asked for is what comes after it."""
    if memory is None or memory.prompts is None:
        return {}
    return {pod: told[0] for pod, told in memory.prompts.cursors.items()}


def watch(
    triggers: Sequence[DriftTrigger],
    reference: DriftReference,
    evidence: DriftEvidence,
    memory: Memory | None,
    now: datetime,
) -> Watched:
    """One look at a job's drift.

    Args:
        triggers: `spec.triggers.drift`.
        reference: `spec.triggers.reference`.
        evidence: what has come; anything known may be in it again.
        memory: of the last look; None: there was none, or it could not be read (`load`). Then all is unknown, and the
            reference is collected anew.
        now: a clock that goes back counts as standing still.
    """
    at = now.timestamp()
    known = memory if memory is not None else Memory(at=at)
    at = max(at, known.at)
    by = {builtin: [t for t in triggers if t.builtin == builtin] for builtin in DriftBuiltin}
    known = _prepared(known, triggers, reference, at)
    known = _served(known, triggers, evidence, at)
    served_since = evidence.served.since.timestamp() if evidence.served and evidence.served.since else 0.0
    base = max((t.min_samples or quality.FEWEST_RATED for t in by[DriftBuiltin.QUALITY_DROP]), default=0)
    known = replace(
        known,
        quality=quality.learn(
            known.quality,
            evidence.probe,
            evidence.rated if by[DriftBuiltin.QUALITY_DROP] else None,
            evidence.overrides if by[DriftBuiltin.OVERRIDE_RATE] else None,
            since=served_since,
            base=base,
            now=at,
        ),
    )
    if known.prompts is not None:
        size = max([psi.BLOCK, *(-(-(t.min_samples or 0) // psi.BLOCKS) for t in by[DriftBuiltin.PROMPT_DRIFT])])
        kept = prompts.learn(
            known.prompts,
            evidence.rows,
            evidence.version,
            fewest=reference.min_samples,
            size=size,
            last=known.at,
            now=at,
        )
        known = replace(known, prompts=kept)
    found: dict[str, Clock] = {}
    statuses: list[DriftStatus] = []
    for trigger in triggers:
        reading = _reading(trigger, reference, evidence, known, base=base, at=at)
        clock = clocks.advance(known.clocks.get(trigger.name, Clock()), reading, seconds(trigger.for_), at)
        found[trigger.name] = clock
        statuses.append(_status(trigger, clock, reading))
    return Watched(tuple(statuses), replace(known, at=at, clocks=found, drifted=_drifted(known, triggers, found)))


def _prepared(known: Memory, triggers: Sequence[DriftTrigger], reference: DriftReference, at: float) -> Memory:
    """What is known of prompts, where a trigger asks for it; another window needs another reference."""
    if not any(trigger.builtin == DriftBuiltin.PROMPT_DRIFT for trigger in triggers):
        return replace(known, prompts=None, drifted=None)
    new = prompts.begin(float(seconds(reference.window)), at)
    if known.prompts is None:
        return replace(known, prompts=new)
    if new.window != known.prompts.window:
        same = replace(new, version=known.prompts.version, cursors=known.prompts.cursors, heard=known.prompts.heard)
        return replace(known, prompts=same, drifted=None)
    return known


def _served(known: Memory, triggers: Sequence[DriftTrigger], evidence: DriftEvidence, at: float) -> Memory:
    """What is not the same any more when another model serves: all but the user's own queries."""
    serves = f"{evidence.served.run}/{evidence.served.digest}" if evidence.served is not None else ""
    if serves == known.served:
        return known
    queried = {trigger.name for trigger in triggers if trigger.query is not None}
    own = known.prompts
    if own is not None:
        own = prompts.promoted(own, known.drifted, first=not known.served, now=at)
    return replace(
        known,
        served=serves,
        prompts=own,
        quality=quality.restarted(known.quality),
        drifted=None,
        clocks={name: clock for name, clock in known.clocks.items() if name in queried},
    )


def _reading(
    trigger: DriftTrigger,
    reference: DriftReference,
    evidence: DriftEvidence,
    known: Memory,
    *,
    base: int,
    at: float,
) -> Reading:
    if trigger.builtin == DriftBuiltin.PROMPT_DRIFT and known.prompts is not None:
        if not known.served:
            return Reading(None, message="no model serves that prompts could be measured for", anew=True)
        fewest = reference.min_samples
        return prompts.reading(known.prompts, trigger.threshold, trigger.min_samples, fewest=fewest, now=at)
    if trigger.builtin == DriftBuiltin.QUALITY_DROP:
        return quality.drop(
            known.quality,
            trigger.threshold,
            trigger.min_samples,
            evidence.accuracy_at_promotion,
            base=base,
            every=evidence.probe_every,
            now=at,
        )
    if trigger.builtin == DriftBuiltin.OVERRIDE_RATE:
        return quality.overridden(known.quality, trigger.threshold, trigger.min_samples, at)
    return _queried(trigger, evidence.queries.get(trigger.name), at)


def _queried(trigger: DriftTrigger, said: QueryReading | None, at: float) -> Reading:
    if said is None:
        return Reading(None, message="Prometheus has not answered yet")
    if said.error:
        return Reading(None, message=said.error)
    if said.value is None:
        return Reading(None, message="the query has no sample")
    if not math.isfinite(said.value):
        return Reading(None, message=f"the query's value is {said.value}, not a number")
    if at - said.at > STALE:
        return Reading(None, message=f"the query's newest sample is {at - said.at:.0f} s old")
    return Reading(said.value > trigger.threshold, said.value)


def _drifted(known: Memory, triggers: Sequence[DriftTrigger], found: Mapping[str, Clock]) -> float | None:
    """Since when prompts are unlike the reference, as far as is known."""
    own = [found[t.name] for t in triggers if t.builtin == DriftBuiltin.PROMPT_DRIFT]
    since = [clock.since for clock in own if clock.state in DRIFTED and clock.since is not None]
    if since:
        return min([*since, *([known.drifted] if known.drifted is not None else [])])
    return None if any(clock.state == DriftState.OK for clock in own) else known.drifted


def _status(trigger: DriftTrigger, clock: Clock, reading: Reading) -> DriftStatus:
    shown = reading if reading.beyond is not None or clock.state == DriftState.UNKNOWN else clock.last
    value = shown.value if shown.value is not None and math.isfinite(shown.value) else None
    return DriftStatus(
        name=trigger.name,
        value=value,
        threshold=trigger.threshold,
        breached_since=None if clock.since is None else datetime.fromtimestamp(clock.since, UTC),
        samples=shown.samples,
        state=clock.state,
        e_value=shown.e_value,
        message=reading.message[:LONGEST],
    )
