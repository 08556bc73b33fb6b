"""What is told of a run, the same for every place that tracks it: parameters, numbers, lineage, data. Pure.

Names are made of letters, digits, dots and dashes, which is what all of these places take for a key.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal, InvalidOperation

from pydantic import BaseModel, ConfigDict

from retune_trainer.config import RunConfig
from retune_trainer.reporting.build import Lineage, Report
from retune_trainer.reporting.plain import cut

LONGEST = 1000  # characters of a value; MLflow takes 5,000 of a tag, and nobody reads them
PREFIX = "retune.dev/"
PROMOTED = "Promoted"
Scalar = str | bool | int | float


class Told(BaseModel):
    """A part of what is told."""

    model_config = ConfigDict(frozen=True)


class Point(Told):
    """Numbers at one step of training."""

    step: int
    metrics: dict[str, float]


class Input(Told):
    """A data set, and what it was used for."""

    name: str
    context: str
    uri: str
    digest: str
    examples: int | None = None


class Version(Told):
    """The model that a promoted run made. `before`: digest of the one that served until then."""

    name: str
    uri: str
    digest: str
    before: str | None


class Content(Told):
    """All of it. Times are milliseconds since 1970."""

    name: str
    uid: str
    number: int
    job: str
    job_uid: str
    phase: str
    summary: str
    started: int | None
    ended: int | None
    params: dict[str, Scalar]
    metrics: dict[str, float]
    curve: list[Point]
    tags: dict[str, str]
    inputs: list[Input]
    version: Version | None


def content(config: RunConfig, report: Report, uri: str) -> Content:
    """What is told of the run that `report` is about; `uri` is its place."""
    lineage, job = report.lineage, f"{config.run.namespace}.{config.run.job}"
    stable = lineage.stable.digest if lineage.stable else None
    promoted = report.verdict.phase == PROMOTED and lineage.artifact is not None
    artifact = lineage.artifact
    reference = config.raw_spec.get("jobRef")
    return Content(
        name=config.run.name,
        uid=config.run.uid,
        number=config.run.number,
        job=job,
        job_uid=str(reference.get("uid") or "") if isinstance(reference, dict) else "",
        phase=report.verdict.phase,
        summary=cut(f"{report.verdict.phase}: {report.verdict.message}", LONGEST),
        started=_milliseconds(report.timings.started_at),
        ended=_milliseconds(report.timings.ended_at),
        params=_params(config, lineage),
        metrics=_metrics(report),
        curve=_curve(report),
        tags=_tags(config, report, uri),
        inputs=_inputs(lineage),
        version=Version(name=job, uri=artifact.uri, digest=artifact.digest, before=stable)
        if promoted and artifact and artifact.uri and artifact.digest
        else None,
    )


def _milliseconds(time: str | None) -> int | None:
    try:
        return int(datetime.fromisoformat(time).timestamp() * 1000) if time else None
    except ValueError:
        return None


def _params(config: RunConfig, lineage: Lineage) -> dict[str, Scalar]:
    spec, training = config.spec, config.spec.training
    found: dict[str, Scalar | None] = {
        "method": spec.method.type,
        **training.model_dump(
            by_alias=True,
            include={"epochs", "max_steps", "learning_rate", "batch_tokens", "max_length", "packing", "seed"},
        ),
        "metric": spec.evaluation.acceptance.metric,
        "baseModel": lineage.base_model.uri,
        "baseModelDigest": lineage.base_model.digest,
        "trainDigest": lineage.train.digest,
        "trainExamples": (lineage.prepared or lineage.train).examples,
        "goldDigest": lineage.gold.digest,
        "goldExamples": lineage.gold.examples,
        "image": lineage.image,
    }
    if spec.method.type != "Full":
        lora = spec.method.lora
        found |= {"rank": lora.rank, "alpha": lora.alpha, "dropout": lora.dropout}
        found["targetModules"] = ",".join(lora.target_modules)
    return {name: _short(value) for name, value in found.items() if value is not None}


def _short(value: Scalar) -> Scalar:
    return cut(value, LONGEST) if isinstance(value, str) else value


def _metrics(report: Report) -> dict[str, float]:
    found: dict[str, float | None] = {}
    if report.scores is not None:
        scores = report.scores
        found |= {f"score.{arm}": getattr(scores, arm) for arm in ("base", "stable", "candidate")}
        lower, upper = scores.interval or (None, None)
        found |= {"uplift": scores.uplift, "uplift.lower": lower, "uplift.upper": upper, "gold.n": scores.n}
    for name, arms in report.metrics.items():
        found |= {f"{name}.{arm}": getattr(arms, arm) for arm in ("base", "stable", "candidate")}
    for each in report.comparisons:
        key = f"{each.set}.{each.against}"
        found |= {f"{key}.{name}": getattr(each, name) for name in ("uplift", "lower", "upper", "n")}
    found |= {
        "cost": _amount(report.cost.amount),
        "gpuSeconds": report.cost.gpu_seconds,
        "cpuSeconds": report.cost.cpu_seconds,
        "seconds": report.timings.seconds,
    }
    if report.recovery is not None:
        found |= {"recovery.seconds": report.recovery.seconds, "recovery.interventions": report.recovery.interventions}
        found["recovery.cost"] = _amount(report.recovery.cost)
    for when in ("before", "after") if report.rollout else ():
        figures = getattr(report.rollout, when)
        if figures is not None:
            found |= {f"rollout.{when}.p95Seconds": figures.p95_seconds}
            found |= {f"rollout.{when}.costPer1k": _amount(figures.cost_per_1k)}
    for limit in report.rollout.evidence if report.rollout else []:
        counts = limit.model_dump(by_alias=True, exclude={"name", "state"})
        found |= {f"rollout.{limit.name}.{key}": value for key, value in counts.items()}
    return {_key(name): float(value) for name, value in found.items() if value is not None}


def _amount(text: str | None) -> float | None:
    try:
        return float(Decimal(text)) if text else None
    except InvalidOperation:
        return None


def _key(name: str) -> str:
    return re.sub(r"[^\w.-]", "_", name, flags=re.ASCII)[:250]


def _curve(report: Report) -> list[Point]:
    points = []
    for point in sorted((p for p in report.training.curve if p.step is not None), key=lambda p: p.step or 0):
        numbers = {"loss": point.loss, "heldOutLoss": point.held_out}
        metrics = {name: value for name, value in numbers.items() if value is not None}
        if metrics:
            points.append(Point(step=point.step or 0, metrics=metrics))
    return points


def _tags(config: RunConfig, report: Report, uri: str) -> dict[str, str]:
    run, lineage, trigger = config.run, report.lineage, report.trigger
    found = {
        "run-uid": run.uid,
        "run": run.name,
        "run-number": str(run.number),
        "namespace": run.namespace,
        "job": run.job,
        "verdict": report.verdict.phase,
        "reason": report.verdict.reason,
        "trigger": trigger.kind,
        "trigger-name": trigger.name,
        "recipe": lineage.recipe,
        "base-model-digest": lineage.base_model.digest,
        "train-digest": lineage.train.digest,
        "gold-digest": lineage.gold.digest,
        "stable-run": lineage.stable.run if lineage.stable else None,
        "stable-digest": lineage.stable.digest if lineage.stable else None,
        "artifact": lineage.artifact.uri if lineage.artifact else None,
        "artifact-digest": lineage.artifact.digest if lineage.artifact else None,
        "report": uri,
        "currency": report.cost.currency,
        "operator-version": lineage.operator_version,
        "versions": " ".join(f"{name}={version}" for name, version in lineage.versions.items()),
    }
    return {f"{PREFIX}{name}": cut(value, LONGEST) for name, value in found.items() if value}


def _inputs(lineage: Lineage) -> list[Input]:
    sets = (
        ("train", "training", lineage.train),
        ("prepared", "training", lineage.prepared),
        ("gold", "evaluation", lineage.gold),
        ("fresh", "evaluation", lineage.fresh),
    )
    return [
        Input(name=name, context=context, uri=one.uri or one.path or "", digest=one.digest, examples=one.examples)
        for name, context, one in sets
        if one is not None and one.digest
    ]
