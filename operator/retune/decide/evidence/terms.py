"""What is asked of the evidence. Plain values."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Watched:
    """One stop-loss as it stands in force.

    Attributes:
        builtin: what the taps count; None: the user's own PromQL counters.
        max_ratio: most bad answers against stable's rate.
        max_rate: largest rate of bad answers whatever stable does; None: no such limit.
        margin: harm that promotion must rule out; None: max(0.02, half of stable's rate).
    """

    name: str
    builtin: str | None
    max_ratio: float
    max_rate: float | None
    margin: float | None


@dataclass(frozen=True)
class Plan:
    """What a rollout is judged by.

    Attributes:
        run_number: only strata `<run_number>:…` are evidence.
        confidence: how sure a rollback must be, over the whole run.
        promote_confidence: how sure a promotion must be.
        blocked_user: the user's own counters are frozen just now (a weight change not verified yet, or their lag).
        pooled: each tap counts one arm only, so that all of them are read as one.
    """

    run_number: int
    watched: tuple[Watched, ...]
    confidence: float
    promote_confidence: float
    blocked_user: bool = False
    pooled: bool = False
