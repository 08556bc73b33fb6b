"""The identity of what makes a model: which changes of a spec mean a new model, and which do not."""

import hashlib
import json
from typing import Any

from retune.api import FineTuneJobSpec, FineTuneRunSpec

# Of `training`, the fields that change the weights. Where pods run, how long they may take and who pays do not.
HYPERPARAMETERS = (
    "epochs",
    "max_steps",
    "learning_rate",
    "batch_tokens",
    "max_length",
    "packing",
    "seed",
    "early_stop",
)


def model_digest(spec: FineTuneJobSpec | FineTuneRunSpec) -> str:
    """`sha256:…` over the parts of `spec` that make the model, for `triggers.onChange`.

    A job's spec (resolved as `snapshot.resolved` does) and the spec of the run made from it have the same digest.
    Secret names are left out: a rotated credential makes no new model. Numbers are normalised first: 1 and 1.0 are
    one value.
    """
    parts: dict[str, Any] = {
        "baseModel": spec.base_model.uri,
        "dataset": spec.dataset.model_dump(mode="json"),
        "method": spec.method.model_dump(mode="json"),
        "training": spec.training.model_dump(mode="json", include=set(HYPERPARAMETERS)),
        "evaluation": spec.evaluation.model_dump(mode="json"),
    }
    text = json.dumps(_normal(parts), sort_keys=True, separators=(",", ":"))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _normal(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, dict):
        return {k: _normal(v) for k, v in value.items() if k != "secret_ref" and v is not None}
    if isinstance(value, list | tuple):
        return [_normal(v) for v in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, str | int | float | bool) else str(value)
