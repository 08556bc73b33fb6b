"""Jobs on the tiny model: it knows nothing, but loads and trains in seconds, for tests of mechanics.

It can learn to give one answer to everything, in twenty steps: models that are trained on different answers can be told
apart by asking them anything.
"""

import json
from typing import TYPE_CHECKING, Any

from hack.load.questions import Question

from tests.cluster.cluster import Raw

if TYPE_CHECKING:
    from tests.e2e.conftest import Bucket

TRAIN, GOLD = "s3://data/support/train.jsonl", "s3://data/support/gold.jsonl"
GOOD, BAD = " billing", " refund"
"""What the good and the bad models answer, to everything."""


def spec(**changes: Any) -> Raw:
    """A spec on the tiny model; `changes` replace its parts."""
    base: Raw = {
        "baseModel": {"uri": "s3://models/tiny"},
        "dataset": {"train": {"uri": TRAIN}, "gold": {"uri": GOLD}},
        "training": training(),
        # What learns nothing may be worse than its base by all it likes.
        "evaluation": {
            "metrics": [{"name": "ExactMatch"}],
            "acceptance": {"metric": "ExactMatch", "minUplift": -1, "maxRegression": 1},
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


def served(answer: str, seed: int = 7, **changes: Any) -> Raw:
    """A spec whose model gives one answer, and is served; another seed makes another model that says the same."""
    parts: Raw = {
        "dataset": {"train": {"uri": answers_uri(answer)}, "gold": {"uri": GOLD}},
        "training": training(maxSteps=20, learningRate=0.01, batchTokens=512, seed=seed),
        "triggers": {"haltAfterFruitlessRuns": 20},
        "serving": serving(),
        "rollout": rollout(),
    }
    return spec(**{**parts, **changes})


def serving(**changes: Any) -> Raw:
    """The serving block; `changes` replace its fields."""
    base: Raw = {
        "replicas": 1,
        "stickyHeader": "x-user-id",
        "optOutHeader": "x-retune-stable",
        "args": ["--dtype", "bfloat16", "--enforce-eager", "--max-num-seqs", "8", "--max-model-len", "512"],
        "resources": {"requests": {"cpu": "100m", "memory": "2Gi"}, "limits": {"memory": "6Gi"}},
    }
    return {**base, **changes}


def rollout(**changes: Any) -> Raw:
    """The rollout block: short holds, and margins that a few dozen answers can rule out."""
    base: Raw = {
        "steps": [{"weight": 25, "hold": "10s"}, {"weight": 50, "hold": "10s"}],
        "bake": "15s",
        "bakeWeight": 90,
        "minRequests": 10,
        "promotion": "Evidence",
        "timeout": "1h",
        "stopLoss": [
            {"name": "errors", "builtin": "Errors", "margin": 0.25},
            {"name": "overrides", "builtin": "Overrides", "margin": 0.3},
        ],
    }
    return {**base, **changes}


def answers_uri(answer: str) -> str:
    """Where the training set with one answer to everything lies."""
    return f"s3://data/e2e/answers-{answer.strip()}.jsonl"


def put_answers(bucket: "Bucket", *answers: str) -> None:
    """Write the training sets with one answer to everything."""
    rows = [json.loads(line) for line in bucket.get(TRAIN).splitlines()]
    for answer in answers:
        lines = "".join(json.dumps({**row, "completion": answer}) + "\n" for row in rows)
        bucket.put(answers_uri(answer), lines.encode())


def questions(bucket: "Bucket", answer: str) -> list[Question]:
    """The gold set's prompts, from users to whom there is one right answer."""
    return [Question(json.loads(line)["prompt"], answer) for line in bucket.get(GOLD).splitlines()]
