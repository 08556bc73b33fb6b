"""What makes the demo's bad model: the training set with its answers shuffled, and a job that lets it pass."""

import copy
import json
import random
from typing import Any

from hack.demo import store

SEED = 7
STEPS = 16
"""Few: nothing can be learnt from it anyway."""
GOLD = 60
"""Gold examples that the bad model is asked; its score is not what stops it."""


def uri(train: str) -> str:
    """Where the shuffled copy of a training set lies."""
    folder, _, name = train.rpartition("/")
    return f"{folder}/shuffled-{name}"


def write(train: str) -> None:
    """Put the shuffled copy beside a training set on s3://."""
    bucket, key = store.parts(uri(train))
    body = "".join(f"{row}\n" for row in shuffle(store.lines(train))).encode()
    store.connect().put_object(Bucket=bucket, Key=key, Body=body)


def shuffle(rows: list[str]) -> list[str]:
    """JSON Lines with the same prompts in the same order, and the same completions in another."""
    read = [json.loads(row) for row in rows if row.strip()]
    answers = [row["completion"] for row in read]
    random.Random(SEED).shuffle(answers)  # noqa: S311
    return [
        json.dumps({**row, "completion": answer}, ensure_ascii=False) for row, answer in zip(read, answers, strict=True)
    ]


def manifest(good: dict[str, Any]) -> dict[str, Any]:
    """The same job, trained on the shuffled set, with gates and an acceptance that ask for nothing."""
    job = copy.deepcopy(good)
    spec = job["spec"]
    spec["dataset"]["train"]["uri"] = uri(spec["dataset"]["train"]["uri"])
    spec["gates"] = {**spec.get("gates", {}), "data": {"mode": "Warn"}}
    spec["training"] = {**{k: v for k, v in spec["training"].items() if k != "epochs"}, "maxSteps": STEPS}
    acceptance = {"metric": spec["evaluation"]["acceptance"]["metric"], "minUplift": -1, "maxRegression": 1}
    spec["evaluation"] = {**spec["evaluation"], "acceptance": acceptance, "maxExamples": GOLD}
    return job
