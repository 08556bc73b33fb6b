"""What a look at drift is given. Plain values; `observe` fills them in.

What the taps say of features and rated answers is in design/0015.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from retune.api.job import StableModel

WIDTH = 64  # features of a prompt


@dataclass(frozen=True)
class Row:
    """The features of one prompt.

    Attributes:
        pod: uid of the tap's pod.
        seq: its number there, rising.
        at: when, seconds since the epoch, by the tap's clock.
        vector: 64 signed bytes.
    """

    pod: str
    seq: int
    at: float
    vector: bytes


@dataclass(frozen=True)
class Counted:
    """One completed window of a tap, of stable. `start`: seconds since the epoch, by the tap's clock."""

    pod: str
    start: float
    bad: int
    total: int


@dataclass(frozen=True)
class QueryReading:
    """What Prometheus said to a trigger's own query.

    Attributes:
        value: of the one sample; None: there was none.
        at: the sample's own time, seconds since the epoch.
        error: why there is no value, such as "SourceDown: …" or "Invalid: …"; "" if there is none.
    """

    value: float | None
    at: float
    error: str = ""


@dataclass(frozen=True)
class ProbeResult:
    """Gold questions asked of the serving model.

    Attributes:
        name: of the watch pod, so that a result counts once.
        at: when they were asked, seconds since the epoch.
        asked, answered: how many.
        score: sum over those answered, each from 0 to 1.
    """

    name: str
    at: float
    asked: int
    answered: int
    score: float


@dataclass(frozen=True)
class DriftEvidence:
    """What has come since the last look; whatever was seen before may come again and is not counted twice.

    Attributes:
        rows: prompts.
        version: of their features; None: no tap answered.
        served: the model that serves, as the job's status has it.
        rated: windows of answers that people rated; None: no tap answered.
        overrides: windows of all answers, bad if overridden; None: no tap answered.
        queries: by trigger.
        probe: the newest.
        probe_every: seconds from one probe to the next.
        accuracy_at_promotion: of the serving model on gold, when it was accepted; from 0 to 1.
    """

    rows: tuple[Row, ...] = ()
    version: int | None = None
    served: StableModel | None = None
    rated: tuple[Counted, ...] | None = None
    overrides: tuple[Counted, ...] | None = None
    queries: Mapping[str, QueryReading] = field(default_factory=dict)
    probe: ProbeResult | None = None
    probe_every: float = 3600.0
    accuracy_at_promotion: float | None = None
