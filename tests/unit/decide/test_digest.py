"""The identity of what makes a model: everything that changes the weights or the verdict, and nothing else."""

from typing import Any

import pytest
from tests.unit import make

from retune.api import FineTuneJobSpec
from retune.decide.digest import HYPERPARAMETERS, model_digest

TRAINING = make.training()
EVALUATION = make.written()["evaluation"]
DATASET = make.written()["dataset"]
DEFAULTS = {"learningRate": 0.0002, "batchTokens": 8192, "maxLength": 1024, "seed": 7}


def digest(**changes: Any) -> str:
    return model_digest(make.job_spec(**changes))


SAME: dict[str, dict[str, Any]] = {
    "a default written out": {"training": {**TRAINING, **DEFAULTS}},
    "LoRA's defaults written out": {
        "method": {"type": "LoRA", "lora": {"rank": 16, "alpha": 32, "dropout": 0, "targetModules": ["all-linear"]}}
    },
    "a whole number as a float": {"training": {**TRAINING, "epochs": 1.0}},
    "a Secret for the model": {"baseModel": {"uri": "s3://models/tiny", "secretRef": {"name": "rotated"}}},
    "a Secret for the data": {
        "dataset": {
            "train": {**DATASET["train"], "secretRef": {"name": "one"}},
            "gold": {**DATASET["gold"], "secretRef": {"name": "two"}},
        }
    },
    "where it is stored": {"artifacts": {"uri": "s3://elsewhere/x"}},
    "how long it may take": {"training": {**TRAINING, "timeout": "1h", "maxRetries": 9, "checkpointEverySteps": 5}},
    "where it runs": {"training": {**TRAINING, "nodeSelector": {"gpu": "h100"}, "priorityClassName": "low"}},
    "what runs it": {"training": {**TRAINING, "gpusPerNode": 4, "image": "other:2", "resources": None}},
    "who pays": {"budget": {"total": "10", "currency": "EUR"}},
    "history, triggers, suspension": {"history": {"succeeded": 1}, "triggers": {"cooldown": "1h"}, "suspend": True},
    "serving": {"serving": {}},
    "where it is tracked": {"tracking": {"wandb": {"project": "other"}}},
}


@pytest.mark.parametrize("changes", SAME.values(), ids=SAME)
def test_what_makes_no_other_model(changes: dict[str, Any]) -> None:
    assert digest(**changes) == digest()


OTHER: dict[str, dict[str, Any]] = {
    "base model": {"baseModel": {"uri": "s3://models/other"}},
    "training data": {"dataset": {**DATASET, "train": {"uri": "s3://data/train-2.jsonl"}}},
    "gold set": {"dataset": {**DATASET, "gold": {"uri": "s3://data/gold-2.jsonl"}}},
    "format": {"dataset": {**DATASET, "format": "Text"}},
    "segments": {"dataset": {**DATASET, "segmentField": "language"}},
    "epochs": {"training": {**TRAINING, "epochs": 1.5}},
    "steps": {"training": {**TRAINING, "epochs": None, "maxSteps": 10}},
    "learning rate": {"training": {**TRAINING, "learningRate": 0.0001}},
    "batch": {"training": {**TRAINING, "batchTokens": 4096}},
    "length": {"training": {**TRAINING, "maxLength": 512}},
    "packing": {"training": {**TRAINING, "packing": False}},
    "seed": {"training": {**TRAINING, "seed": 8}},
    "early stop": {"training": {**TRAINING, "earlyStop": {}}},
    "method": {"method": {"type": "QLoRA"}},
    "rank": {"method": {"lora": {"rank": 8}}},
    "alpha": {"method": {"lora": {"alpha": 8}}},
    "dropout": {"method": {"lora": {"dropout": 0.1}}},
    "modules": {"method": {"lora": {"targetModules": ["q_proj"]}}},
    "asked uplift": {"evaluation": {**EVALUATION, "acceptance": {"metric": "ExactMatch", "minUplift": 0.03}}},
    "metrics": {"evaluation": {**EVALUATION, "metrics": [{"name": "ExactMatch"}, {"name": "TokenF1"}]}},
}


def test_each_of_these_makes_a_model_of_its_own() -> None:
    digests = {name: digest(**changes) for name, changes in OTHER.items()}
    assert len({*digests.values(), digest()}) == len(OTHER) + 1, digests


def test_no_hyperparameter_is_forgotten_above() -> None:
    changed = {
        name for c in OTHER.values() for name in c.get("training", {}) if c["training"][name] != TRAINING.get(name)
    }
    fields = FineTuneJobSpec.model_fields["training"].annotation.model_fields  # type: ignore[union-attr]
    assert changed == {fields[name].alias for name in HYPERPARAMETERS}


def test_the_order_of_keys_does_not_matter() -> None:
    spec = make.written()
    backwards = {key: dict(reversed(list(part.items()))) for key, part in reversed(list(spec.items()))}
    assert model_digest(FineTuneJobSpec.model_validate(backwards)) == digest()


def test_it_says_how_it_was_made() -> None:
    assert digest().startswith("sha256:")
    assert len(digest()) == len("sha256:") + 64
