"""What is not implemented is said, in the docs and of each job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from retune.api import GAPS, FineTuneJobSpec, crds, not_implemented, refused
from retune.api.implemented import table

CHECKOUT = Path(__file__).resolve().parents[3]
SPEC = {
    "baseModel": {"uri": "s3://models/base"},
    "dataset": {"train": {"uri": "s3://data/train"}, "gold": {"uri": "s3://data/gold"}},
}
PROMISED_BY_DEFAULTS = [
    "spec.gates.data",
    "spec.gates.leakage",
    "spec.gates.privacy",
    "spec.evaluation.acceptance.maxRegression",
    "spec.evaluation.acceptance.confidence",
    "spec.triggers.haltAfterFruitlessRuns",
]


def job(**parts: Any) -> FineTuneJobSpec:
    return FineTuneJobSpec.model_validate(SPEC | parts)


def full() -> FineTuneJobSpec:
    text = (CHECKOUT / "examples/full.yaml").read_text()
    return FineTuneJobSpec.model_validate(yaml.safe_load(text.replace(" on:", ' "on":'))["spec"])


def test_the_docs_hold_the_list() -> None:
    """Put what `python -m retune.api.implemented` prints between the markers when this fails."""
    text = (CHECKOUT / "docs/fields.md").read_text()
    begin, rest = text.split("<!-- begin: made by `python -m retune.api.implemented` -->\n")
    assert rest.split("<!-- end -->")[0] == table()
    assert "Supported" in begin


def test_every_path_is_a_field() -> None:
    for gap in GAPS:
        node = crds.finetunejobs()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for name in gap.path.split("."):
            node = node["properties"][name]
    assert len({gap.path for gap in GAPS}) == len(GAPS)


def test_a_job_of_implemented_fields_is_told_of_its_defaults_only() -> None:
    spec = job(
        suspend=True,
        training={"epochs": 1, "gpusPerNode": 0, "timeout": "1h", "maxRetries": 1},
        evaluation={"metrics": [{"name": "Top1"}], "acceptance": {"metric": "Top1", "minimum": 0.5, "minUplift": 0.1}},
        budget={"gpuHourPrice": "3.20", "currency": "EUR"},
        artifacts={"uri": "s3://models/out"},
    )
    assert not_implemented(spec) == PROMISED_BY_DEFAULTS
    assert refused(spec) == []


def test_a_gate_that_is_off_promises_nothing() -> None:
    off = {"mode": "Off"}
    spec = job(gates={"data": off, "leakage": off, "privacy": off})
    assert not any(path.startswith("spec.gates") for path in not_implemented(spec))


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("spec.serving", {"serving": {}}),
        ("spec.deletionPolicy", {"serving": {}}),
        ("spec.rollout", {"serving": {}, "rollout": {}}),
        ("spec.training.nodes", {"training": {"epochs": 1, "nodes": 2}}),
        ("spec.training.queueName", {"training": {"epochs": 1, "queueName": "team"}}),
        ("spec.budget.total", {"budget": {"total": 600}}),
        ("spec.budget.endsAt", {"budget": {"endsAt": "2027-06-30T00:00:00Z"}}),
        ("spec.triggers.cooldown", {"triggers": {"schedule": {"cron": "0 3 * * 1"}}}),
        ("spec.triggers.probe", {"triggers": {"drift": [{"name": "q", "builtin": "QualityDrop", "threshold": 1}]}}),
        ("spec.evaluation.metrics", {"evaluation": {"metrics": [{"name": "Perplexity"}]}}),
        ("spec.evaluation.guard", {"evaluation": {"guard": {"uri": "s3://data/guard"}}}),
        ("spec.tracking", {"tracking": {"wandb": {"project": "x"}}}),
    ],
)
def test_what_a_job_sets_is_said(path: str, parts: dict[str, Any]) -> None:
    spec = job(**parts)
    assert path in not_implemented(spec)
    assert path not in not_implemented(job())
    assert refused(spec) == []


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("spec.method.type", {"method": {"type": "QLoRA"}}),
        ("spec.method.type", {"method": {"type": "Full"}}),
        ("spec.dataset.holdOut", {"dataset": SPEC["dataset"] | {"timeField": "t", "holdOut": {}}}),
        ("spec.gates.privacy.redact", {"gates": {"privacy": {"redact": True}}}),
        ("spec.gates.approvals", {"gates": {"approvals": {"required": [{"name": "legal"}]}}}),
        ("spec.evaluation.acceptance.metric", {"evaluation": {"acceptance": {"metric": "Perplexity"}}}),
    ],
)
def test_what_would_make_another_model_or_one_nobody_allowed_is_refused(path: str, parts: dict[str, Any]) -> None:
    (sentence,) = refused(job(**parts))
    assert sentence.startswith(f"{path}: in this version ")
    assert sentence.endswith(".")
    assert path in not_implemented(job(**parts))


def test_everything_that_full_sets_is_said() -> None:
    said = set(not_implemented(full()))
    # Of alternatives, full.yaml sets one; these are the others.
    others = {
        "spec.method.type",
        "spec.evaluation.acceptance.metric",
        "spec.training.nodes",
        "spec.triggers.probe",
    }
    assert said == {gap.path for gap in GAPS} - others
