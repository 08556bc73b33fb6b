"""What is not implemented is said, in the docs and of each job."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from retune.api import GAPS, FineTuneJobSpec, crds, not_implemented
from retune.api.implemented import table

CHECKOUT = Path(__file__).resolve().parents[3]
SPEC = {
    "baseModel": {"uri": "s3://models/base"},
    "dataset": {"train": {"uri": "s3://data/train"}, "gold": {"uri": "s3://data/gold"}},
}


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


def test_a_job_of_implemented_fields_is_told_nothing() -> None:
    spec = job(
        suspend=True,
        method={"type": "QLoRA"},
        training={"epochs": 1, "gpusPerNode": 1, "timeout": "1h", "maxRetries": 1, "earlyStop": {}},
        dataset={**SPEC["dataset"], "timeField": "at", "holdOut": {}, "weightField": "cost", "annotatorsField": "by"},
        gates={"privacy": {"redact": True}, "approvals": {"required": [{"name": "legal"}]}},
        evaluation={
            "metrics": [{"name": "Top3"}],
            "acceptance": {"metric": "Top3", "minimum": 0.5, "minUplift": 0.1},
            "guard": {"uri": "s3://data/guard"},
        },
        budget={"gpuHourPrice": "3.20", "currency": "EUR", "total": 600, "endsAt": "2027-06-30T00:00:00Z"},
        artifacts={"uri": "s3://models/out"},
        serving={"replicas": 2, "stickyHeader": "x-user", "corrections": {"collect": True}},
        rollout={"shadow": {}, "manualApproval": True},
        triggers={
            "schedule": {"cron": "0 3 * * 1"},
            "cooldown": "6h",
            "maxRunsPerMonth": 4,
            "newExamples": {"count": 500},
            "drift": [{"name": "q", "builtin": "QualityDrop", "threshold": 0.1}],
        },
    )
    assert not_implemented(spec) == []


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("spec.serving.stickyHeader", {"serving": {"mode": "Deployment", "stickyHeader": "x-user"}}),
        (
            "spec.serving.corrections",
            {"serving": {"corrections": {"collect": True}}, "artifacts": {"uri": "pvc://models/retune"}},
        ),
        ("spec.deletionPolicy", {"serving": {}, "deletionPolicy": "Orphan"}),
        ("spec.training.nodes", {"training": {"epochs": 1, "nodes": 2}}),
        ("spec.training.queueName", {"training": {"epochs": 1, "queueName": "team"}}),
    ],
)
def test_what_a_job_sets_is_said(path: str, parts: dict[str, Any]) -> None:
    spec = job(**parts)
    assert path in not_implemented(spec)
    assert path not in not_implemented(job())


def test_everything_that_full_sets_is_said() -> None:
    said = set(not_implemented(full()))
    # Of alternatives, full.yaml sets one; these are the others.
    others = {
        "spec.training.nodes",
        "spec.serving.corrections",
        "spec.serving.stickyHeader",
        "spec.deletionPolicy",
    }
    assert said == {gap.path for gap in GAPS} - others
