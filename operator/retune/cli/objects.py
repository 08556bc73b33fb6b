"""What is read off a FineTuneJob or FineTuneRun as the API server gave it.

Plain dicts, not models: a plugin of one version must show what an operator of another version wrote.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from retune.api.phases import TERMINAL_PHASES, RunPhase

Raw = dict[str, Any]
_TERMINAL = frozenset(phase.value for phase in TERMINAL_PHASES)


def name(found: Raw) -> str:
    """Its name."""
    return str(found["metadata"]["name"])


def uid(found: Raw) -> str:
    """Its identity."""
    return str(found["metadata"].get("uid", ""))


def annotations(found: Raw) -> dict[str, str]:
    """Its annotations."""
    return found["metadata"].get("annotations") or {}


def part(found: Raw | None, *path: str) -> Any:  # noqa: ANN401 - whatever lies there
    """What lies at `path`, such as `part(job, "spec", "budget")`; an empty dict where nothing does."""
    here: Any = found
    for key in path:
        here = here.get(key) if isinstance(here, dict) else None
    return {} if here is None else here


def items(found: Raw | None, *path: str) -> list[Raw]:
    """The list at `path`; empty where there is none."""
    return list(part(found, *path) or ())


def number(run: Raw) -> int:
    """The run's number within its job."""
    return int(part(run, "spec", "number") or 0)


def phase(run: Raw) -> str:
    """Where the run stands; one that the operator has not looked at yet is pending."""
    return str(part(run, "status", "phase") or RunPhase.PENDING.value)


def ended(run: Raw) -> bool:
    """Whether the run is over."""
    return phase(run) in _TERMINAL


def newest(runs: Iterable[Raw]) -> Raw | None:
    """The run with the highest number."""
    return max(runs, key=number, default=None)


def condition(found: Raw | None, type_: str) -> Raw | None:
    """The condition of a type."""
    return next((c for c in items(found, "status", "conditions") if c.get("type") == type_), None)


def moment(text: object) -> datetime | None:
    """A time as Kubernetes writes it, or None."""
    try:
        return datetime.fromisoformat(str(text)) if text else None
    except ValueError:
        return None


def began(run: Raw) -> datetime | None:
    """When the operator took the run up, or else when it was created."""
    return moment(part(run, "status", "startedAt")) or moment(run["metadata"].get("creationTimestamp"))


def last_word(run: Raw) -> Raw | None:
    """The condition that says why the run ended without a model."""
    return next((c for c in reversed(items(run, "status", "conditions")) if c.get("status") == "False"), None)


def approvals_missing(run: Raw) -> list[str]:
    """Names of the approvals that the run needs and does not have."""
    given = {a.get("name") for a in items(run, "status", "approvals")}
    return [name for name in approvals_required(run) if name not in given]


def approvals_required(run: Raw) -> list[str]:
    """Names of the approvals that the run asks for."""
    if part(run, "spec", "gates", "approvals", "mode") == "Off":
        return []
    return [str(a["name"]) for a in items(run, "spec", "gates", "approvals", "required")]


def bare(found: Raw) -> Raw:
    """The object without what only the API server needs."""
    metadata = {key: value for key, value in found["metadata"].items() if key != "managedFields"}
    return {**found, "metadata": metadata}
