"""The one table of what the API accepts and this version does not act on yet, and what happens instead.

Pure. `docs/fields.md` is made from it (`python -m retune.api.implemented` prints the list), and a job's condition
`Supported` says the same of that job. The table shrinks; when it is empty this file goes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

from retune.api.evaluation import MetricName
from retune.api.gates import Gate, GateMode
from retune.api.job import FineTuneJobSpec
from retune.api.method import MethodType
from retune.api.triggers import DriftBuiltin, Triggers

IMPLEMENTED_METRICS = frozenset({MetricName.EXACT_MATCH, MetricName.TOKEN_F1, MetricName.TOP1})


@dataclass(frozen=True)
class Gap:
    """A field that is accepted but not acted on: where it stands, what happens, and whether a given job asks for it.

    `cure` stands on what would silently make another model than the one asked for: such a job is Invalid instead,
    and the cure is what its author can do.
    """

    path: str
    happens: str
    asked: Callable[[FineTuneJobSpec], bool]
    cure: str = ""


def _on(gate: Gate | None) -> bool:
    return gate is not None and gate.mode is not GateMode.OFF


def _automatic(triggers: Triggers) -> bool:
    return bool(triggers.schedule or triggers.new_examples or triggers.drift)


GAPS: tuple[Gap, ...] = (
    # What makes another model than the one asked for, or one that nobody has allowed.
    Gap(
        "spec.method.type",
        "only LoRA is trained; a job with QLoRA or Full is Invalid",
        lambda spec: spec.method.type is not MethodType.LORA,
        cure="set it to LoRA",
    ),
    Gap(
        "spec.dataset.holdOut",
        "nothing is kept out of training; a job with it is Invalid",
        lambda spec: spec.dataset.hold_out is not None,
        cure="remove it",
    ),
    Gap(
        "spec.gates.privacy.redact",
        "nothing is scrubbed; a job with redact: true is Invalid",
        lambda spec: spec.gates.privacy.redact and _on(spec.gates.privacy),
        cure="scrub the training set and set it to false",
    ),
    Gap(
        "spec.gates.approvals",
        "nobody is waited for; a job that requires sign-offs is Invalid",
        lambda spec: _on(spec.gates.approvals),
        cure="have them signed elsewhere and set its mode to Off",
    ),
    Gap(
        "spec.evaluation.acceptance.metric",
        "ExactMatch, TokenF1 and Top1 can decide; a job with another one is Invalid",
        lambda spec: spec.evaluation.acceptance.metric not in {None, *IMPLEMENTED_METRICS},
        cure="choose one of these",
    ),
    # The data set.
    Gap(
        "spec.dataset.weightField",
        "every example counts the same",
        lambda spec: spec.dataset.weight_field is not None,
    ),
    Gap(
        "spec.dataset.annotatorsField",
        "agreement is not measured",
        lambda spec: spec.dataset.annotators_field is not None,
    ),
    Gap(
        "spec.dataset.timeField",
        "the age of examples is not looked at",
        lambda spec: spec.dataset.time_field is not None,
    ),
    # Gates: also where only their defaults stand, for the defaults promise something.
    Gap("spec.gates.data", "the data is read and parsed, not judged", lambda spec: _on(spec.gates.data)),
    Gap("spec.gates.leakage", "training and gold set are not compared", lambda spec: _on(spec.gates.leakage)),
    Gap("spec.gates.privacy", "personal data is not looked for", lambda spec: _on(spec.gates.privacy)),
    Gap(
        "spec.gates.baseline",
        "no prompted model is asked",
        lambda spec: spec.gates.baseline.endpoint is not None and _on(spec.gates.baseline),
    ),
    Gap("spec.gates.payback", "payback is not computed", lambda spec: _on(spec.gates.payback)),
    # Training.
    Gap("spec.training.nodes", "one node trains", lambda spec: spec.training.nodes > 1),
    Gap("spec.training.queueName", "the Job waits in no queue", lambda spec: spec.training.queue_name is not None),
    # Evaluation.
    Gap(
        "spec.evaluation.metrics",
        "ExactMatch, TokenF1 and Top1 are measured, others are left out",
        lambda spec: any(metric.name not in IMPLEMENTED_METRICS for metric in spec.evaluation.metrics),
    ),
    Gap(
        "spec.evaluation.acceptance.maxRegression",
        "the candidate is compared with the base model only",
        lambda spec: spec.evaluation.acceptance.max_regression < 1,
    ),
    Gap(
        "spec.evaluation.acceptance.confidence",
        "the measured scores decide, without a confidence bound",
        lambda _: True,
    ),
    Gap(
        "spec.evaluation.maxSegmentRegression",
        "segments are measured and do not decide",
        lambda spec: spec.evaluation.max_segment_regression is not None,
    ),
    Gap("spec.evaluation.guard", "general ability is not tested", lambda spec: spec.evaluation.guard is not None),
    # Money.
    Gap(
        "spec.budget.total",
        "cost is counted, nothing is held back",
        lambda spec: spec.budget is not None and spec.budget.total is not None,
    ),
    Gap(
        "spec.budget.perRun",
        "cost is counted, nothing is held back",
        lambda spec: spec.budget is not None and spec.budget.per_run is not None,
    ),
    Gap(
        "spec.budget.milestones",
        "cost is counted, nothing is held back",
        lambda spec: spec.budget is not None and bool(spec.budget.milestones),
    ),
    Gap(
        "spec.budget.endsAt",
        "runs start after it, too",
        lambda spec: spec.budget is not None and spec.budget.ends_at is not None,
    ),
    # Triggers.
    Gap("spec.triggers.schedule", "no run starts by the calendar", lambda spec: spec.triggers.schedule is not None),
    Gap(
        "spec.triggers.newExamples",
        "new examples are not counted",
        lambda spec: spec.triggers.new_examples is not None,
    ),
    Gap("spec.triggers.drift", "drift is not measured", lambda spec: bool(spec.triggers.drift)),
    Gap(
        "spec.triggers.reference",
        "production prompts are not kept",
        lambda spec: any(trigger.builtin is DriftBuiltin.PROMPT_DRIFT for trigger in spec.triggers.drift),
    ),
    Gap(
        "spec.triggers.probe",
        "the serving model is not asked",
        lambda spec: any(trigger.builtin is DriftBuiltin.QUALITY_DROP for trigger in spec.triggers.drift),
    ),
    Gap("spec.triggers.cooldown", "there are no automatic runs to hold apart", lambda spec: _automatic(spec.triggers)),
    Gap(
        "spec.triggers.maxRunsPerMonth",
        "runs are not counted",
        lambda spec: spec.triggers.max_runs_per_month is not None,
    ),
    Gap("spec.triggers.haltAfterFruitlessRuns", "fruitless runs do not halt the job", lambda _: True),
    # After training.
    Gap("spec.serving", "the model is trained and published, not served", lambda spec: spec.serving is not None),
    Gap("spec.rollout", "there is no canary, as nothing is served", lambda spec: spec.rollout is not None),
    Gap("spec.notifications", "nobody is told", lambda spec: bool(spec.notifications)),
    Gap("spec.tracking", "experiments are not tracked", lambda spec: spec.tracking is not None),
    Gap("spec.deletionPolicy", "nothing serves that could be kept", lambda spec: spec.serving is not None),
)
"""Every gap, in the order of the spec within its subject."""


def not_implemented(spec: FineTuneJobSpec) -> list[str]:
    """Paths in `spec` that promise what this version does not do, those that `refused` names among them."""
    return [gap.path for gap in GAPS if gap.asked(spec)]


def refused(spec: FineTuneJobSpec) -> list[str]:
    """Sentences on what in `spec` would make another model than the one asked for; with any, the job is Invalid."""
    return [f"{gap.path}: in this version {gap.happens}; {gap.cure}." for gap in GAPS if gap.cure and gap.asked(spec)]


def table() -> str:
    """Write the gaps as a Markdown table."""
    rows = [f"| `{gap.path.removeprefix('spec.')}` | {gap.happens} |" for gap in GAPS]
    return "\n".join(["| field under `spec` | what happens in this version |", "|---|---|", *rows]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(table())
