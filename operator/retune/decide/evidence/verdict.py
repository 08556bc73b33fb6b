"""What a look at the evidence says. Whatever only a reader or a promotion asks for is computed when it is asked for.

Looks are far more frequent than either: thousands of canaries are looked at every few seconds.
"""

from dataclasses import dataclass
from functools import cached_property

from retune.api.run import EvidenceState
from retune.decide.evidence import promotion


@dataclass(frozen=True)
class MetricVerdict:
    """Where one stop-loss stands.

    Attributes:
        state: Breached if its evidence carried a rollback.
        e_value: evidence of harm; `threshold`: from which it would carry a rollback alone.
        bad, total, stable_bad, stable_total: what was counted in the current step.
        phi: how much fewer independent requests there are than requests.
        detail: what is in the way, for a reader; "" if nothing is.
        asked: margin that promotion must rule out, before it is divided by `w_next`, the next weight.
        alpha: chance that either end of the bounds is wrong.
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
    detail: str
    asked: float
    w_next: float
    alpha: float

    @property
    def margin(self) -> float | None:
        """Harm that promotion must rule out, before it is divided by the next weight; None: nothing counted yet."""
        return self.asked if self.total and self.stable_total else None

    @cached_property
    def upper(self) -> float | None:
        """Of the candidate's rate; None: nothing counted yet."""
        if not self.total or not self.stable_total:
            return None
        return float(promotion.bounds(self.bad / self.phi, self.total / self.phi, self.alpha)[1])

    @cached_property
    def stable_lower(self) -> float | None:
        """Of stable's rate; None: nothing counted yet."""
        if not self.total or not self.stable_total:
            return None
        return float(promotion.bounds(self.stable_bad / self.phi, self.stable_total / self.phi, self.alpha)[0])

    @property
    def missed_harm(self) -> float | None:
        """Harm (rate above stable's) that could have gone unseen so far; None: nothing counted yet."""
        if self.upper is None or self.stable_lower is None:
            return None
        return max(0.0, self.upper - self.stable_lower)

    @property
    def passes(self) -> bool:
        """Whether promotion's condition holds for it."""
        if self.state is not EvidenceState.OK or self.missed_harm is None:
            return False
        return self.missed_harm <= self.asked / max(self.w_next, 1e-9)


@dataclass(frozen=True)
class Judgement:
    """What the evidence says now.

    Attributes:
        breached: names whose evidence carried the rollback; empty: no breach.
        combined: evidence of harm over all metrics; rollback from `threshold` on.
        canary_total, stable_total: requests of the current step, of the metric that has counted most.
        interference: stable is slower than it was, because of the candidate.
        warnings: such as one id that sends more than 10 % of the requests.
        blind: metrics whose source is down or invalid; their evidence is frozen.
    """

    breached: tuple[str, ...]
    combined: float
    threshold: float
    metrics: tuple[MetricVerdict, ...]
    canary_total: int
    stable_total: int
    interference: bool
    warnings: tuple[str, ...]
    blind: tuple[str, ...]

    @property
    def may_advance(self) -> bool:
        """Every metric passes at margin / w_next (hold and minRequests are the caller's)."""
        return not self.breached and not self.interference and all(metric.passes for metric in self.metrics)
