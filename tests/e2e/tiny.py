"""Jobs on the tiny model: it learns nothing, but loads and trains in seconds, for tests of mechanics."""

from typing import Any

from tests.cluster.cluster import Raw

TRAIN, GOLD = "s3://data/support/train.jsonl", "s3://data/support/gold.jsonl"


def spec(**changes: Any) -> Raw:
    """A spec on the tiny model; `changes` replace its parts."""
    base: Raw = {
        "baseModel": {"uri": "s3://models/tiny"},
        "dataset": {"train": {"uri": TRAIN}, "gold": {"uri": GOLD}},
        "training": training(),
        # What learns nothing may be worse than its base by all it likes.
        "evaluation": {
            "metrics": [{"name": "ExactMatch"}],
            "acceptance": {"metric": "ExactMatch", "minUplift": -1},
            "maxExamples": 40,
        },
        "artifacts": {"uri": "s3://models/e2e", "secretRef": {"name": "store"}},
    }
    return {**base, **changes}


def training(**changes: Any) -> Raw:
    """The training block; `changes` replace its fields."""
    base: Raw = {
        "gpusPerNode": 0,
        "maxSteps": 5,
        "learningRate": 0.001,
        "batchTokens": 256,
        "maxLength": 64,
        "resources": {"requests": {"cpu": "250m", "memory": "1Gi"}, "limits": {"memory": "3Gi"}},
    }
    return {**base, **changes}
