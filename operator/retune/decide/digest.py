"""The identity of what makes a model: which changes of a spec mean a new model, and which do not."""

import hashlib
import json
from typing import Any

from retune.api import FineTuneJobSpec

# Of `training`, the fields that change the weights. Where pods run, how long they may take and who pays do not.
HYPERPARAMETERS = ("epochs", "max_steps", "learning_rate", "batch_tokens", "max_length", "packing", "seed")


def model_digest(spec: FineTuneJobSpec) -> str:
    """`sha256:…` over the parts of `spec` that make the model, for `triggers.onChange`.

    Only what the user wrote counts, not the operator's defaults: a default that moves with an upgrade must not retrain
    every model of the cluster. Since the API server writes today's defaults into the object, a field that equals its
    default is left out, and Secret names are left out too (a rotated credential makes no new model). Numbers are
    normalised first: 1 and 1.0, or "0.10" and "0.1", are one value.
    """
    dump: dict[str, Any] = {
        "baseModel": spec.base_model.model_dump(exclude_defaults=True, exclude={"secret_ref"}),
        "dataset": spec.dataset.model_dump(exclude_defaults=True),
        "method": spec.method.model_dump(exclude_defaults=True),
        "training": spec.training.model_dump(include=set(HYPERPARAMETERS), exclude_defaults=True),
        "evaluation": spec.evaluation.model_dump(exclude_defaults=True),
    }
    text = json.dumps(_normal(dump), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {k: _normal(v) for k, v in value.items() if k != "secret_ref" and v is not None}
    if isinstance(value, list | tuple):
        return [_normal(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float | bool) else str(value)
