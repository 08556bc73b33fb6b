"""What is asked of the evidence, and what it answers. Plain values."""

from dataclasses import dataclass

from retune.api.run import EvidenceState


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


@dataclass(frozen=True)
class MetricVerdict:
    """Where one stop-loss stands.

    Attributes:
        e_value: evidence of harm; `threshold`: from which it would carry a rollback alone.
        bad, total, stable_bad, stable_total: what was counted in the current step.
        phi: how much fewer independent requests there are than requests.
        upper: of the candidate's rate; `stable_lower`: of stable's; None: nothing counted yet.
        margin: harm that promotion must rule out, before it is divided by the next weight.
        passes: promotion's condition holds for it.
        missed_harm: harm (rate above stable's) that could have gone unseen so far; None: nothing counted yet.
        detail: what is in the way, for a reader; "" if nothing is.
    """

    name: str
    state: EvidenceState
    e_value: float
    threshold: float
    bad: int
    total: int
    stable_bad: int
    stable_total: int
    phi: float
    upper: float | None
    stable_lower: float | None
    margin: float | None
    passes: bool
    missed_harm: float | None
    detail: str


@dataclass(frozen=True)
class Judgement:
    """What the evidence says now.

    Attributes:
        breached: names whose evidence carried the rollback; empty: no breach.
        combined: evidence of harm over all metrics; rollback from `threshold` on.
        may_advance: every metric passes at margin / w_next (hold and minRequests are the caller's).
        canary_total, stable_total: requests of the current step, of the metric that has counted most.
        interference: stable is slower than it was, because of the candidate.
        warnings: such as one id that sends more than 10 % of the requests.
        blind: metrics whose source is down or invalid; their evidence is frozen.
    """

    breached: tuple[str, ...]
    combined: float
    threshold: float
    metrics: tuple[MetricVerdict, ...]
    may_advance: bool
    canary_total: int
    stable_total: int
    interference: bool
    warnings: tuple[str, ...]
    blind: tuple[str, ...]
