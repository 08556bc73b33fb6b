"""What is known of a job's serving: its pods, what their taps say, the user's own counters. Plain values.

`observe` fills them in; the taps' side of it is in design/0012.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from retune.decide.arms import Arms

BUCKETS = 32
WINDOW = 15.0  # s


@dataclass(frozen=True)
class Series:
    """Raw counters of one tap: one metric, arm ("stable" or "canary") and stratum, by bucket (32 numbers each)."""

    metric: str
    arm: str
    stratum: str
    bad: tuple[int, ...]
    total: tuple[int, ...]


@dataclass(frozen=True)
class ArmState:
    """An arm at one tap. `state`: Ready, Loading or Failed."""

    name: str
    digest: str
    state: str
    message: str = ""


@dataclass(frozen=True)
class ShadowCount:
    """Copies of requests at one tap."""

    sent: int = 0
    dropped: int = 0
    failed: int = 0
    agreed: int = 0
    compared: int = 0


@dataclass(frozen=True)
class TapReading:
    """What one tap answered. Times are the tap's own clock, seconds since the epoch.

    Attributes:
        weight: the share it really gives to the candidate, percent; `held` says why it is less than it was told.
        routed: by stratum, requests given to (stable, canary).
        windows: by metric, completed 15 s windows of stable: (start, bad, total).
        quota_requests, quota_bad: used up by the candidate in this rollout.
        p95: seconds, where known: of stable's "firstToken" and whole "response", and of the "candidate"'s response.
        timed: by the same names, over how many answers; at most the last 1,024.
    """

    pod: str
    pod_uid: str
    started: float
    now: float
    generation: int
    stratum: str = "-"
    weight: int = 0
    held: str = ""
    arms: Mapping[str, ArmState] = field(default_factory=dict)
    series: tuple[Series, ...] = ()
    routed: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    windows: Mapping[str, tuple[tuple[float, int, int], ...]] = field(default_factory=dict)
    fallbacks: int = 0
    heaviest: float = 0.0
    quota_requests: int = 0
    quota_bad: int = 0
    p95: Mapping[str, float] = field(default_factory=dict)
    timed: Mapping[str, int] = field(default_factory=dict)
    shadow: ShadowCount = ShadowCount()

    def skew(self, at: float) -> float:
        """Seconds to add to the times of its windows where it is `at` now: whole windows, so that they stay aligned."""
        return round((at - self.now) / WINDOW) * WINDOW


@dataclass(frozen=True)
class ServingPod:
    """A pod of a serving Deployment. `waiting`: why it does not run yet, (reason, message); `canary`: whose it is."""

    name: str
    uid: str
    ip: str = ""
    ready: bool = False
    deleting: bool = False
    over: bool = False
    created: datetime | None = None
    ready_since: datetime | None = None
    waiting: tuple[str, str] | None = None
    canary: bool = False


@dataclass(frozen=True)
class QueryReading:
    """What Prometheus said to a stop-loss's own query, for one arm.

    Attributes:
        metric: name of the stop-loss.
        arm: "stable" or "canary".
        bad, total: the counters, by the labels of their series (as one text); None: the query had no series.
        at: the samples' own time, seconds since the epoch.
        error: why there is no value ("SourceDown: …" or "Invalid: …"); "" if there is none.
    """

    metric: str
    arm: str
    bad: float | None
    total: float | None
    at: float
    error: str = ""


@dataclass(frozen=True)
class RouteSeen:
    """The HTTPRoute of mode Deployment as it stands.

    Attributes:
        digest: annotation of what it was made from.
        weight: the candidate's share by its weights, percent; None: they are not as we write them.
        refused: why a Gateway does not (yet) follow what is written; "" if it does, or none has said anything.
    """

    digest: str
    weight: int | None
    refused: str = ""


@dataclass(frozen=True)
class Serving:
    """Everything known of what serves for a job.

    Attributes:
        deployed: digest annotation of the Deployment as it stands; "" if there is none.
        refreshed: value of the refresh annotation that the Deployment was last applied with.
        pods: of the Deployments, those that are over left out.
        canary: digest annotation of the candidate's own Deployment, in mode Deployment; "" if there is none.
        route: the HTTPRoute, in mode Deployment; None: there is none.
        taps: by pod uid, those that answered in this reconcile.
        silent: by pod uid, why a ready pod's tap did not answer.
        arms: the document as last written; None if there is none yet.
        queries: what Prometheus said to the stop-losses that have queries of their own.
        memory: what was kept of the rollout's evidence ("" if nothing yet), as JSON.
    """

    deployed: str = ""
    refreshed: str = ""
    pods: tuple[ServingPod, ...] = ()
    taps: Mapping[str, TapReading] = field(default_factory=dict)
    silent: Mapping[str, str] = field(default_factory=dict)
    arms: Arms | None = None
    queries: tuple[QueryReading, ...] = ()
    memory: str = ""
    canary: str = ""
    route: RouteSeen | None = None

    @property
    def overtaken(self) -> bool:
        """A tap follows a newer document than is known here (an earlier leader's, or this one is from a backup)."""
        written = self.arms.generation if self.arms is not None else 0
        return any(tap.generation > written for tap in self.taps.values())
