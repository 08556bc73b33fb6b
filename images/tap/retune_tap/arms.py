"""What an arms document says, as types. Knows nothing of JSON, signatures or the network."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol


class AdapterError(Exception):
    """An adapter can't be served here; the text says why, for the user, and holds nothing secret."""


class ArmsError(Exception):
    """A document that is not taken; `status` is the HTTP answer (400, 403, 409)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Kind(StrEnum):
    """What answers for an arm."""

    BASE = "Base"
    ADAPTER = "Adapter"
    ENDPOINT = "Endpoint"
    MODEL = "Model"


class Stage(StrEnum):
    """Where the rollout is."""

    IDLE = "Idle"
    LOADING = "Loading"
    SHADOW = "Shadow"
    PILOT = "Pilot"
    CANARY = "Canary"
    BAKING = "Baking"


class Builtin(StrEnum):
    """What makes a request bad."""

    ERRORS = "Errors"
    SLOW = "Slow"
    LONG = "Long"
    OVERRIDES = "Overrides"
    INVALID_OUTPUT = "InvalidOutput"
    RATED = "Rated"


@dataclass(frozen=True)
class Arm:
    """Who answers: base, adapter or whole model (`name` as the server knows it), or an endpoint (`url`, `model`)."""

    kind: Kind
    name: str
    run: str = ""
    digest: str = ""
    uri: str = ""
    url: str = ""
    model: str = ""
    template: str = ""


class Adapters(Protocol):
    """How adapters come into the server."""

    async def ensure(self, arm: Arm) -> None:
        """Fetch, check, load, read back and probe; quick if already loaded.

        Raises:
            AdapterError: it can't be served, and why.
        """

    async def loaded(self) -> frozenset[str]:
        """The names that the server has now."""


@dataclass(frozen=True)
class Edge:
    """One fixed edge between good and bad, under the name of its stop-loss."""

    name: str
    builtin: Builtin
    # Slow: seconds since the request came, until the first token or the whole response.
    seconds: float = 0.0
    first_token: bool = False
    # Long: an answer of more is bad.
    tokens: int = 0
    # Overrides, Rated: seconds from the answer until it is settled.
    window: float = 0.0
    # InvalidOutput: a JSON schema.
    schema: dict[str, Any] | None = None


@dataclass(frozen=True)
class Pilot:
    """The cohort that goes first: requests whose `header` has one of `values`."""

    header: str
    values: frozenset[str]


@dataclass(frozen=True)
class Quota:
    """What the candidate may still be given by this pod; None is no limit."""

    requests: int | None
    bad: int | None


@dataclass(frozen=True)
class Corrections:
    """Where users' corrections go, which personal data is taken out before (empty: the usual), and how many at most."""

    uri: str
    entities: tuple[str, ...]
    most: int


@dataclass(frozen=True)
class Model:
    """What one public model is served by."""

    stable: Arm
    candidate: Arm | None
    keep: tuple[Arm, ...]
    stage: Stage
    stratum: str
    weight: int
    salt: str
    shadow_percent: float
    pilot: Pilot | None
    sticky_header: str
    opt_out_header: str
    edges: tuple[Edge, ...]
    quota: Quota
    patience: float | None
    features: bool = False
    corrections: Corrections | None = None

    @property
    def share(self) -> int:
        """The percent that the document gives to the candidate by weight."""
        return self.weight if self.candidate and self.stage in {Stage.CANARY, Stage.BAKING} else 0

    @property
    def adapters(self) -> tuple[Arm, ...]:
        """All arms that are named, stable first."""
        return (self.stable, *([self.candidate] if self.candidate else []), *self.keep)


@dataclass(frozen=True)
class Document:
    """A document that was taken, and its payload as it was signed."""

    generation: int
    models: dict[str, Model]
    payload: bytes
