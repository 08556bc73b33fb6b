"""The rollout that is replayed: out of a job's file, or out of a job in the cluster."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from retune.api.rollout import Rollout, StopLoss, StopLossBuiltin
from retune.cli.objects import part
from retune.cli.replay.unusable import UnusableError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_KIND = "FineTuneJob"
# What a job without rollout.stopLoss is watched by. Where its slow edge lies makes no difference to counts of the past.
_BUILTINS = (StopLossBuiltin.ERRORS, StopLossBuiltin.OVERRIDES, StopLossBuiltin.SLOW)


def from_file(path: str) -> tuple[Rollout, str]:
    """The rollout of the FineTuneJob in a YAML or JSON file, and the public name of its model.

    Raises:
        UnusableError: there is none, or not one.
    """
    try:
        found = [d for d in yaml.safe_load_all(Path(path).read_text(encoding="utf-8")) if d is not None]
    except OSError as error:
        raise UnusableError(f"{path} cannot be read: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path} is not YAML: {error}") from error
    jobs = [d for d in found if isinstance(d, dict) and d.get("kind") == _KIND]
    if len(jobs) != 1:
        raise UnusableError(f"{path} holds {len(jobs) or 'no'} {_KIND}{'s' if jobs else ''}; name a file with one")
    return from_spec(jobs[0].get("spec"), path), public_name(jobs[0])


def public_name(job: dict[str, Any]) -> str:
    """By which name clients ask for the job's model."""
    return str(part(job, "spec", "serving", "modelName") or part(job, "metadata", "name") or "")


def from_spec(spec: object, where: str) -> Rollout:
    """The rollout in a job's spec; what it does not say has its default.

    Raises:
        UnusableError: it is not a rollout; names the field.
    """
    told: Any = spec.get("rollout") if isinstance(spec, Mapping) else None
    try:
        rollout = Rollout.model_validate(told or {})
    except ValidationError as error:
        raise UnusableError(f"{where}: {'; '.join(map(_field, error.errors()))}") from error
    weights = [step.weight for step in rollout.steps]
    if weights != sorted(set(weights)) or weights[-1] > rollout.bake_weight:
        raise UnusableError(
            f"{where}: spec.rollout.steps has the weights {', '.join(map(str, weights))}; "
            f"let them rise, none twice and none above bakeWeight ({rollout.bake_weight})"
        )
    names = [loss.name for loss in rollout.stop_loss]
    if len(names) != len(set(names)):
        raise UnusableError(f"{where}: spec.rollout.stopLoss names one twice; give each its own name")
    return rollout


def stop_losses(rollout: Rollout) -> tuple[StopLoss, ...]:
    """What the rollout is watched by: its own, or if it names none those that the operator takes."""
    return rollout.stop_loss or tuple(StopLoss(name=one.value.lower(), builtin=one) for one in _BUILTINS)


def _field(error: "ErrorDetails") -> str:
    path = "".join(f"[{at}]" if isinstance(at, int) else f".{at}" for at in error["loc"])
    said = "is not a field of it" if error["type"] == "extra_forbidden" else error["msg"]
    value = f" ({error['input']!r})" if isinstance(error["input"], str | int | float) else ""
    return f"spec.rollout{path}{value}: {said}"
