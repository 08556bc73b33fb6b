"""From what a user wants (FineTuneJob.spec) to what a run is made of (FineTuneRun.spec): all resolved, once."""

from decimal import Decimal

from retune.api import (
    BaseModelSnapshot,
    FineTuneJobSpec,
    FineTuneRunSpec,
    JobRef,
    Metric,
    MetricName,
    Prices,
    Rollout,
    StableSnapshot,
    Store,
    Trigger,
)
from retune.decide.digest import model_digest
from retune.decide.facts import JobFacts


class Unresolvable(ValueError):  # noqa: N818 - a state of the spec, not a failure of ours
    """The spec lacks what neither the user nor the administrator gave; the text names the field and the cure."""


def snapshot(facts: JobFacts, spec: FineTuneJobSpec, trigger: Trigger, number: int) -> FineTuneRunSpec:
    """The spec of run `number`.

    Raises:
        Unresolvable: no place for artifacts is known.
    """
    policy = facts.policy
    artifacts = spec.artifacts
    if artifacts is None:
        if not policy.artifacts_uri:
            raise Unresolvable(
                "spec.artifacts.uri is not set, and this operator has no default place for artifacts. "
                "Set it to s3://bucket/prefix or pvc://claim/path."
            )
        artifacts = Store(uri=policy.artifacts_uri)
    spec = resolved(spec)
    return FineTuneRunSpec(
        job_ref=JobRef(name=facts.meta.name, uid=facts.meta.uid),
        number=number,
        trigger=trigger,
        base_model=BaseModelSnapshot(
            uri=spec.base_model.uri, secret_ref=spec.base_model.secret_ref, digest=_known_digest(facts, spec)
        ),
        dataset=spec.dataset,
        gates=spec.gates,
        method=spec.method,
        training=spec.training,
        evaluation=spec.evaluation,
        artifacts=artifacts,
        budget=spec.budget,
        serving=spec.serving,
        rollout=spec.rollout or (Rollout() if spec.serving is not None else None),
        tracking=spec.tracking,
        stable=_stable(facts),
        prices=_prices(facts, spec),
        image=spec.training.image or policy.trainer_image,
        model_digest=model_digest(spec),
        operator_version=policy.operator_version,
    )


def resolved(spec: FineTuneJobSpec) -> FineTuneJobSpec:
    """`spec` with the defaults filled in that depend on other fields: metrics, and packing."""
    acceptance, training = spec.evaluation.acceptance, spec.training
    if acceptance.metric is None:
        metric = MetricName.TOP1 if spec.dataset.format == "Classification" else MetricName.TOKEN_F1
        if spec.evaluation.metrics:
            metric = spec.evaluation.metrics[0].name
        acceptance = acceptance.model_copy(update={"metric": metric})
    metrics = spec.evaluation.metrics or (Metric(name=acceptance.metric or MetricName.TOKEN_F1),)
    if training.packing is None:
        training = training.model_copy(update={"packing": training.gpus_per_node > 0})
    evaluation = spec.evaluation.model_copy(update={"acceptance": acceptance, "metrics": metrics})
    return spec.model_copy(update={"evaluation": evaluation, "training": training})


def _stable(facts: JobFacts) -> StableSnapshot | None:
    stable = facts.status.stable
    if stable is None or stable.uri is None:
        return None
    return StableSnapshot(run=stable.run, digest=stable.digest, uri=stable.uri)


def _known_digest(facts: JobFacts, spec: FineTuneJobSpec) -> str | None:
    """The base's identity, resolved once per change of the field: a retraining never moves to another base unseen."""
    known = facts.status.base_model
    return known.digest if known is not None and known.uri == spec.base_model.uri else None


def _prices(facts: JobFacts, spec: FineTuneJobSpec) -> Prices:
    """The job's GPU price, but never below the administrator's price list (which holds in its own currency only)."""
    policy, budget = facts.policy, spec.budget
    currency = (budget.currency if budget else None) or policy.currency
    listed = (policy.gpu_hour_price, policy.cpu_hour_price) if currency == policy.currency else ("0", "0")
    asked = str((budget.gpu_hour_price if budget else None) or "0")
    return Prices(currency=currency, gpu_hour=max(asked, listed[0], key=Decimal), cpu_hour=listed[1])
