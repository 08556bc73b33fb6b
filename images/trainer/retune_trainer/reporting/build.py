"""`report.json`: everything that is known of a run that has ended, as one document. Pure.

`report.html` is made from it and shows nothing that is not in it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from retune_trainer.config import Run, RunConfig
from retune_trainer.reporting import wording
from retune_trainer.reporting.advice import needed, next_steps
from retune_trainer.reporting.gather import Material
from retune_trainer.reporting.plain import storable
from retune_trainer.reporting.shapes import (
    Approval,
    Arms,
    Attempt,
    Comparison,
    Condition,
    Confusions,
    Cost,
    Details,
    Example,
    Gate,
    Identity,
    Look,
    Numbers,
    Point,
    Recovery,
    Rollout,
    Scores,
    Segment,
    Shape,
    Status,
    Trigger,
)

MOST_POINTS = 1000
MOST_SEGMENTS = 1000


class Part(BaseModel):
    """A part of the report: camelCase outside."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class Verdict(Part):
    """How it ended, why in the operator's words, and what to do next."""

    phase: str
    reason: str
    message: str
    next_steps: list[str]


class Limit(Part):
    """A limit of the spec that a gate's number is held against."""

    gate: str
    name: str
    field: str
    rule: str
    value: float


class Needed(Part):
    """What the lower bound of a comparison had to reach."""

    set: str
    against: str
    value: float


class Curve(Part):
    """How it was trained."""

    settings: dict[str, Any]
    curve: list[Point]


class Stage(Part):
    """How long the pods of one stage ran, over all its attempts, in seconds."""

    stage: str
    attempts: int
    seconds: float


class Timings(Part):
    """When it began and ended; what is in no stage was waiting."""

    started_at: str | None
    ended_at: str | None
    seconds: float | None
    stages: list[Stage]


class Stable(Shape):
    """The serving model that the candidate was compared with."""

    run: str | None = None
    digest: str | None = None
    uri: str | None = None


class Lineage(Part):
    """What the model was made from, and by what."""

    base_model: Identity
    train: Identity
    gold: Identity
    prepared: Identity | None
    fresh: Identity | None
    stable: Stable | None
    artifact: Identity | None
    recipe: str | None = Field(description="Digest of what makes the model, as the user wrote it (spec.modelDigest).")
    method: str
    seed: int
    image: str | None
    operator_version: str | None
    versions: dict[str, str]


class Report(Part):
    """The document."""

    api_version: Literal["retune.dev/v1alpha1"] = "retune.dev/v1alpha1"
    kind: Literal["Report"] = "Report"
    run: Run
    verdict: Verdict
    trigger: Trigger
    conditions: list[Condition]
    gates: list[Gate]
    limits: list[Limit]
    approvals: list[Approval]
    measured: dict[str, Numbers]
    measured_notes: dict[str, str]
    preflight: Details | None
    look: Look | None
    bound: str | None
    scores: Scores | None
    comparisons: list[Comparison]
    needed: list[Needed]
    metrics: dict[str, Arms]
    segments: list[Segment]
    segments_tested: int | None
    segments_left_out: int
    max_segment_regression: float | None
    confusion: Confusions
    examples: list[Example]
    rollout: Rollout | None
    recovery: Recovery | None
    training: Curve
    evaluation_notes: list[str]
    attempts: list[Attempt]
    cost: Cost
    payback: Numbers | None
    lineage: Lineage
    timings: Timings
    remarks: list[str]

    def as_json(self) -> bytes:
        """The bytes of `report.json`: strict JSON, and the same for the same run."""
        content = self.model_dump(mode="json", by_alias=True)
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False).encode()


def build(config: RunConfig, material: Material, image: str | None = None) -> Report:
    """The report of a run; what is not known is null or empty."""
    status, preflight, evaluation = material.status, material.preflight, material.evaluation
    comparisons = status.comparisons or (evaluation.comparisons if evaluation else [])
    segments = (evaluation.segments if evaluation else []) or status.segments
    end = _condition(status)
    phase, reason = status.phase or "Unknown", end.reason if end else ""
    attempts = [a for a in status.attempts if a.stage != "Report" or a.ended_at]  # not the one that writes this
    look = status.look
    if look is None and evaluation is not None and evaluation.alpha is not None:
        look = Look(alpha=evaluation.alpha)
    return Report(
        run=config.run,
        verdict=Verdict(
            phase=phase,
            reason=reason,
            message=_message(end, attempts),
            next_steps=next_steps(config, phase, reason, status.gates, comparisons),
        ),
        trigger=status.trigger or Trigger.read(storable(config.raw_spec.get("trigger"))),
        conditions=status.conditions,
        gates=status.gates,
        limits=_limits(config),
        approvals=status.approvals,
        measured=preflight.measured if preflight else {},
        measured_notes=preflight.notes if preflight else {},
        preflight=preflight.details if preflight else None,
        look=look,
        bound=evaluation.bound if evaluation else None,
        scores=status.scores or (evaluation.scores if evaluation else None),
        comparisons=comparisons,
        needed=[
            Needed(set=c.set, against=c.against, value=limit)
            for c in comparisons
            if (limit := needed(config, c, comparisons)) is not None
        ],
        metrics=(evaluation.metrics if evaluation else {}) or status.metrics,
        segments=segments[:MOST_SEGMENTS],
        segments_tested=(evaluation.segments_tested if evaluation else None) or status.segments_tested,
        segments_left_out=max(0, len(segments) - MOST_SEGMENTS),
        max_segment_regression=config.spec.evaluation.max_segment_regression,
        confusion=evaluation.confusion if evaluation else Confusions(),
        examples=evaluation.examples if evaluation else [],
        rollout=status.rollout,
        recovery=status.recovery,
        training=Curve(
            settings=evaluation.training.settings if evaluation else {},
            curve=thinned(evaluation.training.curve if evaluation else [], MOST_POINTS),
        ),
        evaluation_notes=_notes(evaluation.notes if evaluation else None),
        attempts=attempts,
        cost=status.cost,
        payback=next((g.values for g in status.gates if g.name == "payback" and g.values), None),
        lineage=_lineage(config, material, image),
        timings=_timings(status, attempts),
        remarks=list(material.remarks),
    )


_ENDS = {
    "Promoted": (("Safe", "True"), ("Accepted", "True")),
    "Declined": (("GatesPassed", "False"),),
    "Rejected": (("Accepted", "False"),),
    "RolledBack": (("Safe", "False"),),
    "Inconclusive": (("Safe", "Unknown"), ("Accepted", "Unknown")),
}


def _condition(status: Status) -> Condition | None:
    """The condition that says why the run ended: by its phase, else the newest that is False, else the newest."""
    for type_, value in _ENDS.get(status.phase or "", ()):
        for condition in status.conditions:
            if (condition.type, condition.status) == (type_, value):
                return condition
    fallback = [c for c in status.conditions if c.status == "False"] or status.conditions
    return max(fallback, key=lambda c: c.last_transition_time or "", default=None)


def _message(end: Condition | None, attempts: list[Attempt]) -> str:
    if end is not None and end.message:
        return end.message
    told = [a.message for a in attempts if a.message]
    return told[-1] if told else ""


def _limits(config: RunConfig) -> list[Limit]:
    gates = config.raw_spec.get("gates")
    found = []
    for (gate, name), (field, rule) in wording.LIMITS.items():
        value: Any = gates.get(gate) if isinstance(gates, dict) else None
        for part in field.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            found.append(Limit(gate=gate, name=name, field=f"spec.gates.{gate}.{field}", rule=rule, value=value))
    return found


def thinned(points: list[Point], most: int) -> list[Point]:
    """About `most` points at the most, evenly spread, those with a held-out loss apart from the others."""
    if len(points) <= most:
        return points
    held = [i for i, point in enumerate(points) if point.held_out is not None]
    rest = [i for i, point in enumerate(points) if point.held_out is None]
    return [points[i] for i in sorted({*_spread(held, most // 2), *_spread(rest, most // 2)})]


def _spread(indices: list[int], most: int) -> list[int]:
    if len(indices) <= most:
        return indices
    return [indices[round(i * (len(indices) - 1) / (most - 1))] for i in range(most)]


def _notes(notes: object) -> list[str]:
    if isinstance(notes, str):
        return [notes] if notes else []
    if isinstance(notes, dict):
        return [f"{name}: {text}" for name, text in notes.items() if isinstance(text, str)][:20]
    return [text for text in notes if isinstance(text, str)][:20] if isinstance(notes, list) else []


def _lineage(config: RunConfig, material: Material, image: str | None) -> Lineage:
    status, spec, raw = material.status, config.spec, config.raw_spec
    resolved = status.resolved
    prepared = resolved.prepared or (material.preflight.resolved.prepared if material.preflight else None)
    versions = {**(material.preflight.versions if material.preflight else {}), **status.versions}
    stable = raw.get("stable")

    def at(found: Identity | None, uri: str) -> Identity:
        return Identity(uri=uri) if found is None else found.model_copy(update={"uri": found.uri or uri})

    train = at(resolved.train, spec.dataset.train.uri)
    found = material.preflight.resolved.train if material.preflight else None
    if found is not None and found.digest == train.digest:
        train = train.model_copy(update={"corrections": found.corrections})

    def text(name: str) -> str | None:
        value = raw.get(name)
        return str(storable(value)) if isinstance(value, str) and value else None

    return Lineage(
        base_model=at(resolved.base_model, spec.base_model.uri),
        train=train,
        gold=at(resolved.gold, spec.dataset.gold.uri),
        prepared=prepared.train if prepared else None,
        fresh=prepared.fresh if prepared else None,
        stable=Stable.read(storable(stable)) if isinstance(stable, dict) else None,
        artifact=status.artifact,
        recipe=text("modelDigest"),
        method=spec.method.type,
        seed=spec.training.seed,
        image=text("image") or image,
        operator_version=text("operatorVersion"),
        versions=dict(sorted(versions.items())),
    )


def _timings(status: Status, attempts: list[Attempt]) -> Timings:
    spans: defaultdict[str, list[float]] = defaultdict(list)
    for attempt in attempts:
        spans[attempt.stage].append(wording.between(attempt.started_at, attempt.ended_at) or 0.0)
    return Timings(
        started_at=status.started_at,
        ended_at=status.ended_at,
        seconds=wording.between(status.started_at, status.ended_at),
        stages=[Stage(stage=stage, attempts=len(s), seconds=sum(s)) for stage, s in spans.items()],
    )
