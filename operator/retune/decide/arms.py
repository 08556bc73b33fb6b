"""The arms document: which model stands behind which arm, and how requests are split. The contract: design/0012.

Plain values and their canonical JSON. Who signs and pushes it is `act`; what it says follows from `decide/serving.py`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any

AT_REST = "-"  # the stratum while there is no rollout
# Edges that are counted for drift, not for a stop-loss: no stop-loss can have such a name.
DRIFT = "drift:"
OVERRIDES, RATED = f"{DRIFT}overrides", f"{DRIFT}rated"


class ArmKind(StrEnum):
    """What answers for an arm."""

    BASE = "Base"
    ADAPTER = "Adapter"
    MODEL = "Model"
    ENDPOINT = "Endpoint"


class Stage(StrEnum):
    """How far a rollout is, as the taps are told."""

    IDLE = "Idle"
    LOADING = "Loading"
    SHADOW = "Shadow"
    PILOT = "Pilot"
    CANARY = "Canary"
    BAKING = "Baking"


@dataclass(frozen=True)
class Arm:
    """A model behind an arm. An Endpoint has `url`, `model`, `template`; an Adapter or Model `run`, `digest`, `uri`."""

    kind: ArmKind
    name: str = "base"
    run: str = ""
    digest: str = ""
    uri: str = ""
    url: str = ""
    model: str = ""
    template: str = ""


@dataclass(frozen=True)
class Edge:
    """From when an answer counts as bad, under the name of a stop-loss. `seconds`, `window`: s."""

    name: str
    builtin: str
    seconds: float | None = None
    of: str | None = None
    tokens: int | None = None
    window: float | None = None
    schema: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Pilot:
    """A cohort that goes to the candidate, whatever the weight is."""

    header: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Quota:
    """What one pod may still give to the candidate during this rollout; None: no cap."""

    requests: int | None = None
    bad: int | None = None


@dataclass(frozen=True)
class Corrections:
    """Where taps write what people corrected, which personal data is taken out before, and how many rows at most."""

    uri: str
    entities: tuple[str, ...]
    most: int


@dataclass(frozen=True)
class Split:
    """How the requests for one public model are split. `weight`, `shadow`: percent; `patience`: s.

    `features`: taps tell what requests look like. `corrections`: None: they keep none.
    """

    stable: Arm
    candidate: Arm | None = None
    keep: tuple[Arm, ...] = ()
    stage: Stage = Stage.IDLE
    stratum: str = AT_REST
    weight: int = 0
    salt: str = ""
    shadow: int = 0
    pilot: Pilot | None = None
    sticky_header: str | None = None
    opt_out_header: str | None = None
    edges: tuple[Edge, ...] = ()
    quota: Quota = Quota()
    patience: float = 120.0
    features: bool = False
    corrections: Corrections | None = None


@dataclass(frozen=True)
class Arms:
    """The whole document, for one job. `generation` 0: not written yet."""

    namespace: str
    job: str
    uid: str
    models: Mapping[str, Split] = field(default_factory=dict)
    generation: int = 0

    def same_as(self, other: "Arms | None") -> bool:
        """Whether both say the same, whatever their generations are."""
        return other is not None and replace(self, generation=0) == replace(other, generation=0)

    def json(self) -> str:
        """The payload that is signed: keys sorted, no spaces."""
        told = {
            "namespace": self.namespace,
            "job": self.job,
            "uid": self.uid,
            "generation": self.generation,
            "models": {name: _split(split) for name, split in self.models.items()},
        }
        return json.dumps(told, sort_keys=True, separators=(",", ":"))


def _split(split: Split) -> dict[str, Any]:
    told = asdict(split)
    # What nobody asks for is not said, so that an upgrade of the operator writes no document again.
    asked: dict[str, Any] = {"features": True} if split.features else {}
    if split.corrections is not None:
        asked["corrections"] = told["corrections"]
    return {
        **asked,
        "stable": told["stable"],
        "candidate": told["candidate"],
        "keep": list(told["keep"]),
        "stage": split.stage.value,
        "stratum": split.stratum,
        "weight": split.weight,
        "salt": split.salt,
        "shadow": {"percent": split.shadow} if split.shadow else None,
        "pilot": {"header": split.pilot.header, "values": list(split.pilot.values)} if split.pilot else None,
        "stickyHeader": split.sticky_header,
        "optOutHeader": split.opt_out_header,
        "edges": [{k: v for k, v in asdict(edge).items() if v is not None} for edge in split.edges],
        "quota": told["quota"],
        "patience": split.patience,
    }


def read_arms(payload: str) -> Arms:
    """The document in a payload.

    Raises:
        ValueError: it is not one.
    """
    try:
        told = json.loads(payload)
        models = {str(name): _read_split(split) for name, split in told["models"].items()}
        return Arms(told["namespace"], told["job"], told["uid"], models, int(told["generation"]))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not an arms document: {error!r}") from error


def _read_split(told: Mapping[str, Any]) -> Split:
    pilot = told.get("pilot")
    return Split(
        stable=_read_arm(told["stable"]),
        candidate=_read_arm(told["candidate"]) if told.get("candidate") else None,
        keep=tuple(_read_arm(arm) for arm in told.get("keep") or ()),
        stage=Stage(told["stage"]),
        stratum=told["stratum"],
        weight=int(told["weight"]),
        salt=told["salt"],
        shadow=int((told.get("shadow") or {}).get("percent", 0)),
        pilot=Pilot(pilot["header"], tuple(pilot["values"])) if pilot else None,
        sticky_header=told.get("stickyHeader"),
        opt_out_header=told.get("optOutHeader"),
        edges=tuple(Edge(**edge) for edge in told.get("edges") or ()),
        quota=Quota(**(told.get("quota") or {})),
        patience=float(told["patience"]),
        features=told.get("features") is True,
        corrections=_read_corrections(told["corrections"]) if told.get("corrections") else None,
    )


def _read_corrections(told: Mapping[str, Any]) -> Corrections:
    return Corrections(told["uri"], tuple(told["entities"]), int(told["most"]))


def _read_arm(told: Mapping[str, Any]) -> Arm:
    return Arm(**{**told, "kind": ArmKind(told["kind"])})
